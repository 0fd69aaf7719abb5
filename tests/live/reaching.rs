//! Reaching hosts as OpenSSH does: jumps, agents, certificates, known hosts, sudo.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::live::{Live, docker};

/// A server, known to hitc by its address only, as one that somebody else has made.
struct Stranger {
    live: Live,
    ip: String,
}

impl Stranger {
    fn new() -> Self {
        let live = Live::new();
        live.run(&["run", "create", "name=web"]).ok();
        let ip = live.ip("web");
        // From now on nobody knows where it comes from.
        let live = live.env("HITC_NAME_PREFIX", "NONE-");
        fs::create_dir_all(live.home().join(".ssh")).unwrap();
        Stranger { live, ip }
    }

    fn ssh(&self, name: &str) -> PathBuf {
        self.live.home().join(".ssh").join(name)
    }

    /// Hitc's own key, which the server admits.
    fn own_key(&self) -> PathBuf {
        self.live.home().join(".local/share/hitc/id_ed25519")
    }

    fn config(&self, text: &str) {
        fs::write(self.ssh("config"), text).unwrap();
    }

    /// Runs a line of shell on the server, whatever its sshd admits.
    fn inside(&self, line: &str) -> String {
        docker(&["exec", &self.live.container("web"), "sh", "-c", line])
    }

    /// Another sshd on the server, with options of its own, on this port.
    fn sshd(&self, port: u16, options: &str) {
        let options: String = options
            .split('|')
            .map(|option| format!(" -o '{option}'"))
            .collect();
        self.inside(&format!("/usr/sbin/sshd -p {port}{options}"));
    }

    fn exec(&self, host: &str, line: &str) -> crate::support::Run {
        self.live.run(&["exec", "-H", host, "--", line])
    }
}

fn keygen(arguments: &[&str]) {
    let done = Command::new("ssh-keygen").args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn public(key: &Path) -> String {
    fs::read_to_string(key.with_extension("pub"))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn through_two_bastions() {
    let it = Stranger::new();
    let key = it.own_key();
    let (ip, key) = (&it.ip, key.display());
    // Three servers in a row: each sshd is one, and the last one is reached by its inner address
    // only.
    it.sshd(2201, "PidFile=none");
    it.sshd(2202, "PidFile=none");
    it.sshd(2203, "PidFile=none|ListenAddress=127.0.0.1:2203");
    it.config(&format!(
        "Host one\n HostName {ip}\n Port 2201\nHost two\n HostName {ip}\n Port 2202\n ProxyJump one\n\
         Host inner.host\n HostName 127.0.0.1\n Port 2203\n ProxyJump two\n\
         Match host inner.host\n User root\nHost *\n User root\n IdentityFile {key}\n"
    ));
    let run = it.exec("inner.host", "echo $SSH_CONNECTION");
    assert!(run.stdout.ends_with("127.0.0.1 2203\n"), "{run}");
    // Another way there, by flag.
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
    // The system's ssh, as `hitc ssh` calls it, goes the same way.
    let run = it.live.run_with_input(
        &["run", "-H", "inner.host", "ssh"],
        "echo $SSH_CONNECTION\n",
    );
    assert!(run.stdout.ends_with("127.0.0.1 2203\n"), "{run}");

    // A jump that fails is an error, and never a direct dial.
    it.config(&format!(
        "Host one\n HostName {ip}\n Port 2299\nHost {ip}\n ProxyJump one\nHost *\n User root\n IdentityFile {key}\n"
    ));
    let run = it.exec(ip, "true");
    assert_eq!(run.status, 4, "{run}");
    let refused = format!("error: host `one`: connection refused ({ip}:2299)\n");
    assert_eq!(run.stderr, refused, "{run}");
}

#[test]
fn through_a_command() {
    let it = Stranger::new();
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
fn keys_of_all_kinds() {
    let it = Stranger::new();
    let ip = &it.ip;
    it.config("Host *\n User root\n");
    // No key at all, and then one that is not admitted.
    let run = it.exec(ip, "true");
    assert!(
        run.stderr
            .contains("accepts none of our keys (there is none)"),
        "{run}"
    );
    let key = it.ssh("id_ed25519");
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
    let run = it.exec(ip, "true");
    let tried = format!("accepts none of our keys ({})", key.display());
    assert!(run.status == 4 && run.stderr.contains(&tried), "{run}");

    // Admitted by a certificate.
    let authority = it.ssh("authority");
    keygen(&[
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-f",
        authority.to_str().unwrap(),
    ]);
    it.inside(&format!(
        "echo '{}' >/etc/ssh/users.pub",
        public(&authority)
    ));
    it.sshd(2201, "TrustedUserCAKeys=/etc/ssh/users.pub|PidFile=none");
    let sign = [
        "-q",
        "-s",
        authority.to_str().unwrap(),
        "-I",
        "me",
        "-n",
        "root",
    ];
    keygen(&[&sign[..], &[key.with_extension("pub").to_str().unwrap()]].concat());
    assert_eq!(it.exec(&format!("{ip}:2201"), "echo in").stdout, "in\n");
    fs::remove_file(it.ssh("id_ed25519-cert.pub")).unwrap();

    // One that others can read is not used; one that was named and is not there is an error.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let run = it.exec(ip, "true");
    assert!(run.stderr.contains("chmod 600"), "{run}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let run = it
        .live
        .run(&["exec", "-H", ip, "-i", "/no/key", "--", "true"]);
    run.fails(
        4,
        &format!(
            "error: host `{ip}`: key `/no/key`: no such file or directory\n\
             help: name the right key with `--identity` or in ~/.ssh/config\n"
        ),
    );
}

/// Nobody is there to type the passphrase, and then the agent has it.
#[test]
fn an_encrypted_key_and_an_agent() {
    let it = Stranger::new();
    let ip = &it.ip;
    it.config("Host *\n User root\n");
    let key = it.ssh("id_ed25519");
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
    it.inside(&format!(
        "echo '{}' >>/root/.ssh/authorized_keys",
        public(&key)
    ));
    assert_eq!(it.exec(ip, "echo in").stdout, "in\n");
    keygen(&[
        "-q",
        "-p",
        "-N",
        "sesame",
        "-P",
        "",
        "-f",
        key.to_str().unwrap(),
    ]);
    let run = it.exec(ip, "true");
    assert!(
        run.stderr.contains("it is encrypted, and nobody is there"),
        "{run}"
    );
    let socket = it.ssh("agent");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a", socket.to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let askpass = it.ssh("askpass");
    fs::write(&askpass, "#!/bin/sh\necho sesame\n").unwrap();
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
    while !socket.exists() {
        std::thread::yield_now();
    }
    let added = Command::new("ssh-add")
        .arg(&key)
        .env("SSH_AUTH_SOCK", &socket)
        .env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    it.config(&format!(
        "Host *\n User root\n IdentityAgent {}\n",
        socket.display()
    ));
    assert_eq!(it.exec(ip, "echo in").stdout, "in\n");
    // Programs there may use it, if that is wished for.
    let line = "ssh-add -l 2>&1 | grep -c ED25519";
    assert_eq!(
        it.live.run(&["exec", "-A", "-H", ip, "--", line]).stdout,
        "1\n"
    );
    assert_eq!(it.live.run(&["exec", "-H", ip, "--", line]).stdout, "0\n");
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn host_keys() {
    let it = Stranger::new();
    let key = it.own_key();
    let (ip, key) = (&it.ip, key.display());
    let all = format!("Host *\n User root\n IdentityFile {key}\n HashKnownHosts no\n");
    it.config(&format!("{all} StrictHostKeyChecking yes\n"));
    let run = it.exec(ip, "true");
    assert!(
        run.status == 4 && run.stderr.contains("has a key that is not on record"),
        "{run}"
    );

    // A certificate of an authority that is on record.
    let authority = it.ssh("authority");
    keygen(&[
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-f",
        authority.to_str().unwrap(),
    ]);
    let host_key = it.ssh("host.pub");
    fs::write(
        &host_key,
        it.inside("cat /etc/ssh/ssh_host_ed25519_key.pub") + "\n",
    )
    .unwrap();
    let sign = |principal: &str, port: u16| {
        let authority = authority.to_str().unwrap();
        let host_key = host_key.to_str().unwrap();
        keygen(&[
            "-q", "-s", authority, "-I", "web", "-h", "-n", principal, host_key,
        ]);
        let certificate = fs::read_to_string(it.ssh("host-cert.pub")).unwrap();
        it.inside(&format!(
            "echo '{}' >/etc/ssh/host-{port}-cert.pub",
            certificate.trim()
        ));
        it.sshd(
            port,
            &format!("HostCertificate=/etc/ssh/host-{port}-cert.pub|HostKey=/etc/ssh/ssh_host_ed25519_key|PidFile=none"),
        );
    };
    sign(ip, 2201);
    sign("other.example.com", 2202);
    fs::write(
        it.ssh("known_hosts"),
        format!("@cert-authority * {}\n", public(&authority)),
    )
    .unwrap();
    assert_eq!(it.exec(&format!("{ip}:2201"), "echo in").stdout, "in\n");
    let run = it.exec(&format!("{ip}:2202"), "true");
    assert!(
        run.stderr.contains(&format!("it is not for `{ip}`")),
        "{run}"
    );

    // Revoked, wherever that stands.
    let known = fs::read_to_string(&host_key).unwrap();
    fs::write(it.ssh("revoked"), format!("@revoked * {known}")).unwrap();
    fs::write(it.ssh("known_hosts"), format!("{ip} {known}")).unwrap();
    it.config(&format!(
        "{all} UserKnownHostsFile {} {}\n",
        it.ssh("known_hosts").display(),
        it.ssh("revoked").display()
    ));
    let run = it.exec(ip, "true");
    assert!(
        run.status == 4 && run.stderr.contains("is revoked"),
        "{run}"
    );
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let it = Stranger::new();
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
        run.status == 2 && run.stderr.contains("others can write it"),
        "{run}"
    );
}

/// A user whom sudo asks for a password.
#[test]
fn sudo_with_a_password() {
    let it = Stranger::new();
    let ip = &it.ip;
    it.inside(
        "useradd -m -s /bin/bash ann && echo ann:sesame | chpasswd && \
         echo 'ann ALL=(ALL) ALL' >/etc/sudoers.d/ann && \
         mkdir -p ~ann/.ssh && cp /root/.ssh/authorized_keys ~ann/.ssh/ && chown -R ann ~ann/.ssh",
    );
    let key = it.own_key();
    it.config(&format!(
        "Host *\n User ann\n IdentityFile {}\n",
        key.display()
    ));
    it.live.write(
        "hitcfile.rhai",
        "/// W.\n/// @readonly\nfn who(host) {\n  print(host.sudo(\"id -un; ps -ef | grep -c '[s]esame' || true\"));\n  \
         print(host.run(\"cat; id -un\", #{ user: \"www-data\", stdin: \"in \" }));\n}\n",
    );
    let run = it.live.run(&["run", "-H", ip, "who"]);
    assert_eq!(run.status, 1, "{run}");
    assert!(run.stderr.contains("a password is required"), "{run}");
    assert!(run.stderr.contains("--ask-sudo-pass"), "{run}");
    let hitc = env!("CARGO_BIN_EXE_hitc");
    // On a terminal of its own, which `script` makes.
    let ask = |password: &str| {
        let mut child = Command::new("script")
            .args(["-qec", &format!("{hitc} run -K -H {ip} who"), "/dev/null"])
            .current_dir(it.live.root())
            .env("HOME", it.live.home())
            .env("HITC_NAME_PREFIX", "NONE-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut said = String::new();
        let mut buffer = [0; 1024];
        // What is typed before the question is thrown away.
        let mut asked = false;
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if !asked && said.contains("Password for sudo") {
                asked = true;
                stdin.write_all(format!("{password}\n").as_bytes()).unwrap();
            }
        }
        child.wait().unwrap();
        said.replace('\r', "")
    };
    let said = ask("sesame");
    assert!(
        said.contains("root\n0\n") && said.contains("in www-data\n"),
        "{said}"
    );
    let said = ask("wrong");
    assert!(
        said.contains("sudo does not accept the password of `ann`"),
        "{said}"
    );
}
