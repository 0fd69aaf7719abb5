//! A server that does everything it can after it has accepted the login. hitc must end within its time
//! limit and little memory, and no line of its output may pass for another host's.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::support::{Project, cut_after, hostile_hosts, mock_hosts, sshd_that_babbles};

/// The memory that hitc may use. Two fifths of it are the program itself, without optimization.
const MEMORY: u64 = 100 * 1024 * 1024;

/// How long hitc may take beyond `--timeout`: it ends the command on the server in 12 s.
pub(super) const GRACE: Duration = Duration::from_secs(20);

/// How a run ended.
pub(super) struct Ended {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A project with the server `evil`, whose login user chooses the attack, and with `web-2`, which is good.
pub(super) fn project(attack: &str) -> Project {
    let evil = format!("{attack}@127.0.0.1:{}", hostile_hosts());
    with_servers(&format!("{evil} evil\n127.0.0.1:{} web-2\n", mock_hosts()))
}

/// A project with these servers, and a key.
pub(super) fn with_servers(lines: &str) -> Project {
    let project = Project::new().file("unmanaged_servers.txt", lines);
    let ssh = project.home().join(".ssh");
    fs::create_dir_all(&ssh).unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(ssh.join("id_ed25519"))
        .status();
    assert!(made.unwrap().success());
    fs::write(ssh.join("config"), "Host *\n  ConnectTimeout 1\n").unwrap();
    project
}

/// The most memory that a process has used so far, in bytes.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Runs hitc. Checks each line of its output, of which it keeps the first.
pub(super) fn run(project: &Project, arguments: &[&str], limit: Duration) -> Ended {
    let started = Instant::now();
    let mut child = project.spawn(arguments);
    // Keeps all lines but those of an endless output.
    let read = |pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let (mut pipe, mut kept) = (BufReader::new(pipe), Vec::new());
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
                if kept.len() < 1024 * 1024 || !line.starts_with(b"[evil] ") {
                    kept.append(&mut line);
                }
                line.clear();
            }
            String::from_utf8_lossy(&kept).into_owned()
        })
    };
    let stdout = read(Box::new(child.stdout.take().unwrap()));
    let stderr = read(Box::new(child.stderr.take().unwrap()));
    let mut memory = 0;
    let status = loop {
        memory = memory.max(peak(&child).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "{arguments:?}: no end after {limit:?}: {}",
                stderr.join().unwrap()
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let ended = Ended {
        status: status.code().unwrap_or(-1),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    };
    assert!(memory < MEMORY, "{arguments:?}: {memory} bytes of memory");
    ended
}

/// Runs `hitc exec` on both servers under an attack.
fn attacked(attack: &str, style: &str) -> Ended {
    let line = ["exec", "--all", "-t", "2", "-o", style, "--", "true"];
    run(&project(attack), &line, Duration::from_secs(2) + GRACE)
}

/// Checks that nothing controls the terminal, and that only what `web-2` said has its name.
#[track_caller]
pub(super) fn is_clean(attack: &str, ended: &Ended) {
    for (text, of_commands) in [(&ended.stdout, true), (&ended.stderr, false)] {
        let controls = |c: char| {
            c.is_control() && c != '\n'
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
                || "\u{2028}\u{2029}".contains(c)
        };
        assert!(!text.contains(controls), "{attack}: {text:?}");
        for line in text.lines().filter(|_| of_commands) {
            let of_evil = line.starts_with("[evil] ") || line.starts_with("  ");
            let is_good = ["[web-2] played", "web-2:", "evil:", "2 hosts: evil, web-2"];
            assert!(of_evil || is_good.contains(&line), "{attack}: {line:?}");
        }
    }
    let played = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("[web-2]"));
    let stderr = &ended.stderr[..ended.stderr.len().min(2000)];
    assert_eq!(played.count(), 1, "{attack}: {stderr}");
}

/// What no attack may cost: the other host.
#[track_caller]
pub(super) fn others_are_not_harmed(attack: &str, ended: &Ended) {
    let row = |line: &&str| line.starts_with("web-2 ") && line.contains(" ok ");
    assert_eq!(
        ended.stderr.lines().filter(row).count(),
        1,
        "{attack}: {}",
        ended.stderr
    );
}

/// Checks that the command took too long, and that the error says so.
#[track_caller]
pub(super) fn timed_out(attack: &str, ended: &Ended) {
    assert!(ended.status != 0, "{attack}");
    assert!(
        ended.stderr.contains("`true`: timed out after 2 s"),
        "{attack}: {}",
        ended.stderr
    );
}

#[test]
fn endless_output() {
    for attack in [
        "lines",
        "one-line",
        "stderr",
        "binary",
        "bytes",
        "unknown-stream",
    ] {
        let ended = attacked(attack, "prefix");
        is_clean(attack, &ended);
        others_are_not_harmed(attack, &ended);
        timed_out(attack, &ended);
    }
    // Held back, in a file; and kept, for the script.
    timed_out("group", &attacked("lines", "group"));
    let script = "/// A.\nfn a(host) { host.run(\"true\"); }\n";
    for attack in ["lines", "stderr", "binary"] {
        let it = project(attack).file("hitcfile.rhai", script);
        let ended = run(
            &it,
            &["-H", "evil", "-t", "20", "a"],
            Duration::from_secs(20) + GRACE,
        );
        assert_eq!(ended.status, 1, "{attack}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("output larger than 16 MiB"),
            "{attack}: {}",
            ended.stderr
        );
    }
}

/// Instead of the prompt of sudo.
#[test]
fn endless_output_before_a_command_of_sudo() {
    let it = project("lines").file(
        "hitcfile.rhai",
        "/// A.\nfn a(host) { host.sudo(\"true\"); }\n",
    );
    let line = ["-K", "-H", "evil", "-t", "30", "a"];
    let (status, shown) = it.answer_on_terminal(&line, "assword", "sesame");
    assert_eq!(status, 1, "{shown}");
    let error = "more than 256 KiB of output before sudo started the command";
    assert!(shown.contains(error), "{shown}");
}

#[test]
fn output_on_a_channel_that_nobody_reads() {
    let script = "/// A.\nfn a(host) { for n in 0..5 { host.run(\"true\"); } time::sleep(2); \
                  host.run(\"true\"); }\n";
    let it = project("unread").file("hitcfile.rhai", script);
    let ended = run(&it, &["-H", "evil", "a"], GRACE);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
}

#[test]
fn forged_lines() {
    let style_of = |style: &str| {
        let ended = attacked("forged", style);
        assert_eq!(ended.status, 1, "{}", ended.stderr);
        ended
    };
    let ended = style_of("prefix");
    is_clean("prefix", &ended);
    others_are_not_harmed("prefix", &ended);
    for style in ["group", "fold"] {
        let ended = style_of(style);
        // Only headings begin at the margin.
        let headings = ended.stdout.lines().filter(|line| !line.starts_with("  "));
        let mut headings: Vec<&str> = headings.collect();
        headings.sort_unstable();
        assert_eq!(headings, ["evil:", "web-2:"], "{}", ended.stdout);
        others_are_not_harmed(style, &ended);
    }
    let json = style_of("json");
    let of_good = json.stdout.lines().filter(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["event"] == "output" && event["host"] == "web-2"
    });
    assert_eq!(of_good.count(), 1, "{}", json.stdout);
    // What a script prints of it, in the reason of a disconnect, and with `-v`.
    let script = "/// A.\nfn a(host) { print(host.try_run(\"true\").stdout); }\n";
    let it = project("forged").file("hitcfile.rhai", script);
    let ended = run(&it, &["--all", "-v", "a"], GRACE);
    is_clean("print", &ended);
    let ended = attacked("forged-goodbye", "prefix");
    is_clean("forged-goodbye", &ended);
}

/// Whatever else it sends, the command ends as the server says, or the connection is lost.
#[test]
fn messages_that_were_not_asked_for() {
    for (attack, result) in [
        ("streams", "ok"),
        ("debug", "ok"),
        ("requests", "ok"),
        ("opens", "ok"),
        ("two-ends", "failed"),
        ("no-end", "unreachable"),
        ("goodbye", "unreachable"),
        ("huge-packet", "unreachable"),
        ("huge-signal", "failed"),
        ("refused", "failed"),
    ] {
        let line = ["exec", "--all", "-t", "15", "--", "true"];
        let ended = run(&project(attack), &line, Duration::from_secs(15) + GRACE);
        is_clean(attack, &ended);
        others_are_not_harmed(attack, &ended);
        let row = format!("evil   {result}");
        assert!(ended.stderr.contains(&row), "{attack}: {}", ended.stderr);
    }
}

#[test]
fn a_server_that_stalls() {
    for attack in ["silent", "no-close", "closed"] {
        let ended = attacked(attack, "prefix");
        others_are_not_harmed(attack, &ended);
        timed_out(attack, &ended);
    }
    // It reads nothing more of a large input.
    let it = project("no-window");
    let started = Instant::now();
    let input = vec![b'i'; 64 * 1024 * 1024];
    let output = it.pipe(&["exec", "-H", "evil", "-t", "2", "--", "cat"], &input);
    assert_eq!(
        output.status.code(),
        Some(124),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(started.elapsed() < Duration::from_secs(2) + GRACE);
}

/// The connection is closed after so many bytes of the server: at every point of the session.
#[test]
fn a_close_at_every_point() {
    let to = hostile_hosts();
    let (mut bytes, mut ends) = (0, Vec::new());
    loop {
        let it = with_servers(&format!(
            "root@127.0.0.1:{} evil\n",
            cut_after(to, bytes, false)
        ));
        let ended = run(&it, &["exec", "-H", "evil", "-t", "5", "--", "true"], GRACE);
        ends.push(ended.status);
        assert!([0, 4].contains(&ended.status), "{bytes}: {}", ended.stderr);
        if ended.status == 0 {
            break;
        }
        bytes += 173;
        assert!(bytes < 16 * 1024, "{}", ended.stderr);
    }
    assert!(ends.len() > 8, "{ends:?}");
    // The last messages, one by one.
    let mut is_lost_after_output = false;
    for less in (1..256).step_by(16) {
        let port = cut_after(to, bytes.saturating_sub(less), false);
        let it = with_servers(&format!("root@127.0.0.1:{port} evil\n"));
        let ended = run(&it, &["exec", "-H", "evil", "-t", "5", "--", "true"], GRACE);
        assert!([0, 4].contains(&ended.status), "{less}: {}", ended.stderr);
        is_lost_after_output |= ended.status == 4 && ended.stdout == "played\n";
    }
    // Between the output and the exit status.
    assert!(is_lost_after_output);
    for part in [0, 1, 2, 3] {
        let port = cut_after(to, bytes * part / 4, true);
        let it = with_servers(&format!("root@127.0.0.1:{port} evil\n"));
        let ended = run(&it, &["exec", "-H", "evil", "-t", "2", "--", "true"], GRACE);
        assert!([4, 124].contains(&ended.status), "{part}: {}", ended.stderr);
    }
}

#[test]
fn a_server_that_does_not_speak_ssh() {
    const ENDLESS: &[u8] = &[b'x'; 4096];
    for (first, bytes) in [
        (&b""[..], ENDLESS),
        (b"", b"no SSH here\r\n"),
        (b"SSH-2.0-x\r\n", ENDLESS),
        // The length of a packet, and what it may contain.
        (b"SSH-2.0-x\r\n", &[0xff; 4096]),
        (b"SSH-2.0-x\r\n\x00\x00\x7f\xff", &[0; 4096]),
    ] {
        let port = sshd_that_babbles(first, bytes);
        let it = with_servers(&format!("root@127.0.0.1:{port} evil\n"));
        let ended = run(
            &it,
            &["exec", "-H", "evil", "-t", "2", "--", "true"],
            3 * GRACE,
        );
        assert_eq!(ended.status, 4, "{}", ended.stderr);
    }
}
