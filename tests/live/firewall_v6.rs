//! The firewall and networks of containers with IPv6: published ports are translated as those of IPv4 are, and
//! docker-proxy does not take their packets.

use std::thread;

use super::firewall::{Backend, Scene, task, v6};

/// The ports that the container publishes.
const PORTS: [u16; 5] = [8101, 8102, 8103, 8104, 8105];

/// Prints the address of each client to it. `/usr` is that of the server.
const NAME: &str = "perl -MIO::Socket::IP -e '$s = IO::Socket::IP->new(LocalHost => qq(::), LocalPort => 80, \
    Listen => 9, ReuseAddr => 1) or die; while ($c = $s->accept) { print $c $c->peerhost; close $c }'";

impl Scene {
    /// The address from which a container of the server is reached on a port of an address over IPv6; empty if it is
    /// not reached within five seconds: on a busy machine, two were too few.
    fn seen_from(&self, to: &str, port: u16) -> String {
        let line = format!(
            "perl -MIO::Socket::IP -e '$s = IO::Socket::IP->new(PeerHost => qq({to}), PeerPort => {port}, \
             Timeout => 5) or exit; print <$s>'"
        );
        self.on("client", &line)
    }
}

fn rules_hold_for_networks_with_v6(backend: Backend) {
    let scene = &Scene::new(backend);
    // The engine translates IPv6 since 20.10 if it is told to, and by itself since 27.
    let set = "echo '{\"ip6tables\": true, \"experimental\": true, \"live-restore\": true}' >/etc/docker/daemon.json";
    scene.on("web", set);
    scene.restart_engine();
    let (web, client) = (v6(&scene.ip), v6(&scene.client));
    let inner = "fd99:1::80";
    scene.on(
        "web",
        &format!(
            "sysctl -qw net.ipv6.conf.all.forwarding=1
             docker network create --ipv6 --subnet fd99:1::/64 six >/dev/null
             docker run -d --name six --network six --ip6 {inner} -v /usr:/usr:ro -p 8101:80 -p 8102:80 -p 8103:80 \
                 -p 8104:80 -p 8105:80 echo:1 {NAME} >/dev/null"
        ),
    );
    scene.on("client", &format!("ip -6 route add {inner} via {web}"));
    // Its program needs a moment.
    let wait = || {
        let answers = "docker exec six perl -MIO::Socket::IP -e \
                       'IO::Socket::IP->new(PeerHost => qq(::1), PeerPort => 80) or exit 1'";
        scene.on("web", &format!("until {answers}; do sleep 0.05; done"));
    };
    wait();
    // All at once: a closed port takes its time.
    let seen = |what: &str| {
        thread::scope(|threads| {
            let one = |port| threads.spawn(move || (port, scene.seen_from(what, port)));
            PORTS.map(one).map(|one| one.join().unwrap())
        })
    };
    let own = client.parse::<std::net::Ipv6Addr>().unwrap().to_string();
    let open = |ports: &[u16]| {
        PORTS.map(|port| {
            let is_open = ports.contains(&port);
            (port, if is_open { own.clone() } else { String::new() })
        })
    };
    let to_client = format!("client=tcp,{client},7001");
    let from_container = || scene.probe("web", "docker exec six ", &[&to_client]).len();
    // The container sees the client, so no proxy is between them.
    assert_eq!(seen(&web), open(&PORTS), "before");
    assert_eq!(scene.seen_from(inner, 80), own, "before");
    assert_eq!(from_container(), 1, "before");

    let one = format!("8101={client}");
    let rules = [
        "8102=fd77::/16",
        "8103=*",
        "8105=2001:db8::/32,172.16.0.0/12",
        "80=*",
    ];
    task(
        &scene.live,
        &[&["iptables.apply", &one], &rules[..]].concat(),
    )
    .ok();
    let hold = |when: &str| {
        assert_eq!(seen(&web), open(&[8101, 8102, 8103]), "{when}");
        assert_eq!(scene.seen_from(inner, 80), "", "{when}");
        assert_eq!(from_container(), 1, "{when}");
    };
    hold("with the firewall");
    scene.on("web", "docker restart -t 0 six");
    wait();
    hold("after a restart of the container");
    task(&scene.live, &["iptables.close", "8103"]).ok();
    assert_eq!(seen(&web), open(&[8101, 8102]), "after a rule was removed");
}

#[test]
fn rules_hold_for_networks_with_v6_with_nft() {
    rules_hold_for_networks_with_v6(Backend::Nft);
}

#[test]
fn rules_hold_for_networks_with_v6_with_iptables() {
    rules_hold_for_networks_with_v6(Backend::IptablesNft);
}
