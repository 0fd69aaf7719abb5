//! Whether ports stay as the rules say while something changes: rules, containers, or the engine.

use std::{
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use super::firewall::{Backend, ECHO, on, task};
use crate::support::live::Live;

/// What two kinds of watchers found on the ports of a server.
#[derive(Debug, Default)]
struct Watched {
    /// Connections to ports that should be open, 200 a second for each.
    knocks: AtomicUsize,
    /// Those that failed, and their ports.
    failed: [AtomicUsize; 4],
    /// Connections to ports that should be closed.
    tries: AtomicUsize,
}

/// Watches ports of a server while something happens: those that should be open and may never be seen closed,
/// up to four, and those that should be closed and may never be seen open.
fn watch(
    ip: &str,
    open: &[u16],
    closed: &[u16],
    happens: impl FnOnce(),
) -> (usize, usize, [usize; 4]) {
    let address = |port: u16| -> SocketAddr { format!("{ip}:{port}").parse().unwrap() };
    let watched = Watched::default();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (watched, is_over) = (&watched, &is_over);
        for (at, port) in open.iter().enumerate() {
            let address = address(*port);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    if TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err() {
                        watched.failed[at].fetch_add(1, Ordering::Relaxed);
                    }
                    watched.knocks.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        // More than one for each: a connection that is not answered waits, and sees nothing of what opens then.
        let trying: Vec<_> = closed
            .iter()
            .flat_map(|port| [*port; 2])
            .map(|port| {
                let address = address(port);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let answer =
                            TcpStream::connect_timeout(&address, Duration::from_millis(10));
                        assert!(
                            answer.is_err(),
                            "port {port}, which should be closed, was open"
                        );
                        watched.tries.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(happens));
        is_over.store(true, Ordering::Relaxed);
        for one in trying {
            one.join().unwrap();
        }
        ended.unwrap();
    });
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    (
        count(&watched.knocks),
        count(&watched.tries),
        watched.failed.each_ref().map(count),
    )
}

/// Programs that answer on two ports of the host.
const SERVE: &str = "setsid perl /usr/local/echo.pl tcp/7001 tcp/7002 </dev/null >/dev/null 2>&1 &
    until [ $(ss -Hltn | grep -c ':700[12] ') = 2 ]; do sleep 0.05; done";

fn server() -> Live {
    let live = Live::new().file("echo.pl", ECHO);
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["-q", "-H", "web", "upload", "echo.pl", "/usr/local/echo.pl"])
        .ok();
    on(&live, "web", SERVE);
    live
}

/// While rules change, an open port answers each of hundreds of connections, and a closed one none.
#[test]
fn changes_of_rules_are_atomic() {
    let live = server().file(
        "hitcfile.rhai",
        "/// Changes rules.\nfn change(host) {\n  for n in 0..25 {\n    iptables::open(host, \"9000\", \"*\", #{});\n    \
         iptables::close(host, \"9000\", \"*\", #{});\n  }\n}\n",
    );
    task(&live, &["iptables.apply", "7001=*"]).ok();
    let change = || drop(task(&live, &["change"]).ok());
    let (knocks, tries, failed) = watch(&live.ip("web"), &[7001], &[7002], change);
    assert_eq!(failed, [0; 4], "an open port was closed");
    assert!(knocks > 200 && tries > 50, "{knocks} {tries}");

    // A firewall that cannot be read is an error, whose help removes it.
    on(
        &live,
        "web",
        "rm /etc/hitc/firewall/ssh; echo wrong >/etc/hitc/firewall/rules",
    );
    let damaged = task(&live, &["iptables.show"]);
    let help = "hitc run -H web iptables.clear adopt=true";
    assert!(
        damaged.status == 1 && damaged.stderr.contains(help),
        "{damaged}"
    );
    task(&live, &["iptables.clear", "adopt=true"]).ok();
    assert_eq!(on(&live, "web", "nft list tables | grep hitc; true"), "");
}

/// What the firewall of hitc does with new connections to ports that it admits: they arrive, and are past its
/// chains. A busy program, or Docker, may lose a connection after that.
const COUNT: &str = "/nft -f - <<'END'
table inet watch {
    counter arrived { }
    counter passed { }
    chain arrive {
        type filter hook prerouting priority raw;
        tcp dport { 7001, 8003, 8005 } tcp flags & (syn | ack) == syn counter name arrived
    }
    chain input {
        type filter hook input priority filter + 1;
        tcp dport { 7001, 8003, 8005 } tcp flags & (syn | ack) == syn counter name passed
    }
    chain forward {
        type filter hook forward priority filter - 4;
        ct original proto-dst { 8003, 8005 } tcp flags & (syn | ack) == syn counter name passed
    }
}
END
";

/// Containers that come and go, bindings, and the engine leave the rules in force at each moment.
fn containers_open_and_close_nothing(backend: Backend) {
    let live = server();
    on(&live, "web", "cp /usr/sbin/nft /nft");
    backend.leave_only(&live);
    task(&live, &["docker.setup"]).ok();
    let image = "mkdir -p /i/usr; for l in bin lib lib64; do ln -s usr/$l /i/$l; done; \
                 tar -C /i -c . | docker import - echo:1";
    on(&live, "web", image);
    task(&live, &["iptables.apply", "7001=*", "8003=*", "8005=*"]).ok();
    let run = |name: &str, ports: &str| {
        let (name, ports) = (format!("name={name}"), format!("ports={ports}"));
        let words = [
            "docker.run",
            "echo:1",
            &name,
            &ports,
            "volumes=/usr:/usr:ro",
            "command=perl /usr/local/echo.pl tcp/80",
            "restart=always",
        ];
        task(&live, &words).ok();
    };
    run("page", "80:8003,80:8004");
    task(&live, &["docker.bind", "page", "80:8005"]).ok();
    on(&live, "web", COUNT);
    let ip = live.ip("web");
    let closed = [7002, 8004, 8006, 8007];
    let counts = || {
        let list = "/nft list counters table inet watch | grep -o 'packets [0-9]*'";
        let counts = on(&live, "web", list);
        let counts: Vec<String> = counts.lines().map(str::to_owned).collect();
        counts
    };
    let (knocks, tries, failed) = watch(&ip, &[7001, 8003, 8005], &closed, || {
        for _ in 0..2 {
            run("other", "80:8007");
            task(&live, &["docker.bind", "page", "80:8006"]).ok();
            on(&live, "web", "docker network create two >/dev/null");
            task(&live, &["docker.unbind", "page", "80:8006"]).ok();
            on(
                &live,
                "web",
                "docker network rm two >/dev/null; docker restart -t 0 other >/dev/null",
            );
            task(&live, &["docker.kill", "other"]).ok();
        }
        run("other", "80:8007");
        task(&live, &["docker.bind", "page", "80:8006"]).ok();
    });
    let counted = counts();
    assert_eq!(counted[0], counted[1], "the rules dropped what they admit");
    let answered = knocks - failed.iter().sum::<usize>();
    assert!(answered > 200 && tries > 50, "{answered} {tries}");

    // The containers run on. Docker makes its own chains anew, in which a connection may be lost.
    let (knocks, tries, _) = watch(&ip, &[7001, 8003, 8005], &closed, || {
        let restart =
            "kill $(cat /var/run/docker.pid); while pgrep -x dockerd; do sleep 0.05; done";
        on(&live, "web", restart);
        task(&live, &["docker.setup"]).ok();
    });
    assert!(knocks > 200 && tries > 50, "{knocks} {tries}");
    let counted = counts();
    assert_eq!(counted[0], counted[1], "the rules dropped what they admit");
    assert!(TcpStream::connect((ip.as_str(), 8003)).is_ok());
    assert!(TcpStream::connect((ip.as_str(), 8005)).is_ok());
}

#[test]
fn containers_open_and_close_nothing_with_nft() {
    containers_open_and_close_nothing(Backend::Nft);
}

#[test]
fn containers_open_and_close_nothing_with_iptables() {
    containers_open_and_close_nothing(Backend::IptablesNft);
}
