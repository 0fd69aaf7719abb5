//! Projects with real servers: containers of the local Docker Engine.

use std::{
    ops::Deref,
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use super::Project;

/// A project whose servers have a name prefix of their own, and are removed when it is dropped.
pub struct Live {
    project: Project,
    prefix: String,
}

/// A web server of two megabytes that responds with the environment variable `ANSWER`.
const DOCKERFILE: &str = r#"
FROM hitc/debian:13 AS tools
FROM scratch
COPY --from=tools /usr/bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY index.cgi /www/cgi-bin/index.cgi
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"#;

const INDEX: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\necho \"$ANSWER\"\n";

impl Live {
    pub fn new() -> Self {
        static READY: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        READY.call_once(set_up_local);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("T{}-{count}-", std::process::id());
        // With an id, so that tasks and manifests create servers for the same project.
        let id = format!("{:016x}{count:016x}\n", std::process::id());
        let project = with_docker_host(Project::new())
            .env("HITC_NAME_PREFIX", &prefix)
            .file("hitc.id", &id);
        Live { project, prefix }
    }

    /// Uses another name prefix.
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.project.set("HITC_NAME_PREFIX", prefix);
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// The project's id, which its servers carry.
    pub fn project_id(&self) -> String {
        let text = std::fs::read_to_string(self.root().join("hitc.id")).unwrap();
        text.trim().to_owned()
    }

    /// Writes a file of the project.
    pub fn file(self, path: &str, content: &str) -> Self {
        self.write(path, content);
        self
    }

    /// Sets an environment variable of hitc.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.project.set(name, value);
        self
    }

    /// Sets the working directory of hitc.
    pub fn within(mut self, folder: &std::path::Path) -> Self {
        self.project.move_to(folder);
        self
    }

    /// Runs hitc in another folder from now on.
    pub fn move_to(&mut self, folder: &std::path::Path) {
        self.project.move_to(folder);
    }

    /// Writes the build folder of the web server's image.
    pub fn web_server(self, folder: &str) -> Self {
        self.write(&format!("{folder}/Dockerfile"), DOCKERFILE);
        self.write(&format!("{folder}/index.cgi"), INDEX);
        let path = self.root().join(folder).join("index.cgi");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
        self
    }

    /// The container name of a server.
    pub fn container(&self, server: &str) -> String {
        format!("{}{server}", self.prefix)
    }

    /// The address of a server, from `nodes`.
    pub fn ip(&self, server: &str) -> String {
        let rows = self.run(&["nodes"]).ok().rows();
        let row = rows.iter().find(|row| row[1] == server);
        row.unwrap_or_else(|| panic!("no {server} in {rows:?}"))[3].clone()
    }

    /// Leaves a server as a SIGKILL does between making the container and starting it. It belongs to
    /// this manifest of the project, or to none.
    pub fn half_make(&self, server: &str, manifest: Option<&str>) {
        let name = self.container(server);
        let inspect = |form: &str| docker(&["inspect", "-f", form, &name]);
        let image = inspect("{{.Config.Image}}");
        let key = inspect("{{index .Config.Env 0}}");
        let ip = inspect("{{(index .NetworkSettings.Networks \"hitc\").IPAMConfig.IPv4Address}}");
        docker(&["rm", "-fv", &name]);
        let mut labels = vec![
            format!("hitc.server.prefix={}", self.container("")),
            format!("hitc.server.project={}", self.project_id()),
            "hitc.server.image=debian-13".to_owned(),
        ];
        labels.extend(manifest.map(|manifest| format!("hitc.server.manifest={manifest}")));
        let mut words = vec!["create", "--name", &name, "--env", &key];
        for label in &labels {
            words.extend(["--label", label]);
        }
        words.extend(["--network", "hitc", "--ip", &ip]);
        words.extend(["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", &image]);
        docker(&words);
    }

    /// Sends a request to a public port of a server, and returns the response.
    pub fn get(&self, server: &str, port: u16) -> String {
        get(&format!("http://{}:{port}/", self.ip(server)))
    }
}

/// Passes on the Docker host of the environment of the tests.
fn with_docker_host(project: Project) -> Project {
    match std::env::var("DOCKER_HOST") {
        Ok(host) => project.env("DOCKER_HOST", &host),
        Err(_) => project,
    }
}

/// Installs and starts Docker, and builds the image of the servers, as a user would.
fn set_up_local() {
    with_docker_host(Project::new())
        .run(&["run", "local.setup"])
        .ok();
}

/// Runs the local `docker` program, and returns its output.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "docker {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Sends a request with hitc, and returns the body. Waits for a server that is starting.
pub fn get(url: &str) -> String {
    let script = format!(
        "import \"std/retry\" as retry;\n/// G.\n\
         fn get() {{ print(retry::times(50, 0.1, || http::get(\"{url}\"))) }}\n"
    );
    let run = Project::new()
        .file("hitcfile.rhai", &script)
        .run(&["get"])
        .ok();
    run.stdout.trim().to_owned()
}

impl Deref for Live {
    type Target = Project;

    fn deref(&self) -> &Project {
        &self.project
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let filter = format!("label=hitc.server.prefix={}", self.prefix);
        let ids = docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]);
        for id in ids.split_whitespace() {
            docker(&["rm", "-fv", id]);
            // The record of its adoption, if it was adopted.
            docker(&["volume", "rm", "-f", &format!("hitc-owner-{id}")]);
        }
    }
}
