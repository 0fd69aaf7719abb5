//! Reaches hosts as OpenSSH does: by its configuration, through jump hosts and proxy commands.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
};

use crate::support::{
    foreign_server::ForeignServer,
    interrupt,
    live::{Live, docker},
};

#[test]
fn through_two_jump_hosts() {
    let it = ForeignServer::new();
    let key = it.own_key();
    let (ip, key) = (&it.ip, key.display());
    // Three sshds in place of three servers. The last one listens on the loopback address only.
    it.sshd(2201, "");
    it.sshd(2202, "");
    it.sshd(2203, "ListenAddress=127.0.0.1:2203");
    it.config(&format!(
        "Host one\n HostName {ip}\n Port 2201\nHost two\n HostName {ip}\n Port 2202\n ProxyJump one\n\
         Host inner.host\n HostName 127.0.0.1\n Port 2203\n ProxyJump two\n\
         Match host inner.host\n User root\nHost *\n User root\n IdentityFile {key}\n"
    ));
    let run = it.exec("inner.host", "echo $SSH_CONNECTION");
    assert!(run.stdout.ends_with("127.0.0.1 2203\n"), "{run}");
    // Another route, by flag.
    let run = it.live.run(&[
        "exec",
        "-J",
        "one",
        "-H",
        "inner.host",
        "--",
        "echo $SSH_CONNECTION",
    ]);
    assert!(run.stdout.ends_with("127.0.0.1 2203\n"), "{run}");
    // The `ssh` program, as the task `ssh` runs it, takes the same route.
    let run = it.live.run_with_input(
        &["run", "-H", "inner.host", "ssh"],
        "echo $SSH_CONNECTION\n",
    );
    assert!(run.stdout.ends_with("127.0.0.1 2203\n"), "{run}");

    // If the jump host fails, the server is never connected directly.
    it.config(&format!(
        "Host one\n HostName {ip}\n Port 2299\nHost {ip}\n ProxyJump one\nHost *\n User root\n IdentityFile {key}\n"
    ));
    let run = it.exec(ip, "true");
    assert_eq!(run.status, 4, "{run}");
    let refused = format!("error: host `one`: connection refused ({ip}:2299)\n");
    assert_eq!(run.stderr, refused, "{run}");
}

#[test]
fn through_a_proxy_command() {
    let it = ForeignServer::new();
    let key = it.own_key();
    let (ip, key) = (&it.ip, key.display());
    it.config(&format!(
        "Host far.away\n HostName {ip}\n ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3'\n\
         Host far.off\n ProxyCommand sh -c 'echo the tunnel is down >&2; exit 1'\n\
         Host *\n User root\n IdentityFile {key}\n"
    ));
    assert_eq!(it.exec("far.away", "echo there").stdout, "there\n");
    let run = it.exec("far.off", "true");
    assert_eq!(run.status, 4, "{run}");
    assert!(
        run.stderr.contains("ProxyCommand said: the tunnel is down"),
        "{run}"
    );
}

#[test]
fn an_invalid_ssh_configuration() {
    let it = ForeignServer::new();
    it.config("Host *\n  Bogus yes\n");
    let run = it.exec(&it.ip, "true");
    let path = it.ssh("config");
    run.fails(
        2,
        &format!(
            "error: host `{}`: SSH configuration: {}: line 2: Bad configuration option: bogus\n",
            it.ip,
            path.display()
        ),
    );
    it.config("Host *\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let run = it.exec(&it.ip, "true");
    assert!(
        run.status == 2 && run.stderr.contains("other users can write it"),
        "{run}"
    );
}

/// Behind the jump host is an sshd that drops connections from the ninth unauthenticated one on.
#[test]
fn many_hosts_through_one_jump_host() {
    let it = ForeignServer::new();
    let key = it.own_key();
    let (ip, key) = (&it.ip, key.display());
    it.sshd(2201, "MaxStartups=9:100:9");
    let mut hosts = String::new();
    for n in 1..=40 {
        hosts.push_str(&format!("127.0.0.{n} inner-{n}\n"));
    }
    it.live.write("unmanaged_servers.txt", &hosts);
    it.config(&format!(
        "Host bastion\n HostName {ip}\n ProxyJump none\nHost 127.0.0.*\n Port 2201\n ProxyJump bastion\n\
         Host *\n User root\n IdentityFile {key}\n"
    ));
    let run = it
        .live
        .run(&["exec", "-H", "inner-*", "--", "echo in"])
        .ok();
    assert_eq!(run.stdout.matches("] in\n").count(), 40, "{run}");
    // No connection was dropped and retried.
    let count = |what: &str| it.inside(&format!("grep -c '{what}' /tmp/sshd-2201.log || true"));
    assert_eq!(count("Accepted publickey"), "40");
    assert_eq!(count("MaxStartups"), "0");
}

/// Noticed by keepalive messages.
#[test]
fn a_frozen_server() {
    let it = ForeignServer::new();
    let key = it.own_key();
    let ip = &it.ip;
    it.config(&format!(
        "Host *\n User root\n IdentityFile {}\n ServerAliveInterval 1\n",
        key.display()
    ));
    let mut hitc = it
        .live
        .spawn(&["exec", "-H", ip, "--", "echo begun; sleep 600"]);
    let mut begun = [0; 6];
    hitc.stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut begun)
        .unwrap();
    let web = it.live.container("web");
    docker(&["pause", &web]);
    let output = hitc.wait_with_output().unwrap();
    docker(&["unpause", &web]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("connection lost") && said.contains("the server stopped responding"),
        "{said}"
    );
}

/// Dropbear.
#[test]
fn an_ssh_server_other_than_openssh() {
    let it = ForeignServer::new();
    let key = it.own_key();
    let made = it.inside(
        "(apt-get update -qq && apt-get install -qqy dropbear-bin) >/dev/null 2>&1
         mkdir -p /etc/dropbear && dropbear -R -p 2201 && echo ok",
    );
    assert_eq!(made, "ok");
    it.config(&format!(
        "Host drop.bear\n HostName {}\n Port 2201\n User root\n IdentityFile {}\n",
        it.ip,
        key.display()
    ));
    let run = it.exec("drop.bear", "exit 3");
    assert_eq!(run.status, 3, "{run}");
    let run = it.exec("drop.bear", "echo in; echo $((6 * 7)) >&2");
    assert_eq!((run.stdout.as_str(), run.status), ("in\n", 0), "{run}");
    assert!(run.stderr.ends_with("42\n"), "{run}");
    let up = ["run", "-H", "drop.bear", "upload", "from=up", "to=/tmp/up"];
    it.live.write("up", "sent");
    it.live.run(&up).ok();
    assert_eq!(it.inside("cat /tmp/up"), "sent");
    let slow = ["exec", "-t", "1", "-H", "drop.bear", "--", "sleep 4321"];
    it.live.run(&slow).fails(
        124,
        "error: host `drop.bear`: `sleep 4321`: timed out after 1 s\n",
    );
    assert_eq!(it.inside("pgrep -cf 'sleep [4]321' || true"), "0");
}

#[test]
fn an_unresolvable_host_name() {
    let it = ForeignServer::new();
    it.config(&format!(
        "Host *.example.invalid\n ProxyJump none\nHost {}\n ProxyJump gate.example.invalid\n",
        it.ip
    ));
    for (host, to_blame) in [
        ("web.example.invalid", "web.example.invalid"),
        (&it.ip, "gate.example.invalid"),
    ] {
        let run = it.exec(host, "true");
        assert_eq!(run.status, 4, "{run}");
        let said = format!("error: host `{to_blame}`: cannot resolve `{to_blame}`: ");
        assert!(run.stderr.starts_with(&said), "{run}");
        assert_eq!(run.stderr.matches("error: ").count(), 1, "{run}");
    }
}

/// `~/.ssh/config` does not apply to the servers that hitc creates on the local machine.
#[test]
fn the_ssh_configuration_is_ignored_for_local_servers() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    fs::create_dir_all(live.home().join(".ssh")).unwrap();
    let config = live.home().join(".ssh/config");
    fs::write(
        config,
        "Host *\n ProxyCommand false\n User nobody\n Port 1\n",
    )
    .unwrap();
    let exec = ["exec", "-H", "web", "--", "id -un"];
    assert_eq!(live.run(&exec).ok().stdout, "root\n");
    let ssh = live.run_with_input(&["run", "-H", "web", "ssh"], "id -un\n");
    assert!(ssh.stdout.ends_with("root\n"), "{ssh}");
}

/// `ssh`, `ping`, `forward`, and `-v`.
#[test]
fn connection_tasks() {
    let it = ForeignServer::new();
    let key = it.own_key();
    let ip = &it.ip;
    it.config(&format!(
        "Host *\n User root\n IdentityFile {}\n",
        key.display()
    ));
    it.live.write(
        "unmanaged_servers.txt",
        &format!("{ip} here\n{ip}:2299 gone\n"),
    );
    let run = it
        .live
        .run(&["run", "-H", "here", "ssh", "echo $((6 * 7)); exit 3"]);
    assert_eq!((run.status, run.stdout.as_str()), (1, "42\n"), "{run}");
    let run = it.live.run(&["run", "-H", "here", "-H", "gone", "ping"]);
    assert_eq!(run.status, 4, "{run}");
    assert!(
        run.stdout.contains("here") && run.stderr.contains("gone"),
        "{run}"
    );

    // Forwards a local port to a port of the server, until Ctrl-C.
    let mut forward = it.live.spawn(&["run", "-H", "here", "forward", "0", "22"]);
    let mut said = BufReader::new(forward.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("forwarding ") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0);
    }
    let address = line
        .trim_start_matches("forwarding ")
        .split(" to ")
        .next()
        .unwrap();
    let mut banner = [0; 8];
    let mut stream = TcpStream::connect(address).unwrap();
    stream.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
    interrupt(&forward);
    assert_eq!(forward.wait().unwrap().code(), Some(130));

    // A client of a closed port is the only one to notice: hitc says why.
    let mut forward = it.live.spawn(&["run", "-H", "here", "forward", "0", "1"]);
    let mut said = BufReader::new(forward.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = line
        .trim_start_matches("forwarding ")
        .split(" to ")
        .next()
        .unwrap();
    assert_eq!(
        TcpStream::connect(address)
            .unwrap()
            .read(&mut banner)
            .unwrap_or(0),
        0
    );
    line.clear();
    said.read_line(&mut line).unwrap();
    assert!(
        line.starts_with("warning: host `here`: the server refused "),
        "{line}"
    );
    interrupt(&forward);
    forward.wait().unwrap();

    let run = it
        .live
        .run(&["exec", "-v", "-H", "here", "--", "true"])
        .ok();
    assert!(
        run.stderr.contains("here: `true`: exit status 0 after "),
        "{run}"
    );
    assert_eq!(it.live.run(&["run", "uncache"]).ok().stdout, "");
}
