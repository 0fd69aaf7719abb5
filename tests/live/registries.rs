//! Private registries, tags that move, registries that fail, and images for other platforms.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use crate::support::{
    Run,
    live::{Live, docker},
    registry::{Authentication, Authority, IDENTITY, PASSWORD, Registry, USER, write_login},
};

/// A project with a server `web`, in which hitc trusts an authority.
fn with_server(authority: &Authority) -> Live {
    let certificate = authority.certificate();
    let live = Live::new().web_server("web");
    let live = live.env("SSL_CERT_FILE", certificate.to_str().unwrap());
    live.run(&["run", "create", "name=web"]).ok();
    live
}

/// Builds the web server's image on this machine, and returns its name.
fn build(live: &Live) -> String {
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"web\")) }\n",
    );
    let run = live.run(&["run", "build"]).ok();
    run.stdout.trim().to_owned()
}

/// Writes the Docker configuration in the home folder.
fn log_in(live: &Live, registry: &Registry, password: &str) {
    write_login(&live.home().join(".docker"), &registry.name, password);
}

/// What a command prints on the server.
fn on_server(live: &Live, line: &str) -> String {
    let run = live.run(&["exec", "-H", "web", "--", line]).ok();
    run.stdout.trim().to_owned()
}

fn pull(live: &Live, image: &str) -> Run {
    live.run(&["run", "-H", "web", "docker.pull", image])
}

/// Asserts that a run failed with this error and this help.
#[track_caller]
fn assert_fails(run: &Run, error: &str, help: &str) {
    assert_eq!(run.status, 1, "{run}");
    assert!(run.stderr.contains(&format!("error: {error}")), "{run}");
    assert!(run.stderr.contains(&format!("help: {help}")), "{run}");
    assert!(!run.to_string().contains(PASSWORD), "{run}");
}

#[test]
fn a_registry_with_basic_authentication() {
    let authority = Authority::new();
    let live = with_server(&authority);
    let registry = Registry::start(&authority, Authentication::Basic);
    registry.trust_on(&live, "web");
    let image = format!("{}/team/app:1", registry.name);
    registry.publish(&build(&live), "team/app:1");
    let run = ["run", "-H", "web", "docker.run", &image, "name=page"];
    let run = [&run[..], &["ports=80", "environment=ANSWER=42"]].concat();

    // Without credentials, and with wrong ones.
    let error = format!("host `web`: pulling image `{image}`: ");
    let name = &registry.name;
    let help = format!("check the name, or log in with `hitc run docker.login {name}`");
    assert_fails(&live.run(&run), &error, &help);
    log_in(&live, &registry, "wrong");
    assert_fails(&live.run(&run), &error, &help);
    assert_eq!(on_server(&live, "docker ps -aq"), "");
    fs::remove_dir_all(live.home().join(".docker")).unwrap();

    // Only a login that the registry accepts is stored.
    let live = live.env("REGISTRY_PASSWORD", "wrong");
    let user = format!("user={USER}");
    let login = ["run", "docker.login", name, &user];
    let login = [&login[..], &["password_env=REGISTRY_PASSWORD"]].concat();
    let error = format!("registry `{name}`: the login was rejected (status 401)");
    assert_fails(
        &live.run(&login),
        &error,
        &format!("log in with `hitc run docker.login {name}`"),
    );
    let file = live.home().join(".docker/config.json");
    assert!(!file.exists());
    let live = live.env("REGISTRY_PASSWORD", PASSWORD);
    live.run(&login).ok();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let run = live.run(&run).ok();
    assert!(
        run.stderr.contains(&format!("web: pulling {image}\n")),
        "{run}"
    );
    assert_eq!(live.get("web", 80), "42");
    let images = live.run(&["docker.images"]).ok();
    let rows = images.rows();
    let listed = rows.iter().find(|row| row[0].ends_with("team/app"));
    assert_eq!(listed.unwrap_or_else(|| panic!("{images}"))[1], "1");

    // The credentials went with the request.
    let auth = format!("{USER}:{PASSWORD}");
    let auth = BASE64.encode(auth.as_bytes());
    let look = format!(
        "grep -rlF -e '{PASSWORD}' -e '{auth}' /root /home /etc /tmp /var/lib/docker/image \
         /var/log 2>/dev/null || true"
    );
    assert_eq!(on_server(&live, &look), "");

    live.run(&["run", "-H", "web", "docker.store_login", name])
        .ok();
    let stored = on_server(
        &live,
        "stat -c %a /root/.docker/config.json; cat /root/.docker/config.json",
    );
    assert!(stored.starts_with("600\n"), "{stored}");
    assert!(stored.contains(&auth), "{stored}");
    on_server(&live, &format!("docker pull -q {image}"));
}

#[test]
fn credential_helpers_and_manifests() {
    let authority = Authority::new();
    let live = with_server(&authority);
    let registry = Registry::start(&authority, Authentication::Basic);
    registry.trust_on(&live, "web");
    registry.publish(&build(&live), "shop:1");
    let image = format!("{}/shop:1", registry.name);
    let name = &registry.name;
    live.write(
        "docker/config.json",
        &format!(r#"{{"credHelpers": {{"{name}": "test"}}}}"#),
    );
    live.write("hitcfile.rhai", "config(#{ docker_config: \"docker\" });\n");
    let missing = format!(
        "credential helper `docker-credential-test` for registry `{name}`: program not found"
    );
    assert_fails(
        &pull(&live, &image),
        &missing,
        "install it, or remove it from",
    );

    let helper = |script: &str| {
        let path = live.root().join("bin/docker-credential-test");
        live.write("bin/docker-credential-test", script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    helper("#!/bin/sh\necho 'the keychain is locked'\nexit 1\n");
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", live.root().join("bin").display());
    let live = live.env("PATH", &path);
    let locked = "credential helper `docker-credential-test` for registry `";
    let failed = pull(&live, &image);
    assert_fails(&failed, locked, "install it, or remove it from");
    assert!(
        failed.stderr.contains("`: the keychain is locked\n"),
        "{failed}"
    );

    let script = format!(
        "#!/bin/sh\n[ \"$1 $(cat)\" = 'get {name}' ] &&\n\
         echo '{{\"ServerURL\": \"\", \"Username\": \"{USER}\", \"Secret\": \"{PASSWORD}\"}}'\n"
    );
    let helper = |script: &str| {
        live.write("bin/docker-credential-test", script);
    };
    helper(&script);
    pull(&live, &image).ok();

    let manifest = format!(
        "web:\n  provider: local\n  containers:\n    page: {{image: \"{image}\", ports: [80], \
         environment: {{ANSWER: up}}}}\n"
    );
    live.write("it.yml", &manifest);
    on_server(&live, &format!("docker rmi {image}"));
    live.run(&["run", "--yes", "ensemble.up", "it", "adopt=web"])
        .ok();
    assert_eq!(live.get("web", 80), "up");

    // A login is stored by the helper, and nowhere else.
    let kept = live.root().join("kept");
    helper(&format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >'{0}' ;;\n\
         get) [ -e '{0}' ] || {{ echo credentials not found in native keychain; exit 1; }}; cat '{0}' ;;\nesac\n",
        kept.display()
    ));
    let image = format!("{name}/other:1");
    registry.publish(&build(&live), "other:1");
    live.write("hitcfile.rhai", "config(#{ docker_config: \"docker\" });\n");
    let help = format!("check the name, or log in with `hitc run docker.login {name}`");
    assert_fails(&pull(&live, &image), "host `web`: pulling image", &help);
    let store = ["run", "-H", "web", "docker.store_login", name];
    let error = format!("registry `{name}`: no credentials on this machine");
    let help = format!("log in with `hitc run docker.login {name}`");
    assert_fails(&live.run(&store), &error, &help);
    let live = live.env("REGISTRY_PASSWORD", PASSWORD);
    let user = format!("user={USER}");
    let login = ["run", "docker.login", name, &user];
    live.run(&[&login[..], &["password_env=REGISTRY_PASSWORD"]].concat())
        .ok();
    let stored: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    let expected = serde_json::json!({"ServerURL": name, "Username": USER, "Secret": PASSWORD});
    assert_eq!(stored, expected);
    let config = fs::read_to_string(live.root().join("docker/config.json")).unwrap();
    assert_eq!(
        config,
        format!(r#"{{"credHelpers": {{"{name}": "test"}}}}"#)
    );
    pull(&live, &image).ok();

    // On a server it is stored without the helper.
    live.run(&store).ok();
    let look = "stat -c %a /root/.docker/config.json; cat /root/.docker/config.json";
    let auth = BASE64.encode(format!("{USER}:{PASSWORD}").as_bytes());
    let on_server = on_server(&live, look);
    assert!(
        on_server.starts_with("600\n") && on_server.contains(&auth) && !on_server.contains("test"),
        "{on_server}"
    );
}

/// However many containers have an image, its registry is asked once.
#[test]
fn one_request_an_image() {
    let authority = Authority::new();
    let live = with_server(&authority);
    let registry = Registry::counting(&authority);
    let built = build(&live);
    let name = &registry.name;
    for image in ["app:1", "team/other:2"] {
        let image = format!("{name}/{image}");
        docker(&["tag", &built, &image]);
        let pushed = live.run(&["run", "-H", "web", "docker.push", &image]);
        docker(&["rmi", "--no-prune", &image]);
        pushed.ok();
    }
    let manifest = |pull: &str| {
        let app = format!("{{image: \"{name}/app:1\", count: 3, pull: {pull}}}");
        let other = format!("{{image: \"{name}/team/other:2\", pull: {pull}}}");
        format!("web:\n  provider: local\n  containers:\n    app: {app}\n    other: {other}\n")
    };
    live.write("it.yml", &manifest("missing"));
    live.run(&["run", "--yes", "ensemble.up", "it", "adopt=web"])
        .ok();
    assert_eq!(registry.requests(), [""; 0]);
    live.write("it.yml", &manifest("check"));
    let plan = live.run(&["run", "ensemble.plan", "it"]).ok();
    let requests = [
        "HEAD /v2/app/manifests/1",
        "HEAD /v2/team/other/manifests/2",
    ];
    assert_eq!(registry.requests(), requests, "{plan}");
    assert!(plan.stdout.ends_with("4 containers to replace\n"), "{plan}");
}

#[test]
fn a_registry_with_tokens_and_tags_that_move() {
    let authority = Authority::new();
    let live = with_server(&authority);
    let mut registry = Registry::start(&authority, Authentication::Token);
    registry.trust_on(&live, "web");
    let image = format!("{}/team/app:1", registry.name);
    registry.publish(&build(&live), "team/app:1");
    log_in(&live, &registry, "wrong");
    let error = format!("host `web`: pulling image `{image}`: ");
    assert_fails(
        &pull(&live, &image),
        &error,
        "check the name, or log in with",
    );

    // An identity token instead of a password.
    let name = &registry.name;
    let config = format!(r#"{{"auths": {{"{name}": {{"identitytoken": "{IDENTITY}"}}}}}}"#);
    let file = live.home().join(".docker/config.json");
    fs::write(&file, config).unwrap();
    pull(&live, &image).ok();
    let manifest = format!(
        "web:\n  provider: local\n  containers:\n    page:\n      image: \"{image}\"\n      \
         pull: check\n      ports: [80]\n      stop_timeout: 1s\n"
    );
    live.write("it.yml", &manifest);
    let up = ["run", "--yes", "ensemble.up", "it", "adopt=web"];
    let plan = || live.run(&["run", "ensemble.plan", "it"]).ok().stdout;
    live.run(&up).ok();
    assert_eq!(plan(), "no changes\n");

    log_in(&live, &registry, PASSWORD);
    assert_eq!(plan(), "no changes\n");
    live.write(
        "web/index.cgi",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nnew\\n'\n",
    );
    registry.publish(&build(&live), "team/app:1");
    let shown = plan();
    let change = format!("image: {image} (");
    assert!(shown.contains("! page  replace"), "{shown}");
    assert!(shown.contains(&change), "{shown}");
    assert!(shown.ends_with("1 container to replace\n"), "{shown}");
    live.run(&up).ok();
    assert_eq!(live.get("web", 80), "new");
    assert_eq!(plan(), "no changes\n");

    // A task replaces a container in any case, and pulls only what it lacks.
    let run = ["run", "-H", "web", "docker.run", &image, "name=other"];
    let checked = live.run(&[&run[..], &["pull=check"]].concat()).ok();
    assert!(!checked.stderr.contains("pulling"), "{checked}");

    // What the registry does not say is unknown, and the container stays.
    let page = on_server(&live, "docker inspect -f '{{.Id}}' page");
    registry.stop();
    let kept = live.run(&up).ok();
    let unknown = format!("unknown, and left as it is:\n  image `{image}`: registry `");
    assert!(kept.stderr.contains(&unknown), "{kept}");
    assert!(kept.stderr.contains("`it` is up to date"), "{kept}");
    assert_eq!(on_server(&live, "docker inspect -f '{{.Id}}' page"), page);
    let run = [&run[..], &["pull=check", "replace=true"]].concat();
    let warned = live.run(&run).ok();
    let warning = format!("host `web`: image `{image}` may be outdated: registry `");
    assert!(warned.stderr.contains(&warning), "{warned}");
}

/// What is asked of a registry that fails is unknown, and a pull from it is an error. Nothing changes.
#[test]
fn registries_that_fail() {
    let authority = Authority::new();
    let live = with_server(&authority);
    let built = build(&live);
    let mut registries = Vec::new();
    let mut manifest = "web:\n  provider: local\n  containers:\n".to_owned();
    for status in [401, 429, 500, 0] {
        let registry = Registry::faulty(&authority, status);
        registry.trust_on(&live, "web");
        let image = format!("{}/app:1", registry.name);
        docker(&["tag", &built, &image]);
        let pushed = live.run(&["run", "-H", "web", "docker.push", &image]);
        docker(&["rmi", "--no-prune", &image]);
        pushed.ok();
        let container = format!("    app{status}: {{image: \"{image}\", pull: check}}\n");
        manifest.push_str(&container);
        registries.push((status, registry));
    }
    live.write("it.yml", &manifest);
    let up = ["run", "--yes", "ensemble.up", "it", "adopt=web"];
    live.run(&up).ok();
    let ids = || on_server(&live, "docker ps -q --no-trunc | sort");
    let before = ids();
    assert_eq!(before.lines().count(), 4);

    let kept = live.run(&up).ok();
    for (status, registry) in &registries {
        let cause = match status {
            401 => "authentication required",
            429 => "too many requests (status 429)",
            500 => "internal server error (status 500)",
            _ => "timed out",
        };
        let name = &registry.name;
        let unknown = format!("  image `{name}/app:1`: registry `{name}`: {cause}\n");
        assert!(kept.stderr.contains(&unknown), "{kept}");
    }
    assert!(kept.stderr.contains("`it` is up to date"), "{kept}");
    assert_eq!(ids(), before);

    for (status, registry) in &registries {
        let image = format!("{}/other:1", registry.name);
        let run = ["run", "-H", "web", "docker.run", &image, "name=app500"];
        let replace = [&run[..], &["replace=true", "adopt=true"]].concat();
        if *status == 0 {
            interrupt(&live, &replace);
        } else {
            let failed = live.run(&replace);
            assert_eq!(failed.status, 1, "{failed}");
            let error = format!("error: host `web`: pulling image `{image}`: ");
            assert!(failed.stderr.contains(&error), "{failed}");
            assert!(failed.stderr.contains(&status.to_string()), "{failed}");
        }
        assert_eq!(ids(), before);
    }
}

/// Interrupts a pull from a registry that does not answer.
fn interrupt(live: &Live, arguments: &[&str]) {
    let mut child = live.spawn(arguments);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("pulling") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0);
    }
    let started = Instant::now();
    // Nothing else runs: the first Ctrl-C cancels it.
    crate::support::interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

/// There is no machine with another processor here: an image of another platform is one by its name.
#[test]
fn images_for_other_platforms() {
    let live = Live::new().web_server("web");
    live.run(&["run", "create", "name=web"]).ok();
    let base = format!("hitc-test/arm-base:{}", std::process::id());
    load(&live, &base, "arm64");
    live.write(
        "arm/Dockerfile",
        &format!("FROM {base}\nCOPY Dockerfile /\n"),
    );
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"arm\", #{ platform: \"linux/arm64\" })) }\n",
    );
    let built = live.run(&["run", "build"]);
    let built = built.ok().stdout.trim().to_owned();
    assert!(built.ends_with("-arm64"), "{built}");
    for image in [&base, &built] {
        let refused = live.run(&["run", "-H", "web", "docker.push", image]);
        let error = format!("host `web`: image `{image}` is for linux/arm64");
        assert_fails(
            &refused,
            &error,
            "build it for the server with `docker build",
        );
        assert!(!refused.stderr.contains(" MB)"), "{refused}");
        docker(&["rmi", image]);
    }
}

/// Loads an image with one file, for a processor architecture, into the local engine.
fn load(live: &Live, name: &str, architecture: &str) {
    let pack = |files: &[(&str, &[u8])]| {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, *content).unwrap();
        }
        archive.into_inner().unwrap()
    };
    let layer = pack(&[("file", architecture.as_bytes())]);
    let digest = HEXLOWER.encode(&Sha256::digest(&layer));
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}
    ]);
    let image = pack(&[
        ("config.json", config.to_string().as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.to_string().as_bytes()),
    ]);
    let path = live.root().join("image.tar");
    fs::write(&path, image).unwrap();
    docker(&["load", "-qi", path.to_str().unwrap()]);
}

/// Only BuildKit has mounts.
#[test]
fn a_dockerfile_that_needs_buildkit() {
    let live = Live::new();
    let write = |command: &str| {
        live.write(
            "kit/Dockerfile",
            &format!("FROM hitc/debian:13\nRUN --mount=type=cache,target=/c {command}\n"),
        );
    };
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"kit\")) }\n",
    );
    write("date +%N >/built; touch /c/x");
    let built = live.run(&["run", "build"]).ok();
    assert!(built.stderr.contains("[stage-0 2/2] RUN"), "{built}");
    let image = built.stdout.trim();
    docker(&["run", "--rm", image, "test", "-s", "/built"]);
    docker(&["rmi", image]);

    write("echo some output; exit 3");
    let failed = live.run(&["run", "build"]);
    assert_eq!(failed.status, 1, "{failed}");
    assert!(failed.stderr.contains("exit code: 3"), "{failed}");
    assert!(failed.stderr.contains("some output"), "{failed}");
}

/// A secret is in neither the image nor what is shown.
#[test]
fn a_build_with_secrets() {
    const TOKEN: &str = "hunter2-$(id)-'ö'";
    let live = Live::new().env("TOKEN", TOKEN);
    let write = |line: &str| {
        let dockerfile =
            format!("FROM hitc/debian:13\nRUN --mount=type=secret,id=token,required=true {line}\n");
        live.write("kit/Dockerfile", &dockerfile);
    };
    live.write("big", &"x".repeat(200_000));
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"kit\", #{ secrets: #{ token: secret::env(\"TOKEN\"), big: secret::file(\"big\") } })) }\n\
         /// N.\nfn none() { docker::build(\"kit\") }\n\
         /// O.\nfn other() { docker::build(\"kit\", #{ secrets: #{ other: \"x\" } }) }\n",
    );
    write(
        "--mount=type=secret,id=big sha256sum </run/secrets/token >/sum; wc -c </run/secrets/big >/size",
    );
    let built = live.run(&["run", "build"]).ok();
    let image = built.stdout.trim();
    let shown = docker(&[
        "run",
        "--rm",
        image,
        "sh",
        "-c",
        "cat /sum /size; ls -A /run/secrets || true",
    ]);
    let digest = HEXLOWER.encode(&Sha256::digest(TOKEN));
    assert_eq!(shown, format!("{digest}  -\n200000"));
    let history = [
        docker(&["history", "--no-trunc", image]),
        docker(&["inspect", image]),
    ];
    let history = history.concat();
    assert!(!history.contains("hunter2"), "{history}");
    docker(&["rmi", image]);

    write("cat /run/secrets/token; exit 3");
    let failed = live.run(&["run", "build"]);
    assert_eq!(failed.status, 1, "{failed}");
    assert!(failed.stderr.contains("exit code: 3"), "{failed}");
    assert!(
        failed.stderr.contains("***") && !failed.stderr.contains("hunter2"),
        "{failed}"
    );
    for task in ["none", "other"] {
        let failed = live.run(&["run", task]);
        assert_eq!(failed.status, 1, "{failed}");
        let help = "help: give it with `docker::build(FOLDER, #{ secrets: #{ \"token\": secret::env(\"NAME\") } })`; ";
        assert!(
            failed
                .stderr
                .contains("secret `token` is required and was not given\n"),
            "{failed}"
        );
        assert!(failed.stderr.contains(help), "{failed}");
    }
}
