//! Local clouds to test against: see `tests/clouds/cloud.py`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Once,
};

use serde_json::Value as Json;

use super::{
    live::{Live, docker},
    sources,
};

/// A cloud that is stopped when dropped.
pub struct Cloud {
    child: Child,
    /// The address of its API.
    pub url: String,
    machines: Option<String>,
}

/// The Python environment of the clouds. Installs it once.
pub(super) fn tools() -> PathBuf {
    static READY: Once = Once::new();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("clouds");
    READY.call_once(|| {
        let done = Command::new("sh")
            .arg(sources().join("tests/clouds/setup.sh"))
            .arg(&folder)
            .status()
            .unwrap();
        assert!(done.success());
    });
    folder
}

/// Runs Python in the environment of the clouds, and returns its output.
fn python(arguments: &[&str]) -> String {
    let done = Command::new(tools().join("bin/python"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// A project with a local server, `behind`, to which `~/.ssh/config` maps these addresses.
fn behind(addresses: &str) -> Live {
    let live = Live::new();
    live.run(&["run", "create", "provider=local", "name=behind"])
        .ok();
    let ip = live.ip("behind");
    fs::create_dir_all(live.home().join(".ssh")).unwrap();
    let config = format!("Host {addresses}\n HostName {ip}\n");
    fs::write(live.home().join(".ssh/config"), config).unwrap();
    live
}

impl Cloud {
    /// Starts the cloud of this name. With `live`, its servers are real.
    pub fn start(name: &str, live: Option<&Live>, environment: &[(&str, &str)]) -> Self {
        let machines = live.map(|live| live.container("C-"));
        let mut command = Command::new(tools().join("bin/python"));
        command
            .arg(sources().join(format!("tests/clouds/{name}.py")))
            .envs(environment.iter().copied())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HITC_TEST_PROGRAM", env!("CARGO_BIN_EXE_hitc"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let (Some(live), Some(machines)) = (live, &machines) {
            let home = live.home().join("cloud");
            fs::create_dir_all(&home).unwrap();
            command
                .env("HITC_TEST_MACHINES", machines)
                .env("HOME", &home)
                .current_dir(home);
        }
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut url).unwrap();
        Cloud {
            child,
            url: url.trim().to_owned(),
            machines,
        }
    }

    /// Starts DigitalOcean, and returns it with a project that uses it. Checks all exchanges against
    /// the OpenAPI contract, if that is available.
    pub fn digitalocean(live: Live, machines: bool) -> (Self, Live) {
        Cloud::digitalocean_with(live, machines, &[])
    }

    /// As above, with environment variables for the cloud.
    pub fn digitalocean_with(
        live: Live,
        machines: bool,
        environment: &[(&str, &str)],
    ) -> (Self, Live) {
        let contract = sources().join("../shared/contracts/digitalocean-openapi.yaml");
        let contract = contract.to_string_lossy();
        let mut environment = environment.to_vec();
        if std::path::Path::new(&*contract).exists() {
            environment.push(("DIGITALOCEAN_CONTRACT", &*contract));
        } else {
            // Directly to standard error: the test harness captures the output of macros.
            std::io::stderr()
                .write_all(b"DigitalOcean's contract not found: exchanges are not checked\n")
                .unwrap();
        }
        let cloud = Cloud::start("digitalocean", machines.then_some(&live), &environment);
        let live = live
            .env("DIGITALOCEAN_TOKEN", "test-token")
            .env("DIGITALOCEAN_API_URL", &cloud.url);
        (cloud, live)
    }

    /// Starts Hetzner, and returns it with a project that uses it.
    pub fn hetzner(live: Live, machines: bool) -> (Self, Live) {
        Cloud::hetzner_with(live, machines, &[])
    }

    /// As above, with environment variables for the cloud.
    pub fn hetzner_with(live: Live, machines: bool, environment: &[(&str, &str)]) -> (Self, Live) {
        let cloud = Cloud::start("hetzner", machines.then_some(&live), environment);
        let live = live
            .env("HCLOUD_TOKEN", "test-token")
            .env("HCLOUD_ENDPOINT", &format!("{}/v1", cloud.url));
        (cloud, live)
    }

    /// Starts Google Cloud, and returns it with a project that uses it by the key of a service account.
    pub fn gcp(live: Live, machines: bool) -> (Self, Live) {
        Cloud::gcp_with(live, machines, &[])
    }

    /// As above, with environment variables for the cloud.
    pub fn gcp_with(live: Live, machines: bool, environment: &[(&str, &str)]) -> (Self, Live) {
        let cloud = Cloud::start("gcp", machines.then_some(&live), environment);
        let file = live.home().join("key.json");
        let mut key = cloud.get("/_credentials")["service_account"].clone();
        key["token_uri"] = format!("{}/token", cloud.url).into();
        fs::write(&file, format!("{key:#}")).unwrap();
        let endpoint = format!("{}/compute/v1/", cloud.url);
        let live = live
            .env("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())
            .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", &endpoint)
            .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBILLING", &cloud.url)
            .env(
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
                &cloud.url,
            );
        (cloud, live)
    }

    /// Runs a script of `tests/clouds` with the address of this cloud, and returns its output.
    pub fn drive(&self, script: &str) -> String {
        let script = sources().join("tests/clouds").join(script);
        python(&[script.to_str().unwrap(), &self.url])
    }

    /// Starts EC2 (moto), and returns it with a project that uses it, in the region `us-east-1`.
    pub fn ec2(live: Live) -> (Self, Live) {
        let images = sources().join("tests/clouds/images.json");
        let images = images.to_string_lossy();
        let environment = [
            ("MOTO_AMIS_PATH", &*images),
            ("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true"),
            ("MOTO_ENABLE_AMI_VALIDATION", "true"),
            ("MOTO_ENABLE_KEYPAIR_VALIDATION", "true"),
        ];
        let mut cloud = Cloud::start("amazon", None, &environment);
        let (ec2, prices) = cloud.url.split_once(' ').unwrap();
        let live = live
            .env("AWS_ENDPOINT_URL", ec2)
            .env("AWS_ENDPOINT_URL_PRICING", prices)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1");
        cloud.url = ec2.to_owned();
        (cloud, live)
    }

    /// Starts EC2, and maps the addresses of its servers to a local server.
    pub fn reachable_ec2() -> (Self, Live) {
        Cloud::ec2(behind("54.* 127.*"))
    }

    /// Starts DigitalOcean, and maps the addresses of its servers to a local server.
    pub fn reachable_digitalocean() -> (Self, Live) {
        Cloud::digitalocean(behind("192.0.2.*"), false)
    }

    /// Starts Hetzner, and maps the addresses of its servers to a local server.
    pub fn reachable_hetzner() -> (Self, Live) {
        Cloud::hetzner(behind("192.0.2.*"), false)
    }

    /// Starts Google Cloud, and maps the addresses of its servers to a local server, which lets Google's
    /// default user in.
    pub fn reachable_gcp() -> (Self, Live) {
        let live = behind("192.0.2.*");
        let script = "useradd -m hitc && cp -r /root/.ssh /home/hitc/ && chown -R hitc: /home/hitc";
        docker(&["exec", &live.container("behind"), "sh", "-c", script]);
        Cloud::gcp(live, false)
    }

    /// Starts the cloud of this name, and maps the addresses of its servers to a local server.
    pub fn reachable(name: &str) -> (Self, Live) {
        match name {
            "ec2" => Cloud::reachable_ec2(),
            "gcp" => Cloud::reachable_gcp(),
            "hetzner" => Cloud::reachable_hetzner(),
            "digitalocean" => Cloud::reachable_digitalocean(),
            _ => panic!("{name}"),
        }
    }

    /// Runs a Python script with an EC2 client `ec2`, and returns its output.
    pub fn boto(&self, script: &str) -> String {
        let script = format!(
            "import boto3\nec2 = boto3.client('ec2', region_name='us-east-1', endpoint_url='{}', \
             aws_access_key_id='test', aws_secret_access_key='test')\n{script}",
            self.url
        );
        python(&["-c", &script]).trim().to_owned()
    }

    /// Sets the faults of the next requests.
    pub fn faults(&self, faults: &Json) {
        self.post("/_faults", faults);
    }

    /// All requests so far, as `METHOD PATH`.
    pub fn log(&self) -> Vec<String> {
        let log = self.get("/_log");
        let line = |entry: &Json| {
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            format!("{} {}", text("method"), text("path"))
        };
        log.as_array().unwrap().iter().map(line).collect()
    }

    /// Changes how the cloud behaves: see `tests/clouds/cloud.py`.
    pub fn set(&self, settings: &Json) {
        self.post("/_settings", settings);
    }

    /// The violations of the contract so far.
    pub fn violations(&self) -> Json {
        self.get("/_violations")
    }

    pub fn get(&self, path: &str) -> Json {
        self.ask("GET", path, "")
    }

    pub fn post(&self, path: &str, body: &Json) -> Json {
        self.ask("POST", path, &body.to_string())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Json {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(prefix) = &self.machines {
            let filter = format!("label=hitc.server.prefix={prefix}");
            for id in docker(&["ps", "-aq", "--filter", &filter]).split_whitespace() {
                // Fails if the cloud is removing the server already.
                let removed = Command::new("docker").args(["rm", "-fv", id]).output();
                removed.unwrap();
            }
        }
    }
}
