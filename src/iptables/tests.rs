//! The model of firewalls, its two renderings, and saved rules in data files (`tests/cases/iptables/`).

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path};

use proptest::prelude::*;

use super::{Family, Firewall, Ports, Protocol, Source, chains, nft, parse};
use crate::core::value::{Data, Entry, Value};

fn text(text: &str) -> Value {
    Value::new(Data::Text(text.to_owned()))
}

/// A firewall as a manifest writes it.
fn decode(rules: &[(&str, &[&str])]) -> Result<Firewall, String> {
    let entries = rules.iter().map(|(port, sources)| Entry {
        key: (*port).to_owned(),
        key_span: None,
        value: Value::new(Data::List(
            sources.iter().map(|source| text(source)).collect(),
        )),
    });
    let value = Value::new(Data::Map(entries.collect()));
    Firewall::decode(&value, "firewall").map_err(|error| match error.help {
        Some(help) => format!("{}; {help}", error.message),
        None => error.message,
    })
}

#[test]
fn the_grammar_of_manifests() {
    let rules = decode(&[
        ("22", &["*"]),
        ("8125/udp", &["10.1.1.15"]),
        ("53/*", &["10.1.2.3/8", "10.9.9.9", "2001:DB8::1"]),
        ("8000-8100", &["::ffff:10.0.0.1"]),
        ("*/udp", &["192.0.2.0/24"]),
        ("*/*", &["fd00::/8"]),
    ]);
    let expected = "\
*/udp 192.0.2.0/24
*/* fd00::/8
22/tcp *
53/tcp 10.0.0.0/8
53/tcp 2001:db8::1
53/udp 10.0.0.0/8
53/udp 2001:db8::1
8000-8100/tcp 10.0.0.1
8125/udp 10.1.1.15
";
    assert_eq!(rules.unwrap().to_lines(), expected);
}

#[test]
fn what_is_refused() {
    let source = |source: &str| decode(&[("80", &[source])]).unwrap_err();
    assert!(source("db.example.com").contains("a host name can mean another address tomorrow"));
    assert!(source("0.0.0.0/0").contains("write \"*\" for everywhere"));
    for wrong in [
        "10.0.0.1/33",
        "10.0.0",
        "",
        "fe80::1%eth0",
        "-j ACCEPT",
        "1.1.1.1\n",
    ] {
        assert!(source(wrong).contains("invalid source"), "{wrong}");
    }
    let port = |port: &str| decode(&[(port, &["*"])]).unwrap_err();
    for wrong in [
        "0",
        "65536",
        "http",
        "80-",
        "-80",
        "90-80",
        "80/sctp",
        "+80",
        " 80",
        "80/tcp/udp",
        "",
    ] {
        let error = port(wrong);
        assert!(error.starts_with("firewall: invalid "), "{wrong}: {error}");
    }
}

#[test]
fn ssh_stays_open_unless_a_rule_names_it() {
    let ssh = BTreeSet::from([22, 2222]);
    let lines = |rules: &[(&str, &[&str])]| decode(rules).unwrap().with_ssh(&ssh).to_lines();
    assert_eq!(lines(&[]), "22/tcp *\n2222/tcp *\n");
    let rules = lines(&[("20-30", &["10.0.0.1"]), ("*/*", &["10.0.0.2"])]);
    assert_eq!(rules, "*/* 10.0.0.2\n20-30/tcp 10.0.0.1\n2222/tcp *\n");
}

#[test]
fn changes_are_in_the_words_of_the_manifest() {
    let old = decode(&[("22", &["*"]), ("80", &["10.0.0.1", "10.0.0.2"])]).unwrap();
    let new = decode(&[("80", &["10.0.0.2"]), ("443", &["*"])]).unwrap();
    let changes = new.changes_from(&old).into_iter().map(|change| {
        let side = |side: Option<String>| side.unwrap_or_default();
        format!(
            "{}: {} -> {}",
            change.field,
            side(change.old),
            side(change.new)
        )
    });
    let expected = [
        "22/tcp: * -> ",
        "80/tcp: 10.0.0.1, 10.0.0.2 -> 10.0.0.2",
        "443/tcp:  -> *",
    ];
    assert_eq!(changes.collect::<Vec<_>>(), expected);
    assert!(new.changes_from(&new).is_empty());
}

#[test]
fn changes_by_other_programs_are_noticed() {
    let rules = decode(&[("80", &["10.0.0.1"])]).unwrap();
    let table = nft::render(&rules, &[]);
    assert_eq!(nft::parse(&table).unwrap().firewall, rules);
    let counted = table.replacen("counter", "counter packets 12 bytes 720", 1);
    assert_eq!(nft::parse(&counted).unwrap().dropped, 12);
    let open = "\t\ttcp dport 9999 accept\n\t\tcounter drop";
    for (from, to) in [
        ("\t\tcounter drop\n", "\t\tcounter accept\n"),
        ("\t\tcounter drop\n", ""),
        ("\t\tcounter drop", open),
        ("iif \"lo\"", "iif \"eth0\""),
        (
            "ip saddr 10.0.0.1 tcp dport 80 accept",
            "ip saddr 10.0.0.1 tcp dport 80 drop",
        ),
    ] {
        let changed = table.replacen(from, to, 1);
        assert_ne!(changed, table);
        assert!(nft::parse(&changed).is_err(), "{to}");
    }
    let list = |family| chains::render(&rules, &[], family);
    let (v4, v6) = (list(Family::V4), list(Family::V6));
    assert_eq!(chains::parse(&v4, Some(&v6)).unwrap().0, rules);
    let accept = v4.replacen("-A HITC-IN -j DROP", "-A HITC-IN -j ACCEPT", 1);
    assert!(chains::parse(&accept, Some(&v6)).is_err());
}

fn sources() -> impl Strategy<Value = Source> {
    let network = |address: IpAddr, bits: u8| {
        let length = match address {
            IpAddr::V4(_) => 1 + bits % 32,
            IpAddr::V6(_) => 1 + bits % 128,
        };
        format!("{address}/{length}").parse().unwrap()
    };
    prop_oneof![
        1 => Just(Source::Everywhere),
        4 => (any::<[u8; 4]>(), any::<u8>()).prop_map(move |(ip, bits)| network(ip.into(), bits)),
        2 => (any::<[u16; 8]>(), any::<u8>())
            .prop_map(move |(ip, bits)| network(IpAddr::from(ip).to_canonical(), bits)),
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    let range = prop_oneof![
        (1..=65535_u16).prop_map(|port| port.to_string()),
        (1..=65535_u16, 0..100_u16)
            .prop_map(|(port, more)| { format!("{port}-{}", port.saturating_add(more)) }),
        Just("*".to_owned()),
    ];
    (range, prop_oneof![Just("tcp"), Just("udp"), Just("*")])
        .prop_map(|(range, protocol)| Ports::parse(&format!("{range}/{protocol}")).unwrap()[0])
}

fn firewalls() -> impl Strategy<Value = Firewall> {
    let rules = proptest::collection::vec((ports(), sources()), 0..12);
    (rules, any::<bool>()).prop_map(|(rules, log)| {
        let mut firewall = Firewall::default();
        for (ports, source) in rules {
            firewall.add(ports, source);
        }
        firewall.log = log;
        firewall
    })
}

/// Each file contains the output of the command, an empty line, and the parsed rules.
#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/iptables");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let (saved, expected) = text.split_once("\n\n").unwrap();
        let shown = match parse(Family::V4, saved) {
            Ok(rules) => rules
                .iter()
                .map(|rule| {
                    let words = [&rule.table, &rule.chain, &rule.matches, &rule.target];
                    format!("{}\n", words.map(String::as_str).join(" | "))
                })
                .collect(),
            Err(error) => format!("{error}\n"),
        };
        assert_eq!(shown, expected, "{}", file.display());
        count += 1;
    }
    assert!(count >= 3);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What is rendered is read back, in the words and in both forms, and nothing is changed twice.
    #[test]
    fn there_and_back(firewall in firewalls(), bridge in proptest::option::of("[a-z]{1,8}0")) {
        let bridges: Vec<String> = bridge.into_iter().filter(|name| name != "docker0").collect();
        prop_assert_eq!(&Firewall::from_lines(&firewall.to_lines()).unwrap(), &firewall);
        let listed = nft::parse(&nft::render(&firewall, &bridges)).unwrap();
        prop_assert_eq!(&listed.firewall, &firewall);
        prop_assert_eq!(&listed.bridges, &bridges);
        let list = |family| chains::render(&firewall, &bridges, family);
        let (v4, v6) = (list(Family::V4), list(Family::V6));
        prop_assert_eq!(chains::parse(&v4, Some(&v6)).unwrap(), (firewall.clone(), bridges));
        prop_assert_eq!(&firewall.and(&firewall), &firewall);
        prop_assert!(firewall.changes_from(&firewall).is_empty());
    }

    /// Together they admit what either admits, and nothing else.
    #[test]
    fn both_together(
        one in firewalls(),
        other in firewalls(),
        source in any::<[u8; 4]>(),
        port in 1..=65535_u16,
    ) {
        let both = one.and(&other);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let admits = |firewall: &Firewall| firewall.admits(source.into(), protocol, port);
            prop_assert_eq!(admits(&both), admits(&one) || admits(&other));
        }
    }

    #[test]
    fn no_text_panics(text in "[-A-Zj \":*\\[\\]\\\\\n]{0,60}") {
        let _ = parse(Family::V4, &text);
    }
}
