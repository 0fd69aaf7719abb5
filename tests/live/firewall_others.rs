//! The firewall on servers that have another one.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::support::{
    Run,
    live::{Live, docker},
};

const ECHO: &str = include_str!("../support/echo.pl");

/// A server with programs that answer on three ports, a command on it, and what this machine reaches.
struct Scene {
    live: Live,
    ip: String,
}

impl Scene {
    fn new() -> Self {
        let live = Live::new().file("echo.pl", ECHO);
        live.run(&["run", "create", "name=web"]).ok();
        live.run(&["-q", "-H", "web", "upload", "echo.pl", "/echo.pl"])
            .ok();
        let ip = live.ip("web");
        let scene = Scene { live, ip };
        scene.inside(
            "setsid perl /echo.pl tcp/7001 tcp/7002 tcp/7003 </dev/null >/dev/null 2>&1 &
             until [ $(ss -Hltn | grep -c ':700[123] ') = 3 ]; do sleep 0.05; done",
        );
        scene
    }

    fn inside(&self, line: &str) -> String {
        let container = self.live.container("web");
        docker(&["exec", &container, "sh", "-ec", line])
    }

    fn task(&self, words: &[&str]) -> Run {
        let words = [&["run", "--yes", "-H", "web"], words].concat();
        self.live.run(&words)
    }

    /// The ports that answer.
    fn open(&self) -> Vec<u16> {
        let answers = |port: &u16| {
            let address: SocketAddr = format!("{}:{port}", self.ip).parse().unwrap();
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        };
        let mut ports = vec![22, 7001, 7002, 7003];
        ports.retain(answers);
        ports
    }
}

/// All rules of iptables except hitc's, and those of nftables that iptables did not make.
const RULES: &str = "for p in iptables ip6tables; do $p-save | grep -v '^#' | sed 's/ \\[[0-9:]*\\]$//'; done; \
                     nft -s list table inet other 2>/dev/null || true";

#[test]
fn ufw_stays_in_force_beside_it() {
    let scene = Scene::new();
    scene.inside(
        "apt-get update -qq >/dev/null 2>&1
         DEBIAN_FRONTEND=noninteractive apt-get install -qqy ufw >/dev/null 2>&1
         for port in 22 7001 7003; do ufw allow $port/tcp; done >/dev/null
         ufw --force enable >/dev/null",
    );
    let rules = scene.inside(RULES);
    assert!(rules.contains("-A ufw-user-input -p tcp -m tcp --dport 7001 -j ACCEPT"));
    assert_eq!(scene.open(), [22, 7001, 7003]);

    let refused = scene.task(&["iptables.apply", "7002=*", "7003=*"]);
    let message = "error: host `web`: UFW is active, which is another firewall";
    let help = "help: switch it off on the server: ufw disable, or keep both with `with: ufw`: a packet \
                then needs the consent of both";
    assert!(
        refused.status == 1 && refused.stderr.contains(message) && refused.stderr.contains(help),
        "{refused}"
    );
    assert_eq!(scene.inside("nft list tables | grep hitc || true"), "");
    assert_eq!(scene.open(), [22, 7001, 7003]);

    scene
        .task(&["iptables.apply", "7002=*", "7003=*", "with=ufw"])
        .ok();
    assert_eq!(scene.open(), [22, 7003]);
    assert_eq!(scene.inside(RULES), rules);

    // UFW loads its rules anew.
    scene.inside("ufw reload >/dev/null");
    assert_eq!(scene.open(), [22, 7003]);
    // Another change of the firewall needs no second consent.
    scene.task(&["iptables.open", "7001"]).ok();
    assert_eq!(scene.open(), [22, 7001, 7003]);

    scene.task(&["iptables.clear"]).ok();
    assert_eq!(scene.inside(RULES), rules);
    assert_eq!(scene.open(), [22, 7001, 7003]);
    let status = scene.inside("ufw status | head -n 1");
    assert_eq!(status, "Status: active");
}

#[test]
fn another_table_of_nftables_is_left_alone() {
    let scene = Scene::new();
    scene.inside(
        "nft -f - <<'END'
         table inet other {
             set blocked { type inet_service; elements = { 7001 } }
             chain input {
                 type filter hook input priority 10; policy accept;
                 tcp dport @blocked counter drop
             }
         }
END
",
    );
    let rules = scene.inside(RULES);
    assert!(rules.contains("tcp dport @blocked counter drop"), "{rules}");
    assert_eq!(scene.open(), [22, 7002, 7003]);
    scene.task(&["iptables.apply", "7001=*", "7003=*"]).ok();
    assert_eq!(scene.open(), [22, 7003]);
    assert_eq!(scene.inside(RULES), rules);
    scene.task(&["iptables.clear"]).ok();
    assert_eq!(scene.inside(RULES), rules);
    assert_eq!(scene.open(), [22, 7002, 7003]);
}

/// Its daemon needs D-Bus, and no systemd.
#[test]
fn firewalld_is_refused_until_it_is_switched_off() {
    let scene = Scene::new();
    scene.inside(
        "apt-get update -qq >/dev/null 2>&1
         DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends \
             -o Dpkg::Options::=--force-unsafe-io firewalld dbus >/dev/null 2>&1
         mkdir -p /run/dbus
         dbus-daemon --system --fork
         firewalld
         until firewall-cmd --quiet --state; do sleep 0.1; done
         firewall-cmd --quiet --add-port 7001/tcp",
    );
    let rules = scene.inside(FIREWALLD);
    assert!(rules.contains("dport 7001"), "{rules}");
    assert_eq!(scene.open(), [22, 7001]);

    for words in [&["7002=*"][..], &["7002=*", "with=ufw"]] {
        let refused = scene.task(&[&["iptables.apply"], words].concat());
        let message = "error: host `web`: firewalld is active, which is another firewall";
        let help = "help: switch it off on the server: systemctl disable --now firewalld\n";
        assert!(
            refused.status == 1
                && refused.stderr.contains(message)
                && refused.stderr.contains(help),
            "{refused}"
        );
    }
    assert_eq!(scene.inside("nft list tables | grep hitc || true"), "");
    assert_eq!(scene.inside(FIREWALLD), rules);
    assert_eq!(scene.open(), [22, 7001]);

    // As systemd ends it.
    scene.inside("kill $(cat /run/firewalld.pid); while nft list table inet firewalld; do sleep 0.1; done >/dev/null 2>&1");
    assert_eq!(scene.open(), [22, 7001, 7002, 7003]);
    scene.task(&["iptables.apply", "7002=*"]).ok();
    assert_eq!(scene.open(), [22, 7002]);
}

const FIREWALLD: &str = "nft -s list table inet firewalld";
