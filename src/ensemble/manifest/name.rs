//! The names of servers and containers in a manifest.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Reserved names, which have another meaning in variables, such as `${host.ip}`.
const RESERVED: [&str; 3] = ["host", "env", "secret"];

/// The rule for names of containers, for messages.
pub(super) const CONTAINER_RULE: &str =
    "use 2 to 50 letters, digits, dashes and underscores, and begin with a letter or a digit";

/// Whether a server of this name needs no provider: the name is `[USER@]ADDRESS[:PORT]`, where the
/// address is an IP address or a host name with a dot. Any other name probably lacks a provider by
/// mistake.
pub(super) fn is_address(name: &str) -> bool {
    let (user, rest) = match name.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, name),
    };
    let is_user = |user: &str| {
        !user.is_empty()
            && !user.starts_with('-')
            && user.len() <= 64
            && user
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
    };
    if user.is_some_and(|user| !is_user(user)) {
        return false;
    }
    if rest.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    if let Some(inner) = rest.strip_prefix('[') {
        let Some((host, after)) = inner.split_once(']') else {
            return false;
        };
        let port = after.strip_prefix(':');
        return host.parse::<Ipv6Addr>().is_ok() && (after.is_empty() || port.is_some_and(is_port));
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    port.is_none_or(is_port) && (host.parse::<Ipv4Addr>().is_ok() || is_host_name(host))
}

/// Whether a name is reserved.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Whether a container may have this name. The engine requires two characters; names with a dot
/// are those of containers that are about to be replaced.
pub(super) fn is_container_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && (2..=50).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn is_port(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A host name with at least one dot (RFC 1123). Its last label is not a number, so that a
/// mistyped IPv4 address is not one.
fn is_host_name(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    let is_number = |label: &&str| label.bytes().all(|c| c.is_ascii_digit());
    labels.len() > 1
        && text.len() <= 253
        && labels.iter().all(|label| is_label(label))
        && !labels.last().is_some_and(is_number)
}

fn is_label(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(is_letter)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for name in [
            "10.0.0.1",
            "10.0.0.1:2222",
            "root@10.0.0.1",
            "web.example.com",
            "deploy@web.example.com:22",
            "::1",
            "fe80::1",
            "[2001:db8::1]:22",
            "[2001:db8::1]",
        ] {
            assert!(is_address(name), "{name}");
        }
        for name in [
            "web",
            "web:22",
            "../x",
            "a..b",
            ".a",
            "a.",
            "host:22:33",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1:0",
            "10.0.0.1:70000",
            "10.0.0.1:+22",
            "@10.0.0.1",
            "-x@10.0.0.1",
            "a b@10.0.0.1",
            "-a.b",
            "a_b.c",
            "a.b\n",
            "[10.0.0.1]",
            "[::1",
            "[::1]x",
            "",
        ] {
            assert!(!is_address(name), "{name}");
        }
        assert!(is_address(&format!("{}.com", "a".repeat(63))));
        assert!(!is_address(&format!("{}.com", "a".repeat(64))));
    }

    #[test]
    fn container_names() {
        for name in ["db", "web-1", "a_b"] {
            assert!(is_container_name(name), "{name}");
        }
        for name in ["a", "-a", "web.new", "a b", "é1", ""] {
            assert!(!is_container_name(name), "{name}");
        }
    }
}
