//! Firewalls of hundreds of rules, which leave no trace.

use crate::support::live::{Live, docker};

/// What the server has: its rules, and its files with their content.
const STATE: &str = "for p in iptables ip6tables; do $p -S; $p -t nat -S; $p -t mangle -S; done
    /nft -s list ruleset
    find /etc /run /usr/local /var/lib -xdev -type f -exec sha256sum {} + | sort -k 2
    find /etc /run /usr/local /var/lib -xdev ! -type f | sort";

fn five_hundred_rules(backend: &str, prepare: &str) {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let container = live.container("web");
    let inside = |line: &str| docker(&["exec", &container, "sh", "-c", line]);
    inside(&format!("cp /usr/sbin/nft /nft; {prepare}"));
    // The first connection leaves files, and the first rule a table with its own
    // chains. iptables cannot remove an empty table.
    live.run(&["exec", "-H", "web", "--", "true"]).ok();
    if backend == "iptables" {
        let first = "$p -A $c -j ACCEPT; $p -D $c -j ACCEPT";
        inside(&format!(
            "for p in iptables ip6tables; do for c in INPUT FORWARD; do {first}; done
             $p -t mangle -N first; $p -t mangle -X first; done"
        ));
    }
    // Twice: listing a table of iptables may create it.
    inside(STATE);
    let before = inside(STATE);

    let rules: Vec<String> = (0..500)
        .map(|at| match at % 4 {
            0 => format!("{}=10.{}.0.0/16", 8000 + at, at / 4),
            1 => format!("{}-{}/udp=192.0.2.{}", 10000 + at, 10002 + at, at / 4),
            2 => format!("{}=2001:db8:{at}::/48", 8000 + at),
            _ => format!("{}/udp=*", 20000 + at),
        })
        .collect();
    let task = |words: &[&str]| live.run(&[&["run", "--yes", "-H", "web"], words].concat());
    let mut words: Vec<&str> = rules.iter().map(String::as_str).collect();
    words.push("22=*");
    task(&[&["iptables.apply"], words.as_slice()].concat()).ok();
    let shown = task(&["iptables.show"]).ok();
    // And the one for SSH, once, and the line for all other ports.
    assert_eq!(shown.rows().len(), 502, "{shown}");
    let found = inside("cat /etc/hitc/firewall/backend");
    assert_eq!(found, backend);
    task(&["iptables.clear"]).ok();
    let after = inside(STATE);
    let only_in = |one: &str, other: &str| -> Vec<String> {
        let lines: Vec<&str> = other.lines().collect();
        let new = one.lines().filter(|line| !lines.contains(line));
        new.map(str::to_owned).collect()
    };
    let (added, removed) = (only_in(&after, &before), only_in(&before, &after));
    assert!(
        added.is_empty() && removed.is_empty(),
        "added {added:#?}, removed {removed:#?}"
    );
}

#[test]
fn five_hundred_rules_with_nft() {
    five_hundred_rules("nft", "true");
}

#[test]
fn five_hundred_rules_with_iptables() {
    five_hundred_rules("iptables", "rm /usr/sbin/nft");
}
