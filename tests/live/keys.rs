//! Authentication and verification: keys, agents, certificates, known hosts, sudo.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use crate::support::foreign_server::{ForeignServer, keygen};

#[test]
fn keys_and_certificates() {
    let it = ForeignServer::new();
    let ip = &it.ip;
    it.config("Host *\n User root\n");
    // No key, and then a key that the server rejects.
    let run = it.exec(ip, "true");
    assert!(
        run.stderr.contains(&format!(
            "authentication failed for root@{ip}:22 (no key found)"
        )),
        "{run}"
    );
    let key = it.ssh("id_ed25519");
    it.new_key("id_ed25519");
    let run = it.exec(ip, "true");
    let tried = format!(
        "authentication failed for root@{ip}:22 (tried {})",
        key.display()
    );
    assert!(run.status == 4 && run.stderr.contains(&tried), "{run}");

    // Accepted because of its certificate.
    let authority = it.ssh("authority");
    let vouches = it.new_key("authority");
    it.inside(&format!("echo '{vouches}' >/etc/ssh/users.pub"));
    it.sshd(2201, "TrustedUserCAKeys=/etc/ssh/users.pub");
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

    // A key that other users can read is not used; a named key that does not exist is an error.
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
             help: set the private key with `--identity`, or with IdentityFile in ~/.ssh/config\n"
        ),
    );
}

/// First without a terminal for the passphrase, then with one, then with the key in an agent.
#[test]
fn an_encrypted_key_and_an_agent() {
    let it = ForeignServer::new();
    let ip = &it.ip;
    it.config("Host *\n User root\n");
    let key = it.ssh("id_ed25519");
    let public = it.new_key("id_ed25519");
    it.inside(&format!("echo '{public}' >>~/.ssh/authorized_keys"));
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
        run.stderr
            .contains("it is encrypted, and there is no terminal"),
        "{run}"
    );
    // With a terminal, the passphrase is asked for once, for all hosts.
    it.sshd(2201, "");
    let other = format!("{ip}:2201");
    let (status, shown) = it.live.answer_on_terminal(
        &["exec", "-H", ip, "-H", &other, "--", "echo in"],
        "Passphrase",
        "sesame",
    );
    assert_eq!(status, 0, "{shown}");
    assert_eq!(shown.matches("Passphrase").count(), 1, "{shown}");
    assert_eq!(shown.matches("] in\n").count(), 2, "{shown}");
    let (status, shown) =
        it.live
            .answer_on_terminal(&["exec", "-H", ip, "--", "true"], "Passphrase", "wrong");
    assert!(status != 0 && !shown.contains("sesame"), "{shown}");
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
    // Programs on the server may use the agent only if it is forwarded.
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
fn host_keys_and_host_certificates() {
    let it = ForeignServer::new();
    let key = it.own_key();
    let (ip, key) = (&it.ip, key.display());
    let all = format!("Host *\n User root\n IdentityFile {key}\n HashKnownHosts no\n");
    it.config(&format!("{all} StrictHostKeyChecking yes\n"));
    let run = it.exec(ip, "true");
    assert!(
        run.status == 4 && run.stderr.contains("unknown host key of"),
        "{run}"
    );

    // A certificate of a recorded certificate authority.
    let authority = it.ssh("authority");
    let vouches = it.new_key("authority");
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
            &format!("HostCertificate=/etc/ssh/host-{port}-cert.pub|HostKey=/etc/ssh/ssh_host_ed25519_key"),
        );
    };
    sign(ip, 2201);
    sign("other.example.com", 2202);
    fs::write(
        it.ssh("known_hosts"),
        format!("@cert-authority * {vouches}\n"),
    )
    .unwrap();
    assert_eq!(it.exec(&format!("{ip}:2201"), "echo in").stdout, "in\n");
    let run = it.exec(&format!("{ip}:2202"), "true");
    assert!(
        run.stderr.contains(&format!("it is not valid for `{ip}`")),
        "{run}"
    );
    // It is not retried.
    assert_eq!(
        it.inside("grep -c '^Connection from' /tmp/sshd-2202.log"),
        "1"
    );

    // A key that is known in one file and revoked in another.
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

/// For a user whom sudo asks for a password.
#[test]
fn sudo_with_a_password() {
    let it = ForeignServer::new();
    let ip = &it.ip;
    it.inside(
        "useradd -m -s /bin/bash ann && echo ann:sesame | chpasswd && \
         echo 'ann ALL=(ALL) ALL' >/etc/sudoers.d/ann && \
         mkdir -p ~ann/.ssh && cp ~/.ssh/authorized_keys ~ann/.ssh/ && chown -R ann ~ann/.ssh",
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
    let ask = |password: &str| {
        let arguments = ["run", "-K", "-H", ip, "who"];
        let (_, shown) = it
            .live
            .answer_on_terminal(&arguments, "sudo password", password);
        shown
    };
    let said = ask("sesame");
    assert!(
        said.contains("root\n0\n") && said.contains("in www-data\n"),
        "{said}"
    );
    let said = ask("wrong");
    assert!(
        said.contains("sudo rejected the password of `ann`"),
        "{said}"
    );
}
