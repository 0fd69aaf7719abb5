//! The firewall on a server with systemd, as clouds' images have it.

use std::time::{Duration, Instant};

use crate::support::{
    Run,
    live::{Live, docker},
};

/// A local server has no systemd: it is added to the server's image.
const DOCKERFILE: &str = "ARG SERVER\nFROM $SERVER\n\
    RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
    systemd systemd-sysv dbus libpam-systemd && ssh-keygen -A && systemctl enable docker ssh\n\
    COPY init /init\nCMD [\"sh\", \"/init\"]\n";

/// The first process before it becomes systemd. With cgroups of version 1, systemd would mount those
/// controllers that this machine does not use, and with that begin to use them on the whole machine, whose
/// engine finds no statistics then: each gets a place where something is mounted already.
const INIT: &str = "awk '$5 ~ \"^/sys/fs/cgroup\" { print $5 }' /proc/self/mountinfo | \
    xargs -rn1 mount -o remount,bind,rw
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -o remount,rw /sys/fs/cgroup
    for name in $(awk 'NR > 1 { print $1 }' /proc/cgroups) net_cls,net_prio cpu,cpuacct; do
        [ -d /sys/fs/cgroup/$name ] && continue
        mkdir /sys/fs/cgroup/$name
        mount -t tmpfs none /sys/fs/cgroup/$name
    done
fi
exec /sbin/init
";

/// The controllers of cgroups that this machine uses.
fn controllers() -> Vec<String> {
    let all = std::fs::read_to_string("/proc/cgroups").unwrap();
    let lines = all
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words[1] != "0")
        .map(|words| words[0].to_owned())
        .collect()
}

struct Scene {
    live: Live,
    ip: String,
}

impl Scene {
    /// Replaces the container of a local server by one with the same name, address and labels, in which
    /// systemd is the first process.
    fn new() -> Self {
        let live = Live::new()
            .file("systemd/Dockerfile", DOCKERFILE)
            .file("systemd/init", INIT);
        live.run(&["run", "create", "name=web"]).ok();
        let name = live.container("web");
        let inspect = |form: &str| docker(&["inspect", "-f", form, &name]);
        let ip = inspect("{{(index .NetworkSettings.Networks \"hitc\").IPAddress}}");
        let labels = inspect("{{range $k, $v := .Config.Labels}}--label {{$k}}={{$v}} {{end}}");
        let keys = docker(&["exec", &name, "cat", "/root/.ssh/authorized_keys"]);
        let from = format!("SERVER={}", inspect("{{.Config.Image}}"));
        let folder = live.root().join("systemd");
        let folder = folder.to_str().unwrap();
        let image = docker(&["build", "-q", "--build-arg", &from, folder]);
        docker(&["rm", "-fv", &name]);
        let mut words = vec![
            "run",
            "-d",
            "--name",
            &name,
            "--network",
            "hitc",
            "--ip",
            &ip,
        ];
        words.extend(labels.split_whitespace());
        words.extend(["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]);
        for option in [
            "seccomp=unconfined",
            "apparmor=unconfined",
            "systempaths=unconfined",
        ] {
            words.extend(["--security-opt", option]);
        }
        words.extend([
            "--device-cgroup-rule",
            "a *:* rwm",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/run/lock",
            &image,
        ]);
        docker(&words);
        let scene = Scene { live, ip };
        scene.wait_for_boot();
        scene.inside(&format!(
            "install -d -m 700 /root/.ssh; echo '{keys}' >/root/.ssh/authorized_keys"
        ));
        scene
    }

    fn inside(&self, line: &str) -> String {
        let container = self.live.container("web");
        docker(&["exec", &container, "sh", "-c", line])
    }

    fn wait_for_boot(&self) {
        // `degraded`: a container cannot load modules of the kernel.
        self.inside(
            "until systemctl is-active -q ssh && systemctl is-active -q docker; do sleep 0.1; done",
        );
    }

    fn task(&self, words: &[&str]) -> Run {
        let words = [&["run", "--yes", "-H", "web"], words].concat();
        self.live.run(&words)
    }

    fn answers(&self, port: u16) -> bool {
        let address = format!("{}:{port}", self.ip).parse().unwrap();
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    }
}

#[test]
fn a_server_with_systemd() {
    let before = controllers();
    let scene = Scene::new();
    assert_eq!(controllers(), before);
    let image = super::docker_commands::image(&scene.live);
    scene.task(&["docker.push", image]).ok();
    let command = "command=nc -ll -p 80 -e cat";
    let run = [
        "docker.run",
        image,
        "name=shop",
        "ports=80:8080",
        "restart=always",
        command,
    ];
    scene.task(&run).ok();
    scene.task(&["docker.bind", "shop", "80:9090"]).ok();
    assert!(scene.answers(8080) && scene.answers(9090));
    scene.task(&["iptables.apply", "8080=*"]).ok();
    assert!(scene.answers(22) && scene.answers(8080) && !scene.answers(9090));
    let units = "systemctl list-units --all --no-legend 'hitc-firewall-*'";
    assert_eq!(scene.inside(units), "", "the revert is disarmed");
    assert_eq!(
        scene.inside("systemctl is-enabled hitc-firewall hitc-bind"),
        "enabled\nenabled"
    );
    let verify = "systemd-analyze verify hitc-firewall.service hitc-bind.service 2>&1 | grep hitc";
    assert_eq!(scene.inside(&format!("{verify} || true")), "");

    // Reboot: in force before the network and before Docker.
    scene.task(&["reboot"]).ok();
    scene.wait_for_boot();
    let entered = |unit: &str| -> u64 {
        let show = format!("systemctl show --value -p ActiveEnterTimestampMonotonic {unit}");
        scene.inside(&show).parse().unwrap()
    };
    let firewall = entered("hitc-firewall.service");
    let (network, docker) = (entered("network-pre.target"), entered("docker.service"));
    assert!(
        0 < firewall && firewall <= network && firewall < docker,
        "{firewall} {network} {docker}"
    );
    let state =
        "systemctl is-active hitc-firewall hitc-bind; nft list table inet hitc | grep -c 8080";
    assert!(
        scene.inside(state).starts_with("active\nactive\n"),
        "{}",
        scene.inside(state)
    );
    let started = Instant::now();
    while !scene.answers(8080) {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the container did not come back"
        );
    }
    assert!(!scene.answers(9090));
    scene.task(&["iptables.open", "9090"]).ok();
    assert!(scene.answers(9090));

    // sshd that systemd starts for each connection: Ubuntu's default.
    scene.inside("systemctl disable --now ssh.service; systemctl enable --now ssh.socket");
    scene.task(&["iptables.close", "9090"]).ok();
    assert!(scene.answers(22) && !scene.answers(9090));

    // A run that is killed before it confirmed the rules, and all processes of its connection with it.
    scene.inside("iptables -I INPUT -p tcp --dport 22 --syn -m recent --name hitc --update --seconds 3600 -j DROP
                  iptables -I INPUT 2 -p tcp --dport 22 --syn -m recent --name hitc --set -j ACCEPT");
    let words = ["run", "--yes", "-H", "web", "iptables.apply", "80=*"];
    let mut killed = scene.live.spawn(&words);
    scene.inside("until [ -e /run/hitc/firewall/armed ]; do sleep 0.05; done");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let started = Instant::now();
    assert!(
        scene.inside(units).contains("running"),
        "{}",
        scene.inside(units)
    );
    scene.inside("for s in $(loginctl list-sessions --no-legend | awk '{ print $1 }'); do loginctl terminate-session $s; done");
    scene.inside("until [ ! -e /run/hitc/firewall/armed ]; do sleep 0.2; done");
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "{:?}",
        started.elapsed()
    );
    scene.inside("iptables -F INPUT");
    assert!(scene.answers(8080) && !scene.answers(80));

    scene.task(&["iptables.clear"]).ok();
    let rest = "nft list tables | grep hitc; systemctl list-unit-files --no-legend 'hitc-firewall*'; \
                find / -xdev -path '*hitc*firewall*' -not -path '/proc/*'; true";
    assert_eq!(scene.inside(rest), "");
    assert!(scene.answers(9090));
}
