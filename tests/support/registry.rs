//! Image registries with TLS and authentication, at an address that local servers reach.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Once},
    thread::sleep,
    time::Duration,
};

use super::{
    live::{Live, docker},
    sources,
};

/// The user of the registries, and the password. In base64 it contains the characters that differ
/// between the two alphabets.
pub const USER: &str = "joe";
pub const PASSWORD: &str = "s3cret~~~???>>>";
/// The password's line in an htpasswd file.
const HTPASSWD: &str = "joe:$2y$05$yrbd8sVBEy1VfFi2BWktB.MUHwUjSKZR/RdZi7kfHwXCNCmIxUjtK\n";
/// What the token service accepts instead of the password.
pub const IDENTITY: &str = "an-identity-token";

const ISSUER: &str = "hitc-test";

/// How a registry authenticates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    Basic,
    Token,
}

/// A certificate authority, and a certificate that it signed for the addresses of this machine.
#[derive(Clone)]
pub struct Authority(Arc<tempfile::TempDir>);

/// A registry, and its token service if it has one. They end when it is dropped.
pub struct Registry {
    processes: Vec<Child>,
    authority: Authority,
    folder: tempfile::TempDir,
    /// The address that servers and hitc use.
    pub name: String,
    port: u16,
}

impl Authority {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:{},IP:127.0.0.1\n",
            gateway()
        );
        fs::write(folder.path().join("extensions"), extensions).unwrap();
        let openssl = |line: &str| {
            let output = Command::new("openssl")
                .args(line.split_whitespace())
                .current_dir(folder.path())
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "openssl {line}: {error}");
        };
        openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt",
        );
        openssl("req -newkey rsa:2048 -nodes -subj /CN=test -keyout server.key -out server.csr");
        openssl(
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
             -extfile extensions -out server.crt",
        );
        Authority(Arc::new(folder))
    }

    /// The certificate of the authority.
    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("ca.crt")
    }
}

impl Registry {
    /// Starts a registry.
    pub fn start(authority: &Authority, authentication: Authentication) -> Self {
        install();
        let (folder, gateway) = (tempfile::tempdir().unwrap(), gateway());
        let certificates = authority.0.path().display();
        let path = folder.path().display();
        let mut processes = Vec::new();
        let auth = match authentication {
            Authentication::Basic => {
                fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
                format!("htpasswd: {{realm: test, path: {path}/htpasswd}}")
            }
            Authentication::Token => {
                let accepted = format!("{PASSWORD} {IDENTITY}");
                let (service, port) = python(authority, &["token", ISSUER, &accepted]);
                processes.push(service);
                format!(
                    "token: {{realm: 'https://{gateway}:{port}/token', service: registry, \
                     issuer: {ISSUER}, rootcertbundle: {certificates}/ca.crt}}"
                )
            }
        };
        loop {
            // Another process may take it meanwhile: then the registry ends at once.
            let port = TcpListener::bind((gateway.as_str(), 0)).unwrap();
            let port = port.local_addr().unwrap().port();
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\n\
                 storage: {{filesystem: {{rootdirectory: {path}/data}}, delete: {{enabled: true}}}}\n\
                 http:\n  addr: 0.0.0.0:{port}\n  secret: test\n  \
                 tls: {{certificate: {certificates}/server.crt, key: {certificates}/server.key}}\n\
                 auth:\n  {auth}\n"
            );
            let file = folder.path().join("config.yml");
            fs::write(&file, config).unwrap();
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let mut registry = Command::new("docker-registry")
                .arg("serve")
                .arg(&file)
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            while registry.try_wait().unwrap().is_none() {
                if TcpStream::connect((gateway.as_str(), port)).is_ok() {
                    processes.push(registry);
                    return Registry {
                        processes,
                        authority: authority.clone(),
                        folder,
                        name: format!("{gateway}:{port}"),
                        port,
                    };
                }
                sleep(Duration::from_millis(20));
            }
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(log.contains("address already in use"), "{log}");
        }
    }

    /// Starts a registry that answers every request with a status; 0: never.
    pub fn faulty(authority: &Authority, status: u16) -> Self {
        let status = status.to_string();
        let (process, port) = python(authority, &["fault", &status, ""]);
        Registry {
            processes: vec![process],
            authority: authority.clone(),
            folder: tempfile::tempdir().unwrap(),
            name: format!("{}:{port}", gateway()),
            port,
        }
    }

    /// Starts a registry that has every image, and writes the requests that it gets to a file.
    pub fn counting(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("requests");
        let (process, port) = python(authority, &["count", file.to_str().unwrap(), ""]);
        Registry {
            processes: vec![process],
            authority: authority.clone(),
            folder,
            name: format!("{}:{port}", gateway()),
            port,
        }
    }

    /// The requests that a counting registry got, sorted: method and path.
    pub fn requests(&self) -> Vec<String> {
        let requests = fs::read_to_string(self.folder.path().join("requests"));
        let requests = requests.unwrap_or_default();
        let mut requests: Vec<String> = requests.lines().map(str::to_owned).collect();
        requests.sort();
        requests
    }

    /// Publishes a local image.
    pub fn publish(&self, image: &str, name: &str) {
        let config = self.folder.path().join("docker");
        write_login(&config, &format!("127.0.0.1:{}", self.port), PASSWORD);
        // The engine does not check the certificates of registries on loopback addresses.
        let local = format!("127.0.0.1:{}/{name}", self.port);
        docker(&["tag", image, &local]);
        docker(&["--config", config.to_str().unwrap(), "push", "-q", &local]);
        docker(&["rmi", "--no-prune", &local]);
    }

    /// Lets a server's engine trust the authority.
    pub fn trust_on(&self, live: &Live, server: &str) {
        let authority = fs::read_to_string(self.authority.certificate()).unwrap();
        let folder = format!("/etc/docker/certs.d/{}", self.name);
        let line = format!("mkdir -p {folder} && cat >{folder}/ca.crt");
        live.run_with_input(&["exec", "-H", server, "--", &line], &authority)
            .ok();
    }

    /// Ends the registry.
    pub fn stop(&mut self) {
        for process in &mut self.processes {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        self.processes.clear();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Writes a Docker configuration with a password for a registry.
pub fn write_login(folder: &Path, registry: &str, password: &str) {
    let auth = data_encoding::BASE64.encode(format!("{USER}:{password}").as_bytes());
    let config = format!(r#"{{"auths": {{"{registry}": {{"auth": "{auth}"}}}}}}"#);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), config).unwrap();
}

/// The address at which local servers reach this machine.
fn gateway() -> String {
    let form = "{{(index .IPAM.Config 0).Gateway}}";
    docker(&["network", "inspect", "-f", form, "hitc"])
}

/// Starts `registry.py`. Returns it and its port.
fn python(authority: &Authority, arguments: &[&str]) -> (Child, u16) {
    let mut child = Command::new("python3")
        .arg(sources().join("tests/support/registry.py"))
        .arg(authority.0.path())
        .arg(gateway())
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    said.read_line(&mut port).unwrap();
    (child, port.trim().parse().unwrap())
}

/// Installs Debian's registry if it is missing.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        if Command::new("docker-registry").arg("--version").output().is_ok() {
            return;
        }
        std::io::stderr()
            .write_all(b"installing docker-registry\n")
            .unwrap();
        let line = "$(test \"$(id -u)\" = 0 || echo sudo -n) sh -c 'apt-get update -qq && \
                    DEBIAN_FRONTEND=noninteractive apt-get install -qqy docker-registry >/dev/null'";
        let installed = Command::new("sh").args(["-c", line]).status().unwrap();
        assert!(installed.success(), "docker-registry cannot be installed");
    });
}
