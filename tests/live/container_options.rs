//! The options of containers on a real engine: ports with addresses, networks, limits, attached runs.

use std::{
    io::Read,
    net::{TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use crate::support::{
    Run, interrupt,
    live::{Live, get},
};

/// Debian with an echo of UDP packets on a port.
const ECHO: &str = r"
FROM hitc/debian:13
COPY echo.pl /echo.pl
";

const ECHO_SCRIPT: &str = r"
use Socket;
socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die $!;
bind($socket, sockaddr_in($ARGV[0], INADDR_ANY)) or die $!;
while (my $from = recv($socket, my $packet, 1500, 0)) { send($socket, $packet, 0, $from) }
";

/// A project with a server `web` that has the image of the web server. Returns the image's name.
fn server() -> (Live, String) {
    with_server(Live::new().web_server("web"))
}

/// Builds the image of the folder `web` and sends it to a new server `web`. Returns its name.
fn with_server(live: Live) -> (Live, String) {
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"web\")) }\n",
    );
    let image = live.run(&["run", "build"]).ok().stdout.trim().to_owned();
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    (live, image)
}

fn run(live: &Live, image: &str, options: &[&str]) -> Run {
    let words = ["run", "-H", "web", "docker.run", image];
    live.run(&[&words[..], options].concat())
}

/// A command on the server.
fn on_server(live: &Live, line: &str) -> String {
    let words = ["exec", "-H", "web", "-o", "raw", "--", line];
    live.run(&words).ok().stdout.trim().to_owned()
}

/// Whether a TCP connection from this machine to the server is answered.
fn connects(ip: &str, port: u16) -> bool {
    let address = format!("{ip}:{port}").parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok()
}

/// The integration cases of the original: ports of both protocols, environment, command, volumes.
#[test]
fn ports_environment_command_and_volumes() {
    let live = Live::new()
        .file("web/Dockerfile", ECHO)
        .file("web/echo.pl", ECHO_SCRIPT);
    let (live, image) = with_server(live);
    // The original publishes port 2000 of the container as port 3000 of the server.
    let script = "perl /echo.pl 1000 & perl /echo.pl 2000 & cd /data; echo \"$WORD\" >word; \
                  busybox httpd -p 4000; exec busybox httpd -f -p 8000";
    let options = [
        "name=app",
        "ports=8000:8080,1000/udp,2000:3000/udp,4000/tcp",
        "environment=WORD=one two,OTHER=x",
        "volumes=/var/lib/app:/data",
    ];
    let command = format!("command=sh -c '{script}'");
    run(&live, &image, &[&options[..], &[&command]].concat()).ok();

    let listed = live.run(&["docker.ps"]).ok();
    assert_eq!(listed.rows()[0][0], "app", "{listed}");
    for port in ["8000:8080", "1000:1000/udp", "2000:3000/udp", "4000:4000"] {
        assert!(listed.stdout.contains(port), "{listed}");
    }
    let ip = live.ip("web");
    for port in [8080, 4000] {
        assert_eq!(get(&format!("http://{ip}:{port}/word")), "one two");
    }
    for port in [1000, 3000] {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket.send_to(b"hello", format!("{ip}:{port}")).unwrap();
        let mut answer = [0; 5];
        socket.recv(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }
    assert_eq!(on_server(&live, "cat /var/lib/app/word"), "one two");

    live.run(&["run", "-H", "web", "docker.kill", "app"]).ok();
    assert_eq!(live.run(&["docker.ps"]).ok().rows().len(), 0);
    assert!(!connects(&ip, 8080));
    assert_eq!(on_server(&live, "cat /var/lib/app/word"), "one two");
}

#[test]
fn ports_on_one_address() {
    let (live, image) = server();
    let ports = "ports=80:localhost:8001,80:internal:8002,80:8004";
    let ran = run(&live, &image, &["name=app", "environment=ANSWER=42", ports]);
    ran.ok();
    let ip = live.ip("web");
    let listed = live.run(&["docker.ps"]).ok();
    let internal = format!("80:{ip}:8002");
    for port in ["80:127.0.0.1:8001", &internal, "80:8004"] {
        assert!(listed.stdout.contains(port), "{listed}");
    }
    // From outside only what is published there.
    assert!(!connects(&ip, 8001));
    assert!(connects(&ip, 8002) && connects(&ip, 8004));
    let answer = |address: &str| {
        let path = "/cgi-bin/index.cgi";
        on_server(&live, &format!("busybox wget -qO- http://{address}{path}"))
    };
    assert_eq!(answer("127.0.0.1:8001"), "42");
    assert_eq!(answer("127.0.0.1:8004"), "42");

    // A port of one address is taken only there.
    let other = run(&live, &image, &["name=other", "ports=80:127.0.0.2:8001"]);
    other.ok();
    let taken = run(&live, &image, &["name=third", "ports=80:8001"]);
    assert_eq!(taken.status, 1);
    let expected = "port 8001 is already allocated to container `";
    assert!(taken.stderr.contains(expected), "{taken}");
    let taken = run(&live, &image, &["name=fourth", "ports=80:22"]);
    let expected = "container `fourth`: port 22 is in use by a program of the server";
    assert!(taken.stderr.contains(expected), "{taken}");
}

/// What is set arrives, is in force, and a second run finds it unchanged.
#[test]
fn options_of_a_manifest() {
    let live = Live::new().web_server("web");
    let manifest = "
web:
  provider: local
  containers:
    db:
      build: web
      networks: [backend, frontend]
      ports: [\"80:internal:9000\"]
    app:
      build: web
      networks: backend
      read_only: true
      init: true
      shm_size: 32m
      ulimits: {nofile: \"512:1024\", nproc: 100}
      cap_add: [NET_ADMIN]
      cap_drop: [CAP_MKNOD, chown]
      log: {driver: json-file, max-size: 1m}
      ports: [80]
    bare:
      build: web
      networks: none
      log: none
";
    live.write("shop.yml", manifest);
    let up = live.run(&["run", "--yes", "ensemble.up", "shop"]).ok();
    assert!(up.stderr.contains("public port 80)"), "{up}");
    assert!(!up.stderr.contains("9000)"), "{up}");
    let inspect = |form: &str| on_server(&live, &format!("docker inspect -f '{form}' app"));
    let form = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.ShmSize}} {{.HostConfig.LogConfig}}";
    assert_eq!(
        inspect(form),
        "true 33554432 {json-file map[max-file:3 max-size:1m]}"
    );
    let inside = |line: &str| on_server(&live, &format!("docker exec app sh -c '{line}'"));
    assert_eq!(inside("ulimit -n; ulimit -Hn; ulimit -u"), "512\n1024\n100");
    assert_eq!(
        inside("touch /x 2>&1; true"),
        "touch: /x: Read-only file system"
    );
    assert_eq!(inside("readlink /proc/1/exe | grep -c init"), "1");
    assert_eq!(
        inside("wget -qO- http://db/cgi-bin/index.cgi; echo $?"),
        "0"
    );
    let networks = "docker network ls -q --filter label=hitc.project | wc -l";
    assert_eq!(on_server(&live, networks), "2");

    let again = live.run(&["run", "--yes", "ensemble.up", "shop"]).ok();
    assert!(again.stderr.contains("no changes"), "{again}");
    // An edit of any of them is exactly that change.
    for (from, to, shown) in [
        ("read_only: true", "read_only: false", "read_only"),
        ("512:1024", "256:1024", "ulimits"),
        ("[NET_ADMIN]", "[NET_RAW]", "cap_add"),
        ("max-size: 1m", "max-size: 2m", "log.max-size"),
        (
            "networks: backend",
            "networks: [backend, frontend]",
            "networks",
        ),
    ] {
        live.write("shop.yml", &manifest.replace(from, to));
        let plan = live.run(&["run", "-n", "ensemble.up", "shop"]).ok();
        let changes: Vec<&str> = plan
            .stdout
            .lines()
            .chain(plan.stderr.lines())
            .filter(|line| line.contains(": ") && line.contains(" → "))
            .collect();
        assert_eq!(changes.len(), 1, "{plan}");
        assert!(changes[0].contains(shown), "{plan}");
    }
}

#[test]
fn attached() {
    let (live, image) = server();
    let job = |command: &str, options: &[&str]| {
        let command = format!("command=sh -c '{command}'");
        let all = [&["name=job", "attach=true", &command][..], options].concat();
        run(&live, &image, &all)
    };
    let ran = job("echo out; echo error >&2", &[]).ok();
    assert_eq!(ran.stdout, "out\n");
    assert!(ran.stderr.contains("error\n"), "{ran}");
    let again = job("true", &[]);
    assert!(again.stderr.contains("`job` already exists"), "{again}");
    let failed = job("echo last words; exit 3", &["replace=true"]);
    assert_eq!(failed.status, 1);
    assert_eq!(failed.stdout, "last words\n");
    let expected = "error: host `web`: container `job` ended with status 3";
    assert!(failed.stderr.contains(expected), "{failed}");
    let refused = job("true", &["restart=always"]);
    assert_eq!(refused.status, 2, "{refused}");

    // What cannot be created replaces nothing.
    let options = ["name=job", "attach=true", "replace=true", "pull=never"];
    let missing = run(&live, "no/such:1", &options);
    assert!(
        missing.stderr.contains("image `no/such:1` not found"),
        "{missing}"
    );
    let kept = "docker ps -aq --filter name=^job$ | wc -l";
    assert_eq!(on_server(&live, kept), "1");

    // Ctrl-C ends it, and the container.
    let words = ["run", "-H", "web", "docker.run", &image, "name=job"];
    let command = "command=sh -c \"echo ready; exec sleep 1000\"";
    let more = ["attach=true", "replace=true", command];
    let mut child = live.spawn(&[&words[..], &more].concat());
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let left = || on_server(&live, "docker ps -q --filter name=job");
    let started = Instant::now();
    while !left().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn forty_containers_on_one_server() {
    let live = Live::new().web_server("web");
    let manifest = "web: {provider: local, containers: {app: {build: web, count: 40}}}\n";
    live.write("it.yml", manifest);
    live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    assert_eq!(live.run(&["docker.ps"]).ok().rows().len(), 40);
    let again = live.run(&["run", "--yes", "ensemble.up", "it"]).ok();
    assert!(again.stderr.contains("no changes"), "{again}");
    live.run(&["run", "--yes", "ensemble.down", "it"]).ok();
}
