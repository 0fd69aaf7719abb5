//! A server that, after the login, sends messages that no SSH library sends: unknown ones, ones that
//! nobody asked for, ones that are longer than agreed, and broken ones. The other host must be unharmed,
//! and the result of the command right, or an error that names the host.

use std::time::{Duration, Instant};

use super::hostile_server::{
    Ended, GRACE, is_clean, others_are_not_harmed, run, timed_out, with_servers,
};
use crate::support::{Project, hostile_packets::HostilePackets, mock_hosts};

fn project(port: u16, attack: &str) -> Project {
    let good = mock_hosts();
    with_servers(&format!(
        "{attack}@127.0.0.1:{port} evil\n127.0.0.1:{good} web-2\n"
    ))
}

/// Runs a command on both servers. Checks that nothing passes for the other's.
fn attacked(port: u16, attack: &str, seconds: u64) -> Ended {
    let seconds_text = seconds.to_string();
    let line = ["exec", "--all", "-t", &seconds_text, "--", "true"];
    let limit = Duration::from_secs(seconds) + GRACE;
    let ended = run(&project(port, attack), &line, limit);
    is_clean(attack, &ended);
    others_are_not_harmed(attack, &ended);
    ended
}

/// How the command ends on the server.
#[track_caller]
fn ends(port: u16, attack: &str, result: &str) {
    let ended = attacked(port, attack, 15);
    let row = format!("evil   {result}");
    assert!(ended.stderr.contains(&row), "{attack}: {}", ended.stderr);
    // The errors of an end are short, whatever the server says.
    assert!(ended.stderr.len() < 2000, "{attack}: {}", ended.stderr);
    let played = ended
        .stdout
        .lines()
        .any(|line| line.starts_with("[evil] played"));
    assert!(played || result != OK, "{attack}: {}", ended.stdout);
}

/// The command has ended well, and its output is whole.
const OK: &str = "ok ";
const FAILED: &str = "failed ";
/// The connection was given up.
const LOST: &str = "unreachable ";

#[test]
fn messages_that_nobody_asked_for() {
    let server = HostilePackets::start();
    for (attack, result) in [
        ("unknown_requests", OK),
        ("unknown_globals", OK),
        ("host_keys", OK),
        // The server fails if one of them is opened, or not refused once.
        ("opens", OK),
        ("open_nothing", LOST),
        ("absent", OK),
        ("absent_opened", LOST),
        ("streams", OK),
        ("statuses", OK),
        ("after_close", OK),
        ("status_only_after_close", LOST),
        ("signals", FAILED),
        ("replies", OK),
        ("failures", FAILED),
        ("failed_open", FAILED),
        ("opened_again", LOST),
        ("windows", OK),
        ("numbers", OK),
        ("rekeys", OK),
        ("unfinished_rekey", LOST),
        ("goodbye", LOST),
        ("bad_goodbye", LOST),
        ("banners", OK),
    ] {
        for port in [server.unknown, server.openssh] {
            ends(port, attack, result);
        }
    }
}

#[test]
fn broken_messages() {
    let server = HostilePackets::start();
    // All messages of RFC 4254 but those whose meaning is free, and the end of a connection.
    for number in (90..=100).chain([1, 80, 82]) {
        ends(server.unknown, &format!("truncated-{number}"), LOST);
        ends(server.openssh, &format!("lying-{number}"), LOST);
    }
    for name in [
        "exit-status",
        "exit-signal",
        "xon-xoff",
        "keepalive@openssh.com",
    ] {
        ends(server.openssh, &format!("malformed_request-{name}"), LOST);
    }
    // Of a key exchange: its beginning, its end, and what is between.
    ends(server.unknown, "key_exchange-20", LOST);
    for number in [21, 30, 31, 34] {
        ends(server.unknown, &format!("key_exchange-{number}"), OK);
    }
}

#[test]
fn packets_longer_than_agreed() {
    let server = HostilePackets::start();
    for port in [server.unknown, server.openssh, server.compressed] {
        ends(port, "long_data", OK);
    }
    for port in [server.unknown, server.openssh] {
        ends(port, "long_packet", LOST);
    }
    // 200 MiB in a packet of 200 KiB.
    ends(server.compressed, "bomb", LOST);
}

#[test]
fn floods_of_messages() {
    let server = HostilePackets::start();
    for attack in [
        "keepalives",
        "unread_replies",
        "beyond_window",
        "beyond_window_of_others",
        "empty_data",
        "noise",
        "stalled_rekey",
    ] {
        for port in [server.unknown, server.openssh] {
            timed_out(attack, &attacked(port, attack, 2));
        }
    }
}

/// The server takes a large input in packets of nothing.
#[test]
fn input_that_does_not_fit_into_packets() {
    let server = HostilePackets::start();
    let input = vec![b'i'; 64 * 1024 * 1024];
    for port in [server.unknown, server.openssh] {
        let it = project(port, "no_packet_size");
        let started = Instant::now();
        let line = ["exec", "-H", "evil", "-t", "2", "--", "cat"];
        let output = it.pipe(&line, &input);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{stderr}");
        assert!(
            stderr.contains("host `evil`: connection lost while running `cat`"),
            "{stderr}"
        );
        assert!(started.elapsed() < Duration::from_secs(2) + GRACE);
    }
}
