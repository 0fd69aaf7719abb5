//! The firewall, tried by clients that connect.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Lines},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdout},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Run,
    live::{Live, docker},
};

pub(super) const ECHO: &str = include_str!("../support/echo.pl");
const PROBE: &str = include_str!("../support/probe.pl");

/// The address of a server over IPv6. All servers of all tests are in one network.
pub(super) fn v6(address: &str) -> String {
    let octets: Vec<&str> = address.split('.').collect();
    format!("fd77::{}:{}", octets[2], octets[3])
}

pub(super) fn on(live: &Live, server: &str, line: &str) -> String {
    let words = ["exec", "-H", server, "-o", "raw", "--", line];
    live.run(&words).ok().stdout.trim().to_owned()
}

pub(super) fn task(live: &Live, words: &[&str]) -> Run {
    live.run(&[&["run", "--yes", "-H", "web"], words].concat())
}

/// Where packets are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Nft,
    IptablesNft,
    IptablesLegacy,
}

impl Backend {
    /// Removes the others from the server `web`.
    pub(super) fn leave_only(self, live: &Live) {
        match self {
            Backend::Nft => {}
            Backend::IptablesNft => drop(on(live, "web", "rm /usr/sbin/nft")),
            Backend::IptablesLegacy => {
                let set = "for p in iptables ip6tables; do update-alternatives --set $p /usr/sbin/$p-legacy; done";
                on(live, "web", &format!("rm /usr/sbin/nft; {set}"));
            }
        }
    }
}

/// Two servers with Docker and programs that answer: `web`, which gets a firewall, and `client`.
pub(super) struct Scene {
    pub(super) live: Live,
    pub(super) ip: String,
    pub(super) client: String,
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
    "v6-host-open=tcp,WEB6,7001",
    "v6-host-closed=tcp,WEB6,7002",
    "v6-everyone=tcp,WEB6,8003",
    "v6-nobody=tcp,WEB6,8004",
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
    pub(super) fn new(backend: Backend) -> Self {
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
        backend.leave_only(&live);
        live.run(&["run", "--all", "docker.setup"]).ok();
        let mut scene = Scene {
            live,
            ip,
            client,
            inner: String::new(),
        };
        // At the next boot before the engine, which publishes ports over IPv6 only if the server has it.
        scene.on(
            "web",
            "printf '#!/bin/sh\nsysctl -qw net.ipv6.conf.all.disable_ipv6=0\n' >/etc/rcS.d/S00hitc-v6
             chmod +x /etc/rcS.d/S00hitc-v6",
        );
        scene.boot("web");
        scene.boot("client");
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

    pub(super) fn on(&self, server: &str, line: &str) -> String {
        on(&self.live, server, line)
    }

    /// Starts what a server has to start at each boot: IPv6, which local servers do not have by
    /// themselves, and services of the host.
    pub(super) fn boot(&self, server: &str) {
        let address = v6(if server == "web" {
            &self.ip
        } else {
            &self.client
        });
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
    pub(super) fn route(&mut self) {
        let address = "docker inspect -f '{{.NetworkSettings.IPAddress}}' pub";
        self.inner = self.on("web", address);
        let route = format!("ip route replace {} via {}", self.inner, self.ip);
        self.on("client", &route);
    }

    /// The names of those that answer, tried by a command on a server.
    pub(super) fn probe(&self, server: &str, prefix: &str, services: &[&str]) -> BTreeSet<String> {
        let words: Vec<String> = services
            .iter()
            .map(|service| {
                service
                    .replace("WEB6", &v6(&self.ip))
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
        // All at once: a closed port takes its time.
        let (outside, from_container, ours) = thread::scope(|scope| {
            let outside = scope.spawn(|| self.outside());
            let inner = scope.spawn(|| self.probe("client", "docker exec inner ", &SERVICES));
            let ports = [8001, 8002, 8003, 8004, 8005];
            let ours = ports.map(|port| scope.spawn(move || self.reaches(port).then_some(port)));
            let ours = ours.map(|port| port.join().unwrap());
            (outside.join().unwrap(), inner.join().unwrap(), ours)
        });
        assert_eq!(outside, expected, "from the client {when}");
        expected.retain(|name| !name.starts_with("v6"));
        assert_eq!(
            from_container, expected,
            "from a container of the client {when}"
        );
        let ours: Vec<u16> = ours.into_iter().flatten().collect();
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

    /// Connects the client to a port, and sends bytes, each after the answer to the last one.
    pub(super) fn hold(&self, port: u16) -> Held {
        let line = format!(
            "perl -MSocket -e '$|=1; $SIG{{ALRM}}=sub{{print qq(cut\\n);exit}}; socket(S,AF_INET,SOCK_STREAM,0); \
             connect(S,pack_sockaddr_in({port},inet_aton(q({})))); syswrite(S,q(x)); sysread(S,$d,1); print qq(connected\\n); \
             while(1){{alarm 3; syswrite(S,q(x)); sysread(S,$d,1) or last; print qq(answered\\n); select(undef,undef,undef,0.05)}}'",
            self.ip
        );
        let words = ["exec", "-H", "client", "-o", "raw", "--", &line];
        let mut child = self.live.spawn(&words);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "connected");
        Held { child, lines }
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

    pub(super) fn restart_engine(&self) {
        self.on(
            "web",
            "kill $(cat /var/run/docker.pid); while pgrep -x dockerd; do sleep 0.1; done",
        );
        task(&self.live, &["docker.setup"]).ok();
        self.wait_for_containers();
    }

    /// Waits until the containers run and the service publishes bound ports again.
    pub(super) fn wait_for_containers(&self) {
        self.on(
            "web",
            "for n in $(seq 100); do docker exec pub true 2>/dev/null && docker exec bound true \
             && docker exec hostnet true && perl /usr/local/probe.pl b=tcp,127.0.0.1,8006 | grep -q b && exit; \
             sleep 0.2; done; exit 1",
        );
    }
}

/// A connection of the client that stays.
pub(super) struct Held {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Held {
    /// Whether no answer comes any more, which the client says after three seconds.
    pub(super) fn ends(mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(1);
        let is_cut = loop {
            let line = self.lines.next().unwrap().unwrap();
            if line == "cut" || Instant::now() > end {
                break line == "cut";
            }
        };
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        is_cut
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
    let held = scene.hold(8003);
    task(&scene.live, &["iptables.close", "8003"]).ok();
    assert!(held.ends());
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
    }
    scene.restart_engine();
    if backend != Backend::Nft {
        scene.apply(&[]).ok();
    }
    scene.route();
    scene.rules_hold("after the chains were emptied");

    task(&scene.live, &["reboot"]).ok();
    scene.boot("web");
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

/// The shorter example of the talk that hitc is built from. Here and below, word for word but for the
/// provider, the size and the images, which the test builds.
const TALK: &str = "\
wordpress:
  provider: local
  containers:
    wordpress:
      build: wordpress
      ports:
        - 80
  firewall:
    80: \"*\"
";

/// The longer one, `wordpress.yml`.
const LONGER: &str = "\
wordpress:
  provider: local
  containers:
    wordpress:
      build: wordpress
      ports:
        - 80
    serverstats:
      build: wordpress
      environment:
        HOST_NAME: ${host.name}
        GRAPHITE_HOST: ${graphite.ip}
        # hack to make sure the graphite.containers.graphite container
        # is up before we start streaming data to it
        _DEPENDS: ${graphite.containers.graphite.ip}
  firewall:
    template: default_firewall

graphite:
  provider: local
  containers:
    graphite:
      build: graphite
      ports:
        - 80
        - 2003
  firewall:
    template: default_firewall

templates:
  default_firewall:
    22: \"*\"
    80: \"*\"
    \"*/*\": $internal_ips
";

/// `examples/wordpress.yml` of the original, which has no firewall yet.
const ORIGINAL: &str = "\
wordpress:
  provider: local
  image: debian-13
  size: 1x512m
  containers:
    wordpress:
      build: wordpress
      ports:
        - 80
      volumes:
        /docker_volumes/wordpress/log: /var/log
";

/// The images of the examples: each answers with its name, that of graphite on another port, too.
fn with_images(live: Live) -> Live {
    let live = live.web_server("wordpress").web_server("graphite");
    for name in ["wordpress", "graphite"] {
        live.write(
            &format!("{name}/index.cgi"),
            &format!("#!/bin/sh\nprintf '\\r\\n{name}\\n'\n"),
        );
    }
    let path = live.root().join("graphite/Dockerfile");
    let file = std::fs::read_to_string(path).unwrap();
    let serve = "CMD [\"sh\", \"-c\", \"httpd -p 2003 -h /www; exec httpd -f -p 80 -h /www\"]\n";
    let file = file.lines().filter(|line| !line.starts_with("CMD"));
    let file: String = file.map(|line| format!("{line}\n")).collect();
    live.write("graphite/Dockerfile", &(file + serve));
    live
}

fn up(live: &Live) -> Run {
    live.run(&["run", "--yes", "ensemble.up", "it"])
}

fn plan(live: &Live) -> String {
    live.run(&["run", "ensemble.plan", "it"]).ok().stdout
}

/// The rules in force on a server, without counts.
fn rules_on(live: &Live, server: &str) -> BTreeSet<String> {
    let table = on(live, server, "nft -s list table inet hitc");
    table.lines().map(|line| line.trim().to_owned()).collect()
}

/// Takes everything down, and checks that nothing is left.
fn down(live: &Live) {
    live.run(&["run", "--yes", "ensemble.down", "it"]).ok();
    let left = live.run(&["nodes", "-o", "json"]).ok();
    assert!(left.json_rows().is_empty(), "{left}");
}

/// An edit of the rules of `TALK`, what the plan says about it, and what it removes from and adds to the
/// server's rules for its own services.
type Edit = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

const EDITS: [Edit; 6] = [
    (
        "80: \"*\"\n    443/tcp: [10.1.2.3/8, 192.0.2.1]",
        &["443/tcp: nothing → 10.0.0.0/8, 192.0.2.1"],
        &[],
        &[
            "ip saddr 10.0.0.0/8 tcp dport 443 accept",
            "ip saddr 192.0.2.1 tcp dport 443 accept",
        ],
    ),
    (
        "80: \"*\"\n    443/tcp: 10.0.0.0/8",
        &["443/tcp: 10.0.0.0/8, 192.0.2.1 → 10.0.0.0/8"],
        &["ip saddr 192.0.2.1 tcp dport 443 accept"],
        &[],
    ),
    (
        "80: \"*\"\n    443: \"2001:db8::/32\"",
        &["443/tcp: 10.0.0.0/8 → 2001:db8::/32"],
        &["ip saddr 10.0.0.0/8 tcp dport 443 accept"],
        &["ip6 saddr 2001:db8::/32 tcp dport 443 accept"],
    ),
    (
        "80: [172.16.0.0/12]\n    443: \"2001:db8::/32\"",
        &["80/tcp: * → 172.16.0.0/12"],
        &["tcp dport 80 accept"],
        &["ip saddr 172.16.0.0/12 tcp dport 80 accept"],
    ),
    (
        "80: [172.16.0.0/12]\n    53/*: \"*\"\n    443: \"2001:db8::/32\"",
        &["53/tcp: nothing → *", "53/udp: nothing → *"],
        &[],
        &["tcp dport 53 accept", "udp dport 53 accept"],
    ),
    (
        "8000-8010/udp: \"*\"\n    log: true",
        &[
            "53/tcp: * → nothing",
            "53/udp: * → nothing",
            "80/tcp: 172.16.0.0/12 → nothing",
            "443/tcp: 2001:db8::/32 → nothing",
            "8000-8010/udp: nothing → *",
            "log: nothing → true",
        ],
        &[
            "ip saddr 172.16.0.0/12 tcp dport 80 accept",
            "ip6 saddr 2001:db8::/32 tcp dport 443 accept",
            "tcp dport 53 accept",
            "udp dport 53 accept",
        ],
        &[
            "limit rate 5/second burst 5 packets log prefix \"hitc-drop: \"",
            "udp dport 8000-8010 accept",
        ],
    ),
];

#[test]
fn the_talks_example() {
    let live = with_images(Live::new()).file("it.yml", TALK);
    let first = up(&live).ok();
    let summary = "1 server to create, 1 firewall to create, 1 container to create";
    assert!(first.stderr.contains(summary), "{first}");
    assert_eq!(live.get("wordpress", 80), "wordpress");
    let again = up(&live).ok();
    assert!(again.stderr.contains("`it` is up to date"), "{again}");

    let mut before = rules_on(&live, "wordpress");
    for (rules, changes, removed, added) in EDITS {
        live.write("it.yml", &TALK.replace("80: \"*\"", rules));
        let plan = plan(&live);
        let (head, rest) = plan.split_once('\n').unwrap();
        assert_eq!(head, "  wordpress  stays (server, local)");
        let (head, rest) = rest.split_once('\n').unwrap();
        assert!(head.starts_with("  ~ firewall  change ("), "{plan}");
        let mut lines: Vec<&str> = rest.lines().map(str::trim).collect();
        assert_eq!(lines.pop(), Some("1 firewall to change"));
        assert_eq!(lines, changes);
        up(&live).ok();
        let again = up(&live).ok();
        assert!(again.stderr.contains("`it` is up to date"), "{again}");
        // The other chain has the same rules, with other conditions.
        let is_own =
            |line: &&String| !line.starts_with("ct status dnat ") && !line.starts_with("oifname");
        let after = rules_on(&live, "wordpress");
        let found: Vec<&String> = before.difference(&after).filter(is_own).collect();
        assert_eq!(found, removed, "removed by {rules}");
        let found: Vec<&String> = after.difference(&before).filter(is_own).collect();
        assert_eq!(found, added, "added by {rules}");
        before = after;
    }

    // Opened by hand: the plan takes it back.
    let open = "nft insert rule inet hitc input tcp dport 9999 accept";
    on(&live, "wordpress", open);
    assert!(
        plan(&live).contains("1 firewall to change"),
        "{}",
        plan(&live)
    );
    up(&live).ok();
    let table = on(&live, "wordpress", "nft list table inet hitc");
    assert!(!table.contains("9999"), "{table}");

    live.write("it.yml", TALK.split("  firewall").next().unwrap());
    assert!(
        plan(&live).contains("- firewall  remove (all ports are open then)"),
        "{}",
        plan(&live)
    );
    up(&live).ok();
    assert_eq!(
        on(
            &live,
            "wordpress",
            "nft list tables | grep hitc; ls /etc/hitc 2>/dev/null; true"
        ),
        ""
    );
    down(&live);
}

#[test]
fn the_talks_longer_example() {
    let live = with_images(Live::new()).file("it.yml", LONGER);
    let first = up(&live).ok();
    let summary = "2 servers to create, 2 firewalls to create, 3 containers to create";
    assert!(first.stderr.contains(summary), "{first}");
    assert_eq!(live.get("wordpress", 80), "wordpress");
    assert_eq!(live.get("graphite", 80), "graphite");
    let again = up(&live).ok();
    assert!(again.stderr.contains("`it` is up to date"), "{again}");

    // Every port is open to the servers of the manifest, and to their containers.
    let graphite = live.ip("graphite");
    let get = format!("busybox wget -qO- http://{graphite}:2003/");
    assert_eq!(on(&live, "wordpress", &get), "graphite");
    assert_eq!(
        on(
            &live,
            "wordpress",
            &format!("docker exec serverstats {get}")
        ),
        "graphite"
    );
    let address: SocketAddr = format!("{graphite}:2003").parse().unwrap();
    assert!(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err());

    // The rules of both are one template.
    live.write(
        "it.yml",
        &LONGER.replace("    80: \"*\"\n", "    80: 172.16.0.0/12\n"),
    );
    let changed = |server: &str| {
        format!(
            "  {server}  stays (server, local)\n  ~ firewall  change (4 rules)\n      80/tcp: * → 172.16.0.0/12\n"
        )
    };
    let both = [changed("wordpress"), changed("graphite")].concat();
    let expected = format!("{both}2 firewalls to change\n");
    assert_eq!(plan(&live), expected);
    let before = ["wordpress", "graphite"].map(|server| rules_on(&live, server));
    up(&live).ok();
    for (server, before) in ["wordpress", "graphite"].iter().zip(before) {
        let after = rules_on(&live, server);
        let published = "ct original proto-dst 80 accept";
        let removed: Vec<_> = before.difference(&after).collect();
        assert_eq!(
            removed,
            [
                &format!("ct status dnat meta l4proto tcp {published}"),
                "tcp dport 80 accept"
            ]
        );
        let source = "ip saddr 172.16.0.0/12";
        let added: Vec<_> = after.difference(&before).collect();
        assert_eq!(
            added,
            [
                &format!("ct status dnat {source} meta l4proto tcp {published}"),
                &format!("{source} tcp dport 80 accept"),
            ]
        );
    }

    // Another server: all of them open their ports to it before its containers start.
    let third = "third:\n  provider: local\n  firewall: {template: default_firewall}\n\n";
    live.write("it.yml", &format!("{third}{LONGER}"));
    let grown = up(&live).ok();
    assert!(grown.stderr.contains("2 firewalls may change"), "{grown}");
    assert_eq!(on(&live, "third", &get), "graphite");
    down(&live);
}

/// What the original's own example publishes is open, until a firewall is added to it.
#[test]
fn the_originals_wordpress() {
    let live = with_images(Live::new()).file("it.yml", ORIGINAL);
    let first = up(&live).ok();
    let summary = "1 server to create, 1 container to create";
    assert!(first.stderr.contains(summary), "{first}");
    assert_eq!(live.get("wordpress", 80), "wordpress");
    on(&live, "wordpress", "test -d /docker_volumes/wordpress/log");
    let again = up(&live).ok();
    assert!(again.stderr.contains("`it` is up to date"), "{again}");

    let edit = |rules: &str| live.write("it.yml", &format!("{ORIGINAL}{rules}"));
    edit("  firewall:\n    443: \"*\"\n");
    let expected = "  wordpress  stays (server, local)\n  + firewall  create (1 rule)\n      443/tcp: nothing → *\n\
                    1 firewall to create\n";
    assert_eq!(plan(&live), expected);
    up(&live).ok();
    let address: SocketAddr = format!("{}:80", live.ip("wordpress")).parse().unwrap();
    let is_open = || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
    assert!(!is_open());
    edit("");
    up(&live).ok();
    assert!(is_open());
    down(&live);
}

/// The network of the server is cut between loading and confirming: the server takes the rules back.
#[test]
fn a_network_that_is_cut_takes_the_rules_back() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let container = live.container("web");
    let inside = |line: &str| docker(&["exec", &container, "sh", "-c", line]);
    // The new connection that would confirm them gets no answer meanwhile.
    for rule in [
        "-j DROP",
        "-m limit --limit 1/hour --limit-burst 1 -j ACCEPT",
    ] {
        inside(&format!("iptables -I INPUT -p tcp --dport 22 --syn {rule}"));
    }
    let apply = live.spawn(&["run", "--yes", "-H", "web", "iptables.apply", "80=*"]);
    inside("until [ -e /run/hitc/firewall/armed ]; do sleep 0.05; done");
    let started = Instant::now();
    // Not by `docker network disconnect`: another container would get the address.
    inside(
        "iptables -I INPUT -p tcp --dport 22 -j DROP; iptables -I OUTPUT -p tcp --sport 22 -j DROP",
    );
    inside("until [ ! -e /run/hitc/firewall/armed ]; do sleep 0.2; done");
    let took = started.elapsed();
    assert!(took < Duration::from_mins(1), "{took:?}");
    assert_eq!(
        inside("nft list tables | grep hitc; ls /etc/hitc 2>/dev/null; true"),
        ""
    );
    let run = Run::from(apply.wait_with_output().unwrap());
    assert!(run.status != 0, "{run}");
    inside("iptables -F INPUT; iptables -F OUTPUT");
    live.run(&["exec", "-H", "web", "--", "true"]).ok();
}

#[test]
fn nobody_is_locked_out() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let container = live.container("web");
    let inside = |line: &str| docker(&["exec", &container, "sh", "-c", line]);
    let apply = ["run", "--yes", "-H", "web", "iptables.apply", "80=*"];

    // No new connection is possible, whatever the rules are: they are taken back.
    inside("iptables -I INPUT -p tcp --dport 22 --syn -j DROP");
    inside(
        "iptables -I INPUT -p tcp --dport 22 --syn -m limit --limit 1/hour --limit-burst 1 -j ACCEPT",
    );
    let failed = live.run(&apply);
    let expected = "error: host `web`: no new connection with the new firewall";
    assert!(
        failed.status == 1 && failed.stderr.contains(expected),
        "{failed}"
    );
    assert!(
        failed
            .stderr
            .contains("the rules of before are in force again"),
        "{failed}"
    );
    assert_eq!(
        inside("nft list tables | grep hitc; ls /etc/hitc 2>/dev/null; true"),
        ""
    );

    // A run that is killed before it confirms them.
    inside(
        "iptables -R INPUT 1 -p tcp --dport 22 --syn -m limit --limit 1/hour --limit-burst 1 -j ACCEPT",
    );
    let mut killed = live.spawn(&apply);
    let started = Instant::now();
    inside("until [ -e /run/hitc/firewall/armed ]; do sleep 0.05; done");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(inside("nft list tables").contains("hitc"));
    inside("until [ ! -e /run/hitc/firewall/armed ]; do sleep 0.2; done");
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(inside("nft list tables | grep hitc; true"), "");
    inside("iptables -F INPUT");

    // Rules without SSH, which hitc would refuse: the server is reachable again within a minute.
    live.run(&apply).ok();
    inside(
        "cd /etc/hitc/firewall; for f in owner ssh rules nft v4 v6; do echo \"#= $f\"; \
         sed '/dport 22 /d' $f; done >/bundle; echo '#= end' >>/bundle; \
         /usr/local/lib/hitc/firewall load test </bundle",
    );
    let started = Instant::now();
    let ssh: SocketAddr = format!("{}:22", live.ip("web")).parse().unwrap();
    let is_open = || TcpStream::connect_timeout(&ssh, Duration::from_secs(1)).is_ok();
    assert!(!is_open());
    while !is_open() {
        assert!(started.elapsed() < Duration::from_mins(1));
    }
    let shown = live.run(&["run", "-H", "web", "iptables.show"]).ok();
    assert!(shown.stdout.contains("80/tcp"), "{shown}");
}
