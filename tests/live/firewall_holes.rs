//! The fifteen holes of the original's firewall: each is seen with the original's rules, and not with hitc's.
//!
//! The original (head-in-the-clouds, `firewall.py`) appends one chain to `INPUT` and `FORWARD`. What cannot be
//! seen here, because all local servers have one address and one engine:
//!
//! - Hole 14 has two parts. That a container's packets to the public address of another server come from a
//!   public address is so with any rules: hitc warns of it (`ensemble/manifest/warning.rs`).
//! - Of hole 12, that a failed `iptables -L` counts as an absent chain. hitc has three answers
//!   (`iptables/observe.rs`).

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::firewall::{Backend, Scene, task};
use crate::support::Run;

/// Whose rules are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    Original,
    Hitc,
}

/// The number of a hole and its name, and how it is seen.
type Hole = (u8, &'static str, Check);

/// How a hole is seen.
#[derive(Clone, Copy)]
enum Check {
    /// One of these answers the client.
    Open(&'static [&'static str]),
    /// This does not answer the client.
    Closed(&'static str),
    /// It says whether the hole is there, and leaves [`RULES`] in force.
    Try(fn(&Scene, Rules) -> bool),
}
use Check::{Closed, Open, Try};

const HOLES: [Hole; 15] = [
    (11, "published before the rules", Try(published_first)),
    (
        1,
        "published ports are not filtered",
        Open(&["published=tcp,WEB,8004"]),
    ),
    (
        2,
        "source port 53 opens all ports",
        Open(&["source=tcp,WEB,7002,53"]),
    ),
    (
        3,
        "IPv6 is not filtered",
        Open(&["v6-host=tcp,WEB6,7002", "v6-proxy=tcp,WEB6,8004"]),
    ),
    (4, "a wrong rule opens everything", Try(wrong_rule)),
    (
        5,
        "rules name the port in the container",
        Try(|scene, rules| {
            // Even if it is called before Docker's own chains, which hide this one.
            rules.on(scene, "iptables -I FORWARD 1 -j ORIGINAL");
            let is_open = rules.answers(scene, "named-80-inside=tcp,WEB,8004");
            rules.on(scene, "iptables -D FORWARD -j ORIGINAL");
            is_open
        }),
    ),
    (
        6,
        "a container's address is open",
        Open(&["direct=tcp,INNER,80"]),
    ),
    (
        7,
        "the position of the rules is not checked",
        Try(not_called),
    ),
    (
        8,
        "a network is not what was written",
        Try(|scene, rules| {
            let network = [("7001", "*"), ("80", "10.1.2.3/8")];
            rules.load(scene, &network);
            let is_loaded = rules.are_loaded(scene, &network);
            rules.load(scene, &RULES);
            !is_loaded
        }),
    ),
    (
        9,
        "*/tcp opens all protocols",
        Try(|scene, rules| {
            rules.load(scene, &[("*/tcp", &scene.client)]);
            let (tcp, udp) = ("all-tcp=tcp,WEB,7002", "udp=udp,WEB,7009");
            let found = scene.probe("client", "SECONDS=1 ", &[tcp, udp]);
            assert!(found.contains("all-tcp"));
            rules.load(scene, &RULES);
            found.contains("udp")
        }),
    ),
    (
        12,
        "values are run by the shell",
        Try(|scene, rules| {
            let words = "10.0.0.1; touch injected; true";
            rules.load(scene, &[("7001", words)]);
            rules.load(scene, &RULES);
            scene.on("web", "ls injected 2>/dev/null; rm -f injected") == "injected"
        }),
    ),
    (
        13,
        "SSH on another port is closed",
        Closed("other-ssh=tcp,WEB,2222"),
    ),
    (
        14,
        "containers do not reach their server",
        Try(|scene, _| {
            let own = ["own=tcp,WEB,7002"];
            let on_default = scene.probe("web", "docker exec peer ", &own);
            assert_eq!(on_default.len(), 1);
            scene.probe("web", "docker exec other ", &own).is_empty()
        }),
    ),
    (
        15,
        "connections outlive their rule",
        Try(|scene, rules| {
            let held = scene.hold(7001);
            rules.load(scene, &[("80", "*")]);
            let is_held = !held.ends();
            rules.load(scene, &RULES);
            is_held
        }),
    ),
    (
        10,
        "open after a reboot",
        Try(|scene, rules| {
            task(&scene.live, &["reboot"]).ok();
            scene.boot("web");
            rules.answers(scene, "after-reboot=tcp,WEB,7002")
        }),
    ),
];

/// What both firewalls open.
const RULES: [(&str, &str); 2] = [("7001", "*"), ("80", "*")];

impl Rules {
    /// Whether something answers the client. What hitc closes need not be waited for as long as others.
    fn answers(self, scene: &Scene, target: &str) -> bool {
        let prefix = if self == Rules::Hitc {
            "SECONDS=1 "
        } else {
            ""
        };
        !scene.probe("client", prefix, &[target]).is_empty()
    }

    /// A command that only the original needs.
    fn on(self, scene: &Scene, line: &str) {
        if self == Rules::Original {
            scene.on("web", line);
        }
    }

    /// Loads these rules. If one of them is wrong, the rest is as it is then.
    fn load(self, scene: &Scene, rules: &[(&str, &str)]) {
        match self {
            Rules::Original => {
                let live = &scene.live;
                let lines = commands(rules).join(" && ");
                live.run(&["exec", "-H", "web", "-o", "raw", "--", &lines]);
            }
            Rules::Hitc => {
                apply(scene, rules);
            }
        }
    }

    /// Whether each finds that the server has these rules already.
    fn are_loaded(self, scene: &Scene, rules: &[(&str, &str)]) -> bool {
        match self {
            Rules::Original => {
                let mut found: Vec<String> = scene
                    .on("web", "iptables -C INPUT -j ORIGINAL; iptables -S ORIGINAL")
                    .lines()
                    .filter(|line| line.starts_with("-A"))
                    .map(|line| format!("iptables {line}"))
                    .collect();
                let mut wanted = commands(rules);
                wanted.retain(|line| line.starts_with("iptables -A"));
                found.sort();
                wanted.sort();
                found == wanted
            }
            Rules::Hitc => {
                let again = apply(scene, rules).ok();
                again.stderr.contains("firewall: no change")
            }
        }
    }
}

fn apply(scene: &Scene, rules: &[(&str, &str)]) -> Run {
    let rules = rules.iter().map(|(port, from)| format!("{port}={from}"));
    let rules: Vec<String> = rules.collect();
    let mut words = vec!["iptables.apply"];
    words.extend(rules.iter().map(String::as_str));
    task(&scene.live, &words)
}

/// What the original runs in a shell of root, joined with `&&`.
fn commands(rules: &[(&str, &str)]) -> Vec<String> {
    let mut lines =
        vec!["{ iptables -F ORIGINAL 2>/dev/null || iptables -N ORIGINAL; }".to_owned()];
    for chain in ["INPUT", "FORWARD"] {
        let jump = format!("{chain} -j ORIGINAL");
        lines.push(format!(
            "{{ iptables -C {jump} 2>/dev/null || iptables -A {jump}; }}"
        ));
    }
    let all = "FIN,SYN,RST,PSH,ACK,URG";
    let mut add = |rule: &str| lines.push(format!("iptables -A ORIGINAL {rule}"));
    add(&format!("-p tcp -m tcp --tcp-flags {all} NONE -j DROP"));
    add("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m state --state NEW -j DROP");
    add(&format!("-p tcp -m tcp --tcp-flags {all} {all} -j DROP"));
    add("-i lo -j RETURN");
    add("-p icmp -m icmp --icmp-type 8 -j RETURN");
    add("-i docker0 -j RETURN");
    add("-p tcp -m tcp --sport 53 -j RETURN");
    add("-p udp -m udp --sport 53 -j RETURN");
    add("-p tcp -m tcp --dport 22 -j RETURN");
    for (port, from) in rules {
        let mut rule = String::new();
        if *from != "*" {
            let mask = if from.contains('/') { "" } else { "/32" };
            rule.push_str(&format!("-s {from}{mask} "));
        }
        if !port.starts_with('*') {
            rule.push_str(&format!("-p tcp -m tcp --dport {port} "));
        }
        add(&format!("{rule}-j RETURN"));
    }
    add("-m state --state RELATED,ESTABLISHED -j RETURN");
    add("-j DROP");
    lines
}

/// Whether a container answered before the rules that close its port were in force. The original loads
/// rules without regard to containers.
fn published_first(scene: &Scene, rules: Rules) -> bool {
    let address: SocketAddr = format!("{}:7010", scene.ip).parse().unwrap();
    let reached = || TcpStream::connect_timeout(&address, Duration::from_millis(50)).is_ok();
    if rules == Rules::Original {
        let run = "docker run -d --name late --network host -v /usr:/usr:ro echo:1 perl /usr/local/echo.pl tcp/7010";
        scene.on("web", run);
        scene.on("web", LATE_ANSWERS);
        let was_open = reached();
        rules.load(scene, &RULES);
        assert!(!reached());
        scene.on("web", "docker rm -f late");
        return was_open;
    }
    scene.live.write(
        "late.yml",
        "web:\n  provider: local\n  firewall: {7001: \"*\", 80: \"*\"}\n  containers:\n    late:\n      \
         image: echo:1\n      pull: never\n      networks: [host]\n      volumes: [\"/usr:/usr:ro\"]\n      \
         command: perl /usr/local/echo.pl tcp/7010\n",
    );
    let ended = AtomicBool::new(false);
    let was_open = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut was_open = false;
            while !ended.load(Ordering::Relaxed) {
                was_open |= reached();
            }
            was_open
        });
        let up = ["run", "--yes", "ensemble.up", "late", "adopt=web"];
        let up = scene.live.run(&up);
        ended.store(true, Ordering::Relaxed);
        let was_open = watching.join().unwrap();
        up.ok();
        was_open
    });
    scene.on("web", LATE_ANSWERS);
    was_open
}

const LATE_ANSWERS: &str =
    "until perl /usr/local/probe.pl late=tcp,127.0.0.1,7010 | grep -q late; do sleep 0.05; done";

/// Whether a rule that cannot be loaded leaves a closed port open.
fn wrong_rule(scene: &Scene, rules: Rules) -> bool {
    rules.load(scene, &[("80", "*"), ("7001", "10.0.0.1/99")]);
    if rules == Rules::Hitc {
        // Also if only the server finds out.
        let broken = "cd /etc/hitc/firewall; ! { for f in owner ssh rules nft v4 v6; do echo \"#= $f\"; \
             sed 's/ 7001 / wrong /' $f; done; echo '#= end'; } | /usr/local/lib/hitc/firewall load test";
        scene.on("web", broken);
    }
    let is_open = rules.answers(scene, "after-error=tcp,WEB,7002");
    rules.load(scene, &RULES);
    is_open
}

/// Whether rules that are not reached count as loaded.
fn not_called(scene: &Scene, rules: Rules) -> bool {
    scene.on("web", "iptables -I INPUT 1 -j ACCEPT");
    let is_open =
        rules.are_loaded(scene, &RULES) && rules.answers(scene, "not-called=tcp,WEB,7002");
    scene.on("web", "iptables -D INPUT 1");
    is_open
}

fn name_of(target: &str) -> &str {
    target.split('=').next().unwrap()
}

/// What the client tries at once.
fn targets() -> Vec<&'static str> {
    let mut targets = vec!["open=tcp,WEB,7001", "closed=tcp,WEB,7002"];
    for (_, _, check) in HOLES {
        match check {
            Open(more) => targets.extend(more),
            Closed(one) => targets.push(one),
            Try(_) => {}
        }
    }
    targets
}

/// Starts what only these holes need, at each boot: another sshd, and a service of UDP.
const BOOT: &str = "/usr/sbin/sshd -p 2222
    setsid perl /usr/local/echo.pl udp/7009 </dev/null >/dev/null 2>&1 &
    until ss -Hlun | grep -q :7009 && ss -Hltn | grep -q :2222; do sleep 0.05; done";

#[test]
fn the_fifteen_holes_of_the_original_are_closed() {
    let mut scene = Scene::new(Backend::Nft);
    let mut open = [Vec::new(), Vec::new()];
    for (rules, open) in [Rules::Original, Rules::Hitc].into_iter().zip(&mut open) {
        scene.on("web", BOOT);
        let mut found = BTreeSet::new();
        for (number, name, check) in HOLES {
            let is_there = match check {
                Open(targets) => targets.iter().any(|target| found.contains(name_of(target))),
                Closed(target) => !found.contains(name_of(target)),
                Try(check) => check(&scene, rules),
            };
            if is_there {
                open.push((number, name));
            }
            // All of the client's at once: a closed port takes its time.
            if number == 11 {
                found = scene.probe("client", "", &targets());
                // Both are firewalls: they close something, and not everything.
                assert!(found.contains("open") && !found.contains("closed"));
            }
        }
        // After the reboot, which took the original's rules.
        task(&scene.live, &["docker.setup"]).ok();
        scene.wait_for_containers();
        scene.route();
    }
    let all = HOLES.map(|(number, name, _)| (number, name));
    assert_eq!(open, [all.to_vec(), Vec::new()]);
}
