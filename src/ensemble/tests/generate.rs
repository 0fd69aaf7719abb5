//! Random manifests.

use proptest::prelude::*;

/// The body of a container: lines of YAML, in an order that does not matter.
fn container(place: usize, earlier: Vec<String>) -> impl Strategy<Value = Vec<String>> {
    let reference = match earlier.len() {
        0 => Just("plain".to_owned()).boxed(),
        _ => proptest::sample::select(earlier).boxed(),
    };
    let environment = proptest::collection::btree_map("[A-C]", reference, 0..3);
    // A port of a server is published once.
    let first = u16::try_from(place * 10 + 1).unwrap();
    let ports = proptest::collection::btree_set(first..first + 4, 0..3);
    (
        "[ab]:[12]",
        environment,
        ports,
        proptest::option::of(1_u32..4),
        proptest::option::of("[a-z]{2,4}"),
        proptest::option::of(prop_oneof![Just("no"), Just("always")]),
        any::<bool>(),
    )
        .prop_map(
            |(image, environment, ports, memory, command, restart, volume)| {
                let mut lines = vec![format!("image: \"{image}\"")];
                let pairs = environment
                    .iter()
                    .map(|(key, value)| format!("{key}: \"{value}\""));
                lines.push(format!(
                    "environment: {{{}}}",
                    pairs.collect::<Vec<_>>().join(", ")
                ));
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                lines.push(format!("ports: [{}]", ports.join(", ")));
                lines.extend(memory.map(|memory| format!("max_memory: {memory}m")));
                lines.extend(command.map(|command| format!("command: {command}")));
                lines.extend(restart.map(|restart| format!("restart: \"{restart}\"")));
                lines.extend(volume.then(|| "volumes: {data: /data, /srv/: /srv}".to_owned()));
                lines
            },
        )
}

/// Up to three servers with up to three containers: see [`up_to`].
pub fn servers() -> impl Strategy<Value = Vec<Vec<Vec<String>>>> {
    up_to(3, 3)
}

/// Servers, each with the bodies of its containers. What comes later may refer to what comes
/// earlier. The containers of two manifests may take ports from each other.
pub fn up_to(
    max_servers: usize,
    max_containers: usize,
) -> impl Strategy<Value = Vec<Vec<Vec<String>>>> {
    let references = |server: usize, index: usize| {
        let mut earlier = vec!["plain".to_owned(), "${host.ip}".to_owned()];
        for other in 0..server {
            earlier.push(format!("${{s{other}.ip}}"));
        }
        for other in 0..index {
            earlier.push(format!("${{s{server}.containers.c{other}.ip}}"));
        }
        earlier
    };
    let server = move |server: usize| {
        (0..=max_containers, 0..=max_containers).prop_flat_map(move |(count, shift)| {
            let bodies: Vec<_> = (0..count)
                .map(|index| {
                    let place = (index + shift) % (max_containers + 1);
                    container(place, references(server, index))
                })
                .collect();
            bodies
        })
    };
    (1..=max_servers).prop_flat_map(move |count| (0..count).map(server).collect::<Vec<_>>())
}

/// The firewall of a server, if it has one: by its containers, so that an edit changes it, too.
fn firewall(containers: &[Vec<String>]) -> &'static str {
    let length: usize = containers.iter().flatten().map(String::len).sum();
    match length % 4 {
        0 => "",
        1 => "  firewall: {80: \"*\", 22: 10.0.0.0/8}\n",
        2 => "  firewall: {80: \"*\", \"*/*\": $internal_ips}\n",
        _ => "  firewall: {81: [\"${s0.ip}\", 10.1.1.1]}\n",
    }
}

/// The text of a manifest. With `backwards`, everything stands in the opposite order.
pub fn text(servers: &[Vec<Vec<String>>], backwards: bool) -> String {
    let order = |count: usize| -> Vec<usize> {
        if backwards {
            (0..count).rev().collect()
        } else {
            (0..count).collect()
        }
    };
    let mut text = String::new();
    for server in order(servers.len()) {
        text.push_str(&format!("s{server}:\n  provider: local\n"));
        let containers = &servers[server];
        text.push_str(firewall(containers));
        if !containers.is_empty() {
            text.push_str("  containers:\n");
        }
        for index in order(containers.len()) {
            text.push_str(&format!("    c{index}:\n"));
            for line in order(containers[index].len()) {
                text.push_str(&format!("      {}\n", containers[index][line]));
            }
        }
    }
    text
}
