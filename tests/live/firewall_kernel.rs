//! Compares [`Firewall::admits`] with the kernel: generated firewalls, and packets from any address.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use fastrand::Rng;
use hitc::iptables::{Family, Firewall, Ports, Protocol, Source, render_iptables, render_nft};
use ipnet::IpNet;

use crate::support::live::{Live, docker};

const FIREWALLS: usize = 20;
const PACKETS: usize = 200;

/// Loads each firewall in a network namespace, sends packets to it from another one, and prints which of
/// them the firewall admitted. It uses the server's own program to load the rules. A second table records
/// the packets that pass, and drops them: no connection and no answer changes what the next packet meets.
const DRIVER: &str = r#"
set -eu
cd /kernel
mkdir -p /usr/local/lib/hitc
cp firewall.sh /usr/local/lib/hitc/firewall
chmod 755 /usr/local/lib/hitc/firewall
ip netns add client
ip netns add server
for side in client server; do
    ip netns exec $side sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
        net.ipv6.conf.default.accept_dad=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
done
ip link add c0 netns client address 02:00:00:00:00:01 type veth \
    peer name s0 netns server address 02:00:00:00:00:02
connect() {
    local side=$1 card=$2 mac=$3 own4=$4 own6=$5 peer4=$6 peer6=$7
    ip -n $side link set lo up
    ip -n $side link set $card up
    ip -n $side addr add $own4/24 dev $card
    ip -n $side addr add $own6/64 dev $card nodad
    ip -n $side neigh replace $peer4 lladdr $mac dev $card nud permanent
    ip -n $side neigh replace $peer6 lladdr $mac dev $card nud permanent
    # So that no source is one to which the server has no route.
    ip -n $side route add default via $peer4
    ip -n $side -6 route add default via $peer6
}
connect client c0 02:00:00:00:00:02 203.0.113.2 2001:db8:ffff::2 203.0.113.1 2001:db8:ffff::1
connect server s0 02:00:00:00:00:01 203.0.113.1 2001:db8:ffff::1 203.0.113.2 2001:db8:ffff::2
# A container's side of the server. Nothing gets there: packets are recorded on the way, and dropped.
ip -n server link add docker0 type bridge
ip -n server link add p0 master docker0 type veth peer name p1
for card in docker0 p0 p1; do ip -n server link set $card up; done
ip -n server addr add 172.30.0.1/24 dev docker0
ip -n server addr add fd30::1/64 dev docker0 nodad
ip netns exec server sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
# record HOOK PORT: the table for packets to the server itself, or to a container of it. All public ports
# lead to one port of the container.
record() {
    cat <<END
add table inet record
delete table inet record
table inet record {
    counter arrived { }
    set v4 { type ipv4_addr . inet_proto . inet_service; size 65535; flags dynamic; }
    set v6 { type ipv6_addr . inet_proto . inet_service; size 65535; flags dynamic; }
    chain arrive {
        type filter hook $1 priority raw;
        meta l4proto { tcp, udp } counter name arrived
    }
    chain pass {
        type filter hook $1 priority filter + 10;
        meta l4proto { tcp, udp } add @v4 { ip saddr . meta l4proto . $2 }
        meta l4proto { tcp, udp } add @v6 { ip6 saddr . meta l4proto . $2 }
        meta l4proto { tcp, udp } drop
    }
END
    if [ $1 = forward ]; then
        cat <<END
    chain publish {
        type nat hook prerouting priority dstnat;
        meta l4proto { tcp, udp } dnat ip to 172.30.0.2:80
        meta l4proto { tcp, udp } dnat ip6 to [fd30::2]:80
    }
END
    fi
    echo '}'
}
in_server() { ip netns exec server "$@"; }
for at in $(seq 0 $(($1 - 1))); do
    in_server /usr/local/lib/hitc/firewall load $at <$at.rules
    echo "firewall $at $(cat /run/hitc/firewall/new/backend)"
    for way in 'input th dport' 'forward ct original proto-dst'; do
        record ${way%% *} "${way#* }" >record
        in_server /nft -f record
        ip netns exec client perl send.pl 203.0.113.1 2001:db8:ffff::1 <$at.packets
        sent=$(wc -l <$at.packets)
        for try in $(seq 100); do
            in_server /nft list counter inet record arrived | grep -q "packets $sent " && break
            sleep 0.02
        done
        in_server /nft list counter inet record arrived | grep "packets $sent " >/dev/null || {
            echo "firewall $at, ${way%% *}: of $sent packets:"
            in_server /nft list counter inet record arrived
            exit 1
        } >&2
        echo "way ${way%% *}"
        for set in v4 v6; do
            in_server /nft -n list set inet record $set | tr -d '\n\t' | sed -n 's/.*elements = {\([^}]*\)}.*/\1/p' |
                tr ',' '\n' | sed 's/ //g; s/[.]\([0-9]*\)[.]\([0-9]*\)$/ \1 \2/'
            echo
        done
    done
done
"#;

type Packet = (IpAddr, Protocol, u16);

/// An address of few networks, so that rules and packets meet.
fn address(random: &mut Rng) -> IpAddr {
    let small = random.u8(..);
    match random.u8(..6) {
        0 | 1 => Ipv4Addr::new(10, 77, random.u8(..), small).into(),
        2 => Ipv4Addr::new(10, random.u8(..), small, 1).into(),
        3 => Ipv4Addr::new(192, 0, 2, small).into(),
        4 => Ipv6Addr::new(0xfd77, 0, 0, random.u16(..4), 0, 0, 0, small.into()).into(),
        _ => Ipv6Addr::new(0x2001, 0xdb8, random.u16(..4), 0, 0, 0, small.into(), 1).into(),
    }
}

fn source(random: &mut Rng) -> Source {
    if random.u8(..8) == 0 {
        return Source::Everywhere;
    }
    let address = address(random);
    let length = match address {
        IpAddr::V4(_) => random.u8(5..=32),
        IpAddr::V6(_) => random.u8(5..=128),
    };
    Source::Network(IpNet::new(address, length).unwrap().trunc())
}

fn ports(random: &mut Rng) -> Vec<Ports> {
    let protocol = ["tcp", "udp", "*"][random.usize(..3)];
    let first = match random.u8(..3) {
        0 => [1, 22, 53, 80, 443, 65535][random.usize(..6)],
        1 => random.u16(8000..8050),
        _ => random.u16(1..),
    };
    let last = first.saturating_add(random.u16(..60));
    let range = match random.u8(..12) {
        0 => "*".to_owned(),
        1..6 => format!("{first}-{last}"),
        _ => first.to_string(),
    };
    Ports::parse(&format!("{range}/{protocol}")).unwrap()
}

/// A firewall as it is loaded on a server with sshd.
fn firewall(random: &mut Rng) -> Firewall {
    let mut firewall = Firewall::default();
    for _ in 0..random.u8(1..16) {
        let source = source(random);
        for ports in ports(random) {
            // Rules for everything would leave nothing to find out about the others.
            let is_all = ports.protocol() == Protocol::Any || ports.range().is_none();
            if !(is_all && source == Source::Everywhere) {
                firewall.add(ports, source);
            }
        }
    }
    firewall.log = random.bool();
    firewall.with_ssh(&BTreeSet::from([22]))
}

/// The address before, in or after a network, at its border.
fn near(network: IpNet, random: &mut Rng) -> IpAddr {
    let (first, last) = (network.network(), network.broadcast());
    let step = random.u8(..4);
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            Ipv4Addr::from_bits(all[usize::from(step)]).into()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            Ipv6Addr::from_bits(all[usize::from(step)]).into()
        }
        _ => first,
    }
}

/// Whether a host can send packets with this source address.
fn is_sender(address: IpAddr) -> bool {
    let is_server = |network: &str| network.parse::<IpNet>().unwrap().contains(&address);
    !is_server("203.0.113.0/24")
        && !is_server("2001:db8:ffff::/64")
        && match address {
            IpAddr::V4(address) => {
                !address.is_loopback() && (1..224).contains(&address.octets()[0])
            }
            IpAddr::V6(address) => {
                !address.is_unicast_link_local()
                    && !address.is_multicast()
                    && address.segments()[0] != 0
            }
        }
}

/// Packets near the borders of the rules, and others. Each of them is one element.
fn packets(firewall: &Firewall, random: &mut Rng) -> BTreeSet<Packet> {
    let rules: Vec<(Ports, Source)> = firewall.rules().collect();
    let mut packets = BTreeSet::new();
    while packets.len() < PACKETS {
        // Often of one rule, and sometimes the address of one with the ports of another.
        let (ports, mut source) = rules[random.usize(..rules.len())];
        if random.u8(..4) == 0 {
            source = rules[random.usize(..rules.len())].1;
        }
        let from = match source {
            Source::Network(network) if random.u8(..8) > 0 => near(network, random),
            _ => address(random),
        };
        let port = match ports.range() {
            Some((first, last)) if random.u8(..8) > 0 => {
                [first, last, first - 1, last.saturating_add(1)][random.usize(..4)].max(1)
            }
            _ => random.u16(1..),
        };
        let protocol = match ports.protocol() {
            Protocol::Any => [Protocol::Tcp, Protocol::Udp][random.usize(..2)],
            Protocol::Tcp if random.u8(..8) == 0 => Protocol::Udp,
            Protocol::Udp if random.u8(..8) == 0 => Protocol::Tcp,
            own => own,
        };
        if is_sender(from) {
            packets.insert((from, protocol, port));
        }
    }
    packets
}

/// What the server's program reads.
fn bundle(firewall: &Firewall) -> String {
    format!(
        "#= nft\n{}#= v4\n{}#= v6\n{}#= end\n",
        render_nft(firewall, &[]),
        render_iptables(firewall, &[], Family::V4),
        render_iptables(firewall, &[], Family::V6),
    )
}

/// `prepare` is the command that leaves only this backend on the server.
fn agrees_with_the_kernel(seed: u64, backend: &str, prepare: &str) {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let container = live.container("web");
    let folder = live.root().join("kernel");
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("driver", DRIVER);
    write("send.pl", include_str!("../support/send.pl"));
    write(
        "firewall.sh",
        include_str!("../../src/iptables/firewall.sh"),
    );
    let mut random = Rng::with_seed(seed);
    let mut cases = Vec::new();
    for at in 0..FIREWALLS {
        let firewall = firewall(&mut random);
        let packets = packets(&firewall, &mut random);
        let lines = packets
            .iter()
            .map(|(from, protocol, port)| format!("{from} {protocol} {port}\n"));
        write(&format!("{at}.packets"), &lines.collect::<String>());
        write(&format!("{at}.rules"), &bundle(&firewall));
        cases.push((firewall, packets));
    }
    docker(&["cp", folder.to_str().unwrap(), &format!("{container}:/")]);
    let run = format!("set -e; cp /usr/sbin/nft /nft; {prepare}; bash /kernel/driver {FIREWALLS}");
    let output = docker(&["exec", &container, "bash", "-c", &run]);

    // To the server itself, and to a container of it.
    let mut passed = vec![[BTreeSet::new(), BTreeSet::new()]; FIREWALLS];
    let (mut at, mut way) = (0, 0);
    for line in output.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["firewall", number, loaded] => {
                assert_eq!(*loaded, backend);
                at = number.parse().unwrap();
            }
            ["way", name] => way = usize::from(*name == "forward"),
            [from, protocol, port] => {
                let protocol = match *protocol {
                    "6" => Protocol::Tcp,
                    "17" => Protocol::Udp,
                    _ => panic!("{line}"),
                };
                passed[at][way].insert((from.parse().unwrap(), protocol, port.parse().unwrap()));
            }
            _ => panic!("{line}"),
        }
    }
    let mut total = [0, 0];
    for (at, (firewall, packets)) in cases.iter().enumerate() {
        let admitted: BTreeSet<Packet> = packets
            .iter()
            .filter(|(from, protocol, port)| firewall.admits(*from, *protocol, *port))
            .copied()
            .collect();
        for (passed, way) in passed[at].iter().zip(["to the server", "to a container"]) {
            let differ: Vec<&Packet> = admitted.symmetric_difference(passed).collect();
            assert!(
                differ.is_empty(),
                "firewall {at}: the kernel decides otherwise {way} about {differ:?}\n{}",
                firewall.to_lines()
            );
        }
        total[0] += admitted.len();
        total[1] += packets.len() - admitted.len();
    }
    // Otherwise the packets do not try the rules.
    assert!(total.iter().all(|count| *count > 800), "{total:?}");
}

#[test]
fn with_nft() {
    agrees_with_the_kernel(1, "nft", "true");
}

#[test]
fn with_iptables_nft() {
    agrees_with_the_kernel(2, "iptables", "rm /usr/sbin/nft");
}

#[test]
fn with_iptables_legacy() {
    let set =
        "for p in iptables ip6tables; do update-alternatives --set $p /usr/sbin/$p-legacy; done";
    agrees_with_the_kernel(
        3,
        "iptables",
        &format!("rm /usr/sbin/nft; {set} >/dev/null"),
    );
}
