//! Ports of running containers, published and withdrawn.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{Run, live::Live};

/// Responds with the address of the client.
const INDEX: &str = r"#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
address=${REMOTE_ADDR#\[::ffff:}
echo ${address%\]}
";

fn on(live: &Live, server: &str, line: &str) -> String {
    let words = ["exec", "-H", server, "-o", "raw", "--", line];
    live.run(&words).ok().stdout.trim().to_owned()
}

fn task(live: &Live, words: &[&str]) -> Run {
    live.run(&[&["run", "--yes", "-H", "web"], words].concat())
}

/// What the container answers on port 8080 of the server to a client on another server.
fn answer(live: &Live, address: &str, from: &str) -> String {
    let line = format!("busybox wget -qO- http://{address}:8080/cgi-bin/index.cgi");
    on(live, from, &line)
}

/// Waits until a port of the server is closed.
fn wait_until_closed(ip: &str) {
    let started = Instant::now();
    let address = format!("{ip}:8080").parse().unwrap();
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_bound_port_survives_restarts() {
    let live = Live::new().web_server("app");
    live.write("app/index.cgi", INDEX);
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"app\")) }\n",
    );
    let image = live.run(&["run", "build"]).ok().stdout.trim().to_owned();
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["run", "create", "name=client"]).ok();
    task(&live, &["docker.push", &image]).ok();
    task(&live, &["docker.run", &image, "name=app", "restart=always"]).ok();
    let (ip, client) = (live.ip("web"), live.ip("client"));
    // Local servers have no IPv6 of their own.
    for (server, address) in [("web", "fd00::1"), ("client", "fd00::2")] {
        let enable = "sysctl -qw net.ipv6.conf.all.disable_ipv6=0";
        on(
            &live,
            server,
            &format!("{enable} && ip -6 addr add {address}/64 dev eth0 nodad"),
        );
    }

    let bound = task(&live, &["docker.bind", "app", "80:8080"]).ok();
    assert!(bound.stderr.contains("web: app is bound"), "{bound}");
    task(&live, &["docker.bind", "app", "80:8080"]).ok();
    let is_reachable = || {
        // The container sees the client's address, as with a port that Docker publishes.
        assert_eq!(answer(&live, &ip, "client"), client);
        for (address, from) in [
            ("[fd00::1]", "client"),
            ("[::1]", "web"),
            ("127.0.0.1", "web"),
            (ip.as_str(), "web"),
        ] {
            let seen = answer(&live, address, from);
            assert!(seen.starts_with("172."), "{seen}");
        }
    };
    is_reachable();
    let listed = live.run(&["docker.ps"]).ok();
    assert!(listed.rows()[0][3].contains("80:8080"), "{listed}");

    // Ports in use are refused before anything changes.
    task(
        &live,
        &["docker.run", &image, "name=other", "ports=80:9000"],
    )
    .ok();
    for (port, cause) in [
        (
            "80:9000",
            "port 9000 is already allocated to container `other`",
        ),
        ("80:22", "port 22 is in use by a program of the server"),
    ] {
        let refused = task(&live, &["docker.bind", "app", port]);
        assert_eq!(refused.status, 1);
        let expected = format!("error: host `web`: container `app`: {cause}");
        assert!(refused.stderr.contains(&expected), "{refused}");
    }
    let taken = task(&live, &["docker.bind", "other", "80:8080"]);
    let expected = "port 8080 is already allocated to container `app`";
    assert!(taken.stderr.contains(expected), "{taken}");
    let taken = task(
        &live,
        &["docker.run", &image, "name=third", "ports=80:8080"],
    );
    assert_eq!(taken.status, 1, "{taken}");
    is_reachable();

    // The container gets another address.
    let address = "docker inspect -f '{{.NetworkSettings.IPAddress}}' app";
    let before = on(&live, "web", address);
    on(
        &live,
        "web",
        &format!("docker stop -t 0 app && docker run -d --name in-between {image}"),
    );
    wait_until_closed(&ip);
    on(&live, "web", "docker start app");
    assert_ne!(on(&live, "web", address), before);
    wait_until_open(&ip);
    is_reachable();

    // The engine is killed, then the server reboots. (The engine forgets that a container with
    // `restart=unless-stopped` was started again if it is killed.)
    on(&live, "web", "kill -KILL $(cat /var/run/docker.pid)");
    task(&live, &["docker.setup"]).ok();
    wait_until_open(&ip);
    assert_eq!(answer(&live, &ip, "client"), client);
    task(&live, &["reboot"]).ok();
    task(&live, &["docker.setup"]).ok();
    wait_until_open(&ip);
    assert_eq!(answer(&live, &ip, "client"), client);

    let unbound = task(&live, &["docker.unbind", "app", "80:8081"]);
    let expected = "error: host `web`: container `app`: port 8081: it is not bound";
    assert!(unbound.stderr.contains(expected), "{unbound}");
    task(&live, &["docker.unbind", "app", "80:8080"]).ok();
    wait_until_closed(&ip);
    // Without a trace, as soon as the service has ended.
    let left = "for n in $(seq 50); do pgrep -f '[h]itc/bind' >/dev/null || break; sleep 0.1; done; ls /var/lib/hitc /usr/local/lib/hitc /run/hitc-bind /etc/init.d/hitc-bind 2>/dev/null; \
                pgrep -f '[h]itc/bind'; iptables-save | grep HITC; true";
    assert_eq!(on(&live, "web", left), "");

    // It goes with its container.
    task(&live, &["docker.bind", "app", "80:8080/tcp"]).ok();
    assert_eq!(answer(&live, &ip, "client"), client);
    task(&live, &["docker.kill", "app"]).ok();
    wait_until_closed(&ip);
}

/// Waits until the bound port is answered again.
fn wait_until_open(ip: &str) {
    let started = Instant::now();
    let address = format!("{ip}:8080").parse().unwrap();
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
}
