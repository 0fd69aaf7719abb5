//! Setting Docker up on vanilla servers: distributions, packages, safe defaults, a disk of its own.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{Run, live::Live};

fn server(image: &str) -> Live {
    let live = Live::new();
    let image = format!("image={image}");
    live.run(&["run", "create", "name=web", &image]).ok();
    live
}

fn on_server(live: &Live, line: &str) -> String {
    let words = ["exec", "-H", "web", "-o", "raw", "--", line];
    live.run(&words).ok().stdout.trim().to_owned()
}

fn set_up(live: &Live, options: &[&str]) -> Run {
    live.run(&[&["run", "-H", "web", "docker.setup"], options].concat())
}

/// An empty block device of the server, backed by a file. It would outlive the server: dropping it
/// detaches it.
struct Disk {
    server: String,
    device: String,
}

impl Disk {
    fn new(live: &Live) -> Self {
        // Other tests use the numbers below.
        let line = "truncate -s 200M /disk && for n in $(seq 2000 2100); do \
                    [ -b /dev/loop$n ] || mknod /dev/loop$n b 7 $n; \
                    losetup /dev/loop$n /disk 2>/dev/null && echo /dev/loop$n && break; done";
        let device = on_server(live, line);
        assert!(device.starts_with("/dev/loop"), "{device}");
        let server = live.container("web");
        Disk { server, device }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let line = format!(
            "kill $(cat /var/run/docker.pid); while pgrep dockerd; do sleep 0.1; done; \
             umount -l /var/lib/docker; losetup -d {}",
            self.device
        );
        let arguments = ["exec", &self.server, "sh", "-c", &line];
        let _ = Command::new("docker").args(arguments).output();
    }
}

fn is_ready(live: &Live) {
    let config = on_server(live, "cat /etc/docker/daemon.json");
    assert_eq!(
        config,
        r#"{"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}, "live-restore": true}"#
    );
    let form = "{{.LoggingDriver}} {{.LiveRestoreEnabled}}";
    assert_eq!(
        on_server(live, &format!("docker info -f '{form}'")),
        "json-file true"
    );
    let again = set_up(live, &["log_rotation=false"]).ok();
    assert!(again.stderr.contains("web: Docker is ready"), "{again}");
    assert_eq!(on_server(live, "cat /etc/docker/daemon.json"), config);
}

#[test]
fn ubuntu_from_nothing() {
    let live = server("ubuntu-24.04-bare");
    let release = on_server(&live, ". /etc/os-release; echo $ID $VERSION_ID");
    assert_eq!(release, "ubuntu 24.04");
    let done = set_up(&live, &[]).ok();
    assert!(done.stderr.contains("web: Docker is installed"), "{done}");
    is_ready(&live);
}

/// Another process holds apt's locks at first; a disk of the server takes Docker's data.
#[test]
fn debian_with_a_disk_and_a_busy_apt() {
    let live = server("debian-12-bare");
    let disk = Disk::new(&live);
    let device = &disk.device;
    on_server(&live, "umount /var/lib/docker 2>/dev/null; true");
    let hold = "use Fcntl; for my $p (qw(/var/lib/apt/lists/lock /var/lib/dpkg/lock-frontend)) { \
                open(my $f, q(>>), $p) or die $!; \
                my $lock = pack(q(ssx4qqlx4), F_WRLCK, 0, 0, 0, 0); \
                fcntl($f, F_SETLK, $lock) or die $!; push @f, $f } \
                $| = 1; print qq(held\n); sleep 8";
    let hold = format!("perl -e '{hold}' >/tmp/held 2>&1 & sleep 1; cat /tmp/held");
    assert_eq!(on_server(&live, &hold), "held");
    let mount = format!("docker_mount={device}");
    let started = Instant::now();
    let done = set_up(&live, &[&mount]).ok();
    assert!(started.elapsed() > Duration::from_secs(6), "{done}");
    assert!(done.stderr.contains("web: Docker is installed"), "{done}");
    is_ready(&live);
    let source = on_server(&live, "findmnt -nro SOURCE,FSTYPE -M /var/lib/docker");
    assert_eq!(source, format!("{device} ext4"));
    let uuid = on_server(&live, &format!("blkid -p -o value -s UUID {device}"));
    let entry = format!("UUID={uuid} /var/lib/docker auto defaults,nofail 0 2");
    assert_eq!(on_server(&live, "grep docker /etc/fstab"), entry);
    let again = set_up(&live, &[&mount]).ok();
    assert!(again.stderr.contains("web: Docker is ready"), "{again}");
    assert_eq!(on_server(&live, "grep -c docker /etc/fstab"), "1");
    let other = set_up(&live, &["docker_mount=/dev/loop-missing"]);
    assert_eq!(other.status, 1);
    assert!(
        other.stderr.contains("device /dev/loop-missing not found"),
        "{other}"
    );
}

/// A running engine is moved to the disk only if nothing is lost, and a disk with data is not
/// formatted.
#[test]
fn a_disk_for_a_running_engine() {
    let live = server("debian-13").web_server("app");
    on_server(&live, "umount /var/lib/docker");
    set_up(&live, &["live_restore=false"]).ok();
    let config = on_server(&live, "cat /etc/docker/daemon.json");
    assert!(!config.contains("live-restore"), "{config}");
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"app\")) }\n",
    );
    let image = live.run(&["run", "build"]).ok().stdout.trim().to_owned();
    live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    live.run(&["run", "-H", "web", "docker.run", &image, "name=app"])
        .ok();
    let disk = Disk::new(&live);
    let device = &disk.device;
    let mount = format!("docker_mount={device}");

    let refused = set_up(&live, &[&mount]);
    assert_eq!(refused.status, 1);
    let expected = "the engine has containers, which would be left on the old disk";
    assert!(refused.stderr.contains(expected), "{refused}");
    assert_eq!(on_server(&live, "docker ps -q | wc -l"), "1");

    // Data that is not a file system is not overwritten, and the engine runs on.
    on_server(&live, &format!("mkswap {device}"));
    let swap = on_server(&live, "sha256sum /disk");
    let refused = set_up(&live, &[&mount, "force=true"]);
    assert_eq!(refused.status, 1);
    let expected = "contains data that is not a file system";
    assert!(refused.stderr.contains(expected), "{refused}");
    assert_eq!(on_server(&live, "sha256sum /disk"), swap);
    assert_eq!(on_server(&live, "docker ps -q | wc -l"), "1");

    // What is on the disk stays there.
    on_server(
        &live,
        &format!("printf data | dd of={device} conv=notrunc status=none"),
    );
    on_server(&live, "docker rm -f app");
    let e2fsprogs = "command -v mkfs.ext4 || { apt-get update -qq && apt-get install -qqy e2fsprogs; } >/tmp/log";
    on_server(&live, e2fsprogs);
    let before = on_server(&live, "sha256sum /disk");
    on_server(
        &live,
        &format!("mkfs.ext4 -q {device}; mount {device} /mnt; echo kept >/mnt/file; umount /mnt"),
    );
    assert_ne!(on_server(&live, "sha256sum /disk"), before);
    set_up(&live, &[&mount]).ok();
    assert_eq!(on_server(&live, "cat /var/lib/docker/file"), "kept");
    assert_eq!(
        on_server(&live, "ls -d /var/lib/docker.before-* | wc -l"),
        "1"
    );
    assert_eq!(on_server(&live, "docker images -q | wc -l"), "0");
}

/// A disk that cannot be mounted changes nothing: neither if that is seen at once, nor if the data was
/// moved away already.
#[test]
fn a_disk_that_cannot_be_mounted() {
    let live = server("debian-13").web_server("app");
    on_server(&live, "umount /var/lib/docker");
    live.write(
        "hitcfile.rhai",
        "/// B.\nfn build() { print(docker::build(\"app\")) }\n",
    );
    let image = live.run(&["run", "build"]).ok().stdout.trim().to_owned();
    set_up(&live, &[]).ok();
    live.run(&["run", "-H", "web", "docker.push", &image]).ok();
    live.run(&["run", "-H", "web", "docker.run", &image, "name=app"])
        .ok();
    let disk = Disk::new(&live);
    let device = &disk.device;
    let mount = format!("docker_mount={device}");
    let e2fsprogs = "command -v mkfs.ext4 || { apt-get update -qq && apt-get install -qqy e2fsprogs; } >/tmp/log";
    on_server(&live, e2fsprogs);
    let engine = || on_server(&live, "cat /var/run/docker.pid; docker ps --no-trunc -q");
    let left = "ls -d /var/lib/docker.before-* 2>/dev/null; grep docker /etc/fstab; \
                findmnt -nro TARGET -M /var/lib/docker; true";

    // Its file system is larger than the disk.
    let shrink = format!("mkfs.ext4 -q {device} && truncate -s 100M /disk && losetup -c {device}");
    on_server(&live, &shrink);
    let before = engine();
    let failed = set_up(&live, &[&mount, "force=true"]);
    assert_eq!(failed.status, 1, "{failed}");
    let expected = format!("{device} could not be mounted\n");
    assert!(failed.stderr.contains(&expected), "{failed}");
    assert_eq!(engine(), before);
    assert_eq!(on_server(&live, left), "");

    // The second time, mount fails.
    let grow = format!("truncate -s 200M /disk && losetup -c {device} && mkfs.ext4 -qF {device}");
    on_server(&live, &grow);
    let failing = "printf '#!/bin/sh\\ncase $2 in /var/lib/docker) exit 32 ;; esac\\nexec /usr/bin/mount \"$@\"\\n' \
                   >/usr/local/sbin/mount && chmod +x /usr/local/sbin/mount";
    on_server(&live, failing);
    let failed = set_up(&live, &[&mount, "force=true"]);
    assert_eq!(failed.status, 1, "{failed}");
    let expected = format!(
        "{device} could not be mounted on /var/lib/docker; the data of the engine is where it was\n"
    );
    assert!(failed.stderr.contains(&expected), "{failed}");
    let containers = |engine: String| {
        engine
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_ne!(engine(), before);
    assert_eq!(containers(engine()), containers(before));
    assert_eq!(on_server(&live, left), "");
}

#[test]
fn dockers_own_repository_out_of_reach() {
    let live = server("debian-13-bare");
    on_server(&live, "echo 127.0.0.9 download.docker.com >>/etc/hosts");
    let failed = set_up(&live, &["repository=docker"]);
    assert_eq!(failed.status, 1);
    let expected =
        "https://download.docker.com/linux/debian is not reachable; use repository=distribution";
    assert!(failed.stderr.contains(expected), "{failed}");
    let left = on_server(
        &live,
        "ls /etc/apt/sources.list.d /etc/apt/keyrings 2>/dev/null | grep docker; true",
    );
    assert_eq!(left, "");
    let wrong = set_up(&live, &["repository=other"]);
    assert_eq!(wrong.status, 2, "{wrong}");
    let wrong = set_up(&live, &["docker_mount=sdb"]);
    assert_eq!(wrong.status, 2, "{wrong}");
}
