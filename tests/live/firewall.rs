//! The firewall, tried by clients that connect.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::support::{Run, live::Live};

const ECHO: &str = include_str!("../support/echo.pl");
const PROBE: &str = include_str!("../support/probe.pl");

/// The address of the server `web` over IPv6, and that of the client.
const WEB6: &str = "fd00::1";
const CLIENT6: &str = "fd00::2";

fn on(live: &Live, server: &str, line: &str) -> String {
    let words = ["exec", "-H", server, "-o", "raw", "--", line];
    live.run(&words).ok().stdout.trim().to_owned()
}

fn task(live: &Live, words: &[&str]) -> Run {
    live.run(&[&["run", "--yes", "-H", "web"], words].concat())
}

/// Where packets are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Nft,
    IptablesNft,
    IptablesLegacy,
}

/// Two servers with Docker and programs that answer: `web`, which gets a firewall, and `client`.
struct Scene {
    live: Live,
    ip: String,
    client: String,
    /// The address of the container `pub`.
    inner: String,
}

/// What answers on the server's ports, by name: without a firewall, all of them.
const SERVICES: [&str; 18] = [
    "ssh=tcp,WEB,22",
    "host-open=tcp,WEB,7001",
    "host-closed=tcp,WEB,7002",
    "hostnet-open=tcp,WEB,7003",
    "hostnet-closed=tcp,WEB,7004",
    "one-address=tcp,WEB,8001",
    "network=tcp,WEB,8002",
    "everyone=tcp,WEB,8003",
    "nobody=tcp,WEB,8004",
    "bound-open=tcp,WEB,8005",
    "bound-closed=tcp,WEB,8006",
    "udp-open=udp,WEB,5301",
    "udp-closed=udp,WEB,5302",
    "v6-host-open=tcp,fd00::1,7001",
    "v6-host-closed=tcp,fd00::1,7002",
    "v6-everyone=tcp,fd00::1,8003",
    "v6-nobody=tcp,fd00::1,8004",
    "source-port-53=tcp,WEB,7002,53",
];

/// The names of the services that the rules close.
const CLOSED: [&str; 9] = [
    "host-closed",
    "hostnet-closed",
    "nobody",
    "bound-closed",
    "udp-closed",
    "v6-host-closed",
    "v6-nobody",
    "source-port-53",
    "direct",
];

fn names(services: &[&str]) -> BTreeSet<String> {
    let name = |service: &&str| service.split('=').next().unwrap().to_owned();
    services.iter().map(name).collect()
}

impl Scene {
    fn new(backend: Backend) -> Self {
        let live = Live::new();
        live.run(&["run", "create", "name=web"]).ok();
        live.run(&["run", "create", "name=client"]).ok();
        let (ip, client) = (live.ip("web"), live.ip("client"));
        live.write("echo.pl", ECHO);
        live.write("probe.pl", PROBE);
        // In `/usr`, so that containers see them, too.
        for program in ["echo.pl", "probe.pl"] {
            live.run(&[
                "-q",
                "--all",
                "upload",
                program,
                &format!("/usr/local/{program}"),
            ])
            .ok();
        }
        match backend {
            Backend::Nft => {}
            Backend::IptablesNft => drop(on(&live, "web", "rm /usr/sbin/nft")),
            Backend::IptablesLegacy => {
                let set = "for p in iptables ip6tables; do update-alternatives --set $p /usr/sbin/$p-legacy; done";
                on(&live, "web", &format!("rm /usr/sbin/nft; {set}"));
            }
        }
        live.run(&["run", "--all", "docker.setup"]).ok();
        let mut scene = Scene {
            live,
            ip,
            client,
            inner: String::new(),
        };
        scene.boot("web", WEB6);
        scene.boot("client", CLIENT6);
        // An image whose programs are those of the server.
        let image = "mkdir -p /i/usr; for l in bin lib lib64; do ln -s usr/$l /i/$l; done; \
                     tar -C /i -c . | docker import - echo:1";
        scene.on("web", image);
        scene.on("client", image);
        let run = "docker run -d --restart always -v /usr:/usr:ro";
        let echo = "echo:1 perl /usr/local/echo.pl";
        scene.on(
            "web",
            &format!(
                "{run} --name pub -p 8001:80 -p 8002:80 -p 8003:80 -p 8004:80 -p 5301:53/udp \
                 -p 5302:53/udp {echo} tcp/80 udp/53
                 {run} --name hostnet --network host {echo} tcp/7003 tcp/7004
                 {run} --name bound {echo} tcp/80
                 {run} --name peer {echo} tcp/80
                 docker network create two && {run} --name other --network two {echo} tcp/80"
            ),
        );
        // With other addresses than the server's containers, to one of which the client has a route.
        let own = "docker network create --subnet 10.77.0.0/24 own";
        let inner = format!("{own} && {run} --network own --name inner {echo} tcp/80");
        scene.on("client", &inner);
        for port in ["80:8005", "80:8006"] {
            task(&scene.live, &["docker.bind", "bound", port, "adopt=true"]).ok();
        }
        scene.route();
        scene
    }

    fn on(&self, server: &str, line: &str) -> String {
        on(&self.live, server, line)
    }

    /// Starts what a server has to start at each boot: IPv6, which local servers do not have by
    /// themselves, and services of the host.
    fn boot(&self, server: &str, address: &str) {
        self.on(
            server,
            &format!(
                "sysctl -qw net.ipv6.conf.all.disable_ipv6=0
                 ip -6 addr add {address}/64 dev eth0 nodad
                 setsid perl /usr/local/echo.pl tcp/7001 tcp/7002 </dev/null >/dev/null 2>&1 &
                 until [ $(ss -Hltn | grep -c ':700[12] ') = 2 ]; do sleep 0.05; done"
            ),
        );
    }

    /// Gives the client a direct route to the container `pub`, whose address changes.
    fn route(&mut self) {
        let address = "docker inspect -f '{{.NetworkSettings.IPAddress}}' pub";
        self.inner = self.on("web", address);
        let route = format!("ip route replace {} via {}", self.inner, self.ip);
        self.on("client", &route);
    }

    /// The names of those that answer, tried by a command on a server.
    fn probe(&self, server: &str, prefix: &str, services: &[&str]) -> BTreeSet<String> {
        let words: Vec<String> = services
            .iter()
            .map(|service| {
                service
                    .replace("WEB", &self.ip)
                    .replace("INNER", &self.inner)
            })
            .collect();
        let line = format!("{prefix}perl /usr/local/probe.pl {}", words.join(" "));
        self.on(server, &line).lines().map(str::to_owned).collect()
    }

    /// What the client reaches, with a direct route to a container.
    fn outside(&self) -> BTreeSet<String> {
        let direct = "direct=tcp,INNER,80";
        self.probe("client", "", &[&SERVICES[..], &[direct]].concat())
    }

    /// Whether this machine, which has another address than the client, reaches a port.
    fn reaches(&self, port: u16) -> bool {
        let address: SocketAddr = format!("{}:{port}", self.ip).parse().unwrap();
        TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
    }

    /// Checks from everywhere that the rules hold.
    #[track_caller]
    fn rules_hold(&self, when: &str) {
        let mut expected = names(&SERVICES);
        expected.retain(|name| !CLOSED.contains(&name.as_str()));
        assert_eq!(self.outside(), expected, "from the client {when}");
        let from_container = self.probe("client", "docker exec inner ", &SERVICES);
        expected.retain(|name| !name.starts_with("v6"));
        assert_eq!(
            from_container, expected,
            "from a container of the client {when}"
        );
        let ours: Vec<u16> = [8001, 8002, 8003, 8004, 8005]
            .into_iter()
            .filter(|port| self.reaches(*port))
            .collect();
        assert_eq!(ours, [8002, 8003], "from another address {when}");
        self.inside_is_open(when);
    }

    /// Checks that packets of the server and of its containers are not filtered.
    #[track_caller]
    fn inside_is_open(&self, when: &str) {
        let services = &SERVICES[..SERVICES.len() - 1];
        assert_eq!(
            self.probe("web", "", services),
            names(services),
            "from the server {when}"
        );
        let internet = format!("internet=tcp,{},7001", self.client);
        let same = "same-bridge=tcp,INNER,80";
        for (container, bridge) in [("peer", true), ("other", false)] {
            // Without UDP: docker-proxy answers a container from another address.
            let mut targets: Vec<&str> = SERVICES[..11].to_vec();
            targets.push(&internet);
            let mut expected = names(&targets);
            targets.push(same);
            if bridge {
                expected.extend(names(&[same]));
            }
            let found = self.probe("web", &format!("docker exec {container} "), &targets);
            assert_eq!(found, expected, "from container {container} {when}");
        }
    }

    fn apply(&self, rules: &[&str]) -> Run {
        let own = format!("8001={}", self.client);
        let bound = format!("8005={}", self.client);
        let all = [
            "iptables.apply",
            "7001=*",
            "7003=*",
            "80=*",
            "8002=172.16.0.1/12",
            "8003=*",
            "5301/udp=*",
            &own,
            &bound,
        ];
        task(&self.live, &[&all, rules].concat())
    }

    fn restart_engine(&self) {
        self.on(
            "web",
            "kill $(cat /var/run/docker.pid); while pgrep -x dockerd; do sleep 0.1; done",
        );
        task(&self.live, &["docker.setup"]).ok();
        self.wait_for_containers();
    }

    /// Waits until the containers run and the service publishes bound ports again.
    fn wait_for_containers(&self) {
        self.on(
            "web",
            "for n in $(seq 100); do docker exec pub true 2>/dev/null && docker exec bound true \
             && docker exec hostnet true && perl /usr/local/probe.pl b=tcp,127.0.0.1,8006 | grep -q b && exit; \
             sleep 0.2; done; exit 1",
        );
    }
}

/// The truth table: who reaches what, in each state of the server.
fn truth_table(backend: Backend) {
    let mut scene = Scene::new(backend);
    let before = [&SERVICES[..], &["direct="]].concat();
    assert_eq!(scene.outside(), names(&before), "before");
    scene.inside_is_open("before");

    scene.apply(&[]).ok();
    scene.rules_hold("with the firewall");
    let shown = task(&scene.live, &["iptables.show"]).ok();
    for row in [
        ["22/tcp", "*", "SSH"],
        ["8003/tcp", "*", "container pub"],
        ["8002/tcp", "172.16.0.0/12", "container pub"],
        ["7001/tcp", "*", "perl"],
    ] {
        assert!(
            shown
                .rows()
                .iter()
                .any(|found| found[..2] == row[..2] && found[2..].join(" ") == row[2]),
            "{shown}"
        );
    }
    task(&scene.live, &["iptables.check"]).ok();

    // Again: nothing changes. Rules that would close SSH: nothing changes.
    let again = scene.apply(&[]).ok();
    assert!(again.stderr.contains("web: firewall: no change"), "{again}");
    let refused = task(&scene.live, &["iptables.apply", "22=192.0.2.1"]);
    let expected =
        "error: host `web`: the firewall would close SSH: no rule admits 172.18.0.1 to port 22";
    assert!(
        refused.status == 1 && refused.stderr.contains(expected),
        "{refused}"
    );
    scene.rules_hold("after a rule that was refused");

    // A rule that is removed ends the connections that it admitted.
    let held = format!(
        "perl -MSocket -e '$|=1; $SIG{{ALRM}}=sub{{print qq(cut\\n);exit}}; socket(S,AF_INET,SOCK_STREAM,0); \
         connect(S,pack_sockaddr_in(8003,inet_aton(q({})))); print qq(connected\\n); \
         while(1){{alarm 3; syswrite(S,q(x)); sysread(S,$d,1) or last; select(undef,undef,undef,0.05)}}'",
        scene.ip
    );
    let client = scene
        .live
        .spawn(&["exec", "-H", "client", "-o", "raw", "--", &held]);
    std::thread::sleep(Duration::from_secs(2));
    task(&scene.live, &["iptables.close", "8003"]).ok();
    let ended = client.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(text, "connected\ncut\n");
    assert!(!scene.outside().contains("everyone"));
    assert!(!scene.outside().contains("v6-everyone"));
    task(&scene.live, &["iptables.open", "8003"]).ok();
    scene.rules_hold("after a rule was removed and added");

    scene.on("web", "docker restart -t 0 pub bound");
    scene.wait_for_containers();
    scene.route();
    scene.rules_hold("after a restart of containers");
    scene.restart_engine();
    scene.route();
    scene.rules_hold("after a restart of the engine");

    // Another program empties the chains of iptables, Docker's, too.
    scene.on("web", "iptables -F; ip6tables -F");
    if backend == Backend::Nft {
        let open = scene.outside();
        let wrong: Vec<&str> = CLOSED
            .into_iter()
            .filter(|name| open.contains(*name))
            .collect();
        assert_eq!(wrong, [""; 0]);
    } else {
        let shown = task(&scene.live, &["iptables.show"]);
        let expected = "the firewall is not as hitc loaded it";
        assert!(
            shown.status == 1 && shown.stderr.contains(expected),
            "{shown}"
        );
        scene.apply(&[]).ok();
    }
    scene.restart_engine();
    scene.route();
    scene.rules_hold("after the chains were emptied");

    task(&scene.live, &["reboot"]).ok();
    scene.boot("web", WEB6);
    task(&scene.live, &["docker.setup"]).ok();
    scene.wait_for_containers();
    scene.route();
    scene.rules_hold("after a reboot");

    task(&scene.live, &["iptables.clear"]).ok();
    assert_eq!(scene.outside(), names(&before), "after it was removed");
    let left = "ls -d /etc/hitc /run/hitc /usr/local/lib/hitc/firewall /etc/init.d/hitc-firewall \
                /etc/rc?.d/*hitc-firewall 2>/dev/null; iptables-save | grep HITC-[IF]; \
                nft list tables 2>/dev/null | grep hitc; true";
    assert_eq!(scene.on("web", left), "");
}

#[test]
fn truth_table_with_nft() {
    truth_table(Backend::Nft);
}

#[test]
fn truth_table_with_iptables_nft() {
    truth_table(Backend::IptablesNft);
}

#[test]
fn truth_table_with_iptables_legacy() {
    truth_table(Backend::IptablesLegacy);
}
