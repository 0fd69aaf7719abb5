//! Volumes at each cloud, and their file systems on a real server, whose kernel shows a loop device in
//! the place of a volume.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value as Json, json};

use crate::support::{
    Run,
    cloud::Cloud,
    live::{Live, docker},
};

/// Prints where the kernel shows a volume.
const TASKS: &str = "/// D.\n/// @param name\n/// @readonly\nfn device(name) { print(provider::volume(\"\", name).devices[0]); }\n";

/// A cloud with a server, `db`, that is a real one.
struct Place {
    provider: &'static str,
    cloud: Cloud,
    live: Live,
    /// The container behind the server.
    container: String,
}

impl Place {
    fn new(provider: &'static str) -> Self {
        // The users of Google's servers are made by the test cloud.
        let (cloud, live) = match provider {
            "gcp" => Cloud::gcp(Live::new(), true),
            _ => Cloud::reachable(provider),
        };
        if provider != "ec2" {
            // The limits of a minute are those of six seconds.
            cloud.set(&json!({"speed": 10, "volume": 5, "lag": 8}));
        }
        let live = live.file("hitcfile.rhai", TASKS);
        let name = format!("provider={provider}");
        live.run(&["-y", "run", "create", "name=db", &name]).ok();
        let container = match provider {
            "gcp" => {
                let filter = format!("label=hitc.server.prefix={}", live.container("C-"));
                docker(&["ps", "--filter", &filter, "--format", "{{.Names}}"])
            }
            _ => live.container("behind"),
        };
        Place {
            provider,
            cloud,
            live,
            container,
        }
    }

    /// Runs a task on the server.
    fn on_db(&self, words: &[&str]) -> Run {
        self.live.run(&[&["run", "-H", "db"], words].concat())
    }

    /// Runs a task that finds the server itself.
    fn task(&self, words: &[&str]) -> Run {
        self.live.run(&[&["-y", "run"], words].concat())
    }

    /// The volumes as hitc lists them: names, sizes and servers.
    fn listed(&self) -> Vec<(String, i64, Option<String>)> {
        let rows = self.task(&["volume.list", "-o", "json"]).ok().json_rows();
        let text = |value: &Json| value.as_str().map(str::to_owned);
        rows.iter()
            .map(|row| {
                let name = text(&row["name"]).unwrap();
                (name, row["size"].as_i64().unwrap(), text(&row["server"]))
            })
            .collect()
    }

    /// The volumes at the cloud itself: sizes, and whether they are attached.
    fn there(&self) -> Vec<(i64, bool)> {
        if self.provider == "ec2" {
            let found = self.cloud.boto(
                "import json\nprint(json.dumps([[v['Size'], bool(v['Attachments'])] for v in ec2.describe_volumes()['Volumes'] \
                 if any(t['Key'] == 'hitc:kind' for t in v.get('Tags', []))]))",
            );
            return serde_json::from_str(&found).unwrap();
        }
        let volumes = self.cloud.get("/_volumes");
        let describe = |volume: &Json| match self.provider {
            "digitalocean" => (
                volume["size_gigabytes"].as_i64().unwrap(),
                volume["droplet_ids"] != json!([]),
            ),
            "hetzner" => (
                volume["size"].as_i64().unwrap(),
                !volume["server"].is_null(),
            ),
            _ => (
                volume["sizeGb"].as_str().unwrap().parse().unwrap(),
                volume["users"].is_array(),
            ),
        };
        volumes.as_array().unwrap().iter().map(describe).collect()
    }

    fn sh(&self, line: &str) -> String {
        docker(&["exec", &self.container, "sh", "-c", line])
    }

    /// What the kernel of a real server would show of an attached volume: a device of `size`, as of
    /// truncate(1).
    fn plug(&self, name: &str, size: &str) -> Device<'_> {
        let path = self.task(&["device", name]).ok().stdout;
        let device = Device::new(self, path.trim(), size);
        self.sh(&format!(
            "mkdir -p /dev/disk/by-id && ln -sf {} {}",
            device.path, device.link
        ));
        device
    }

    /// Lets resize2fs do its work on a file system that is not mounted: while it is mounted, the kernel
    /// asks for CAP_SYS_RESOURCE, which root of a local server does not have.
    fn allow_resize2fs(&self) {
        self.sh(
            r#"cd /sbin && mv resize2fs resize2fs.real && cat >resize2fs <<'END'
#!/bin/sh
set -e
at=$(printf "$(grep "^$1 " /proc/mounts | cut -d' ' -f2)")
umount "$at"
e2fsck -fp "$1" >/dev/null
resize2fs.real "$1"
mount "$at"
END
chmod +x resize2fs"#,
        );
    }

    fn install(&self, package: &str, program: &str) {
        self.sh(&format!(
            "command -v {program} || (apt-get update -qq && apt-get install -qqy {package}) >/dev/null 2>&1"
        ));
    }
}

/// A loop device in a server, which is removed when dropped.
struct Device<'a> {
    place: &'a Place,
    path: String,
    link: String,
    file: String,
}

impl<'a> Device<'a> {
    fn new(place: &'a Place, link: &str, size: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let number = 1200 + std::process::id() % 1000 * 16 + count % 16;
        let (path, file) = (format!("/dev/loop{number}"), format!("/disk{number}"));
        place.sh(&format!(
            "truncate -s {size} {file} && mknod {path} b 7 {number} && losetup {path} {file}"
        ));
        Device {
            place,
            path,
            link: link.to_owned(),
            file,
        }
    }

    /// As after a detachment, with everything on it.
    fn unplug(&self) {
        self.place.sh(&format!("rm -f {}", self.link));
    }

    /// As after a growth of the volume.
    fn grow(&self, size: &str) {
        let (path, file) = (&self.path, &self.file);
        self.place
            .sh(&format!("truncate -s {size} {file} && losetup -c {path}"));
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        let (path, file, link) = (&self.path, &self.file, &self.link);
        let line = format!(
            "grep '^{path} ' /proc/mounts | cut -d' ' -f2 | while read -r at; do umount \"$(printf \"$at\")\"; done
             losetup -d {path}; rm -f {file} {path} {link}"
        );
        // Also after a test that failed: then this may fail, too.
        let _ = std::process::Command::new("docker")
            .args(["exec", &self.place.container, "sh", "-c", &line])
            .output();
    }
}

fn refused(run: &Run, message: &str, help: &str) {
    assert!(
        run.status == 2 && run.stderr.contains(message) && run.stderr.contains(help),
        "{message}: {run}"
    );
}

/// Creates, attaches, mounts, grows, detaches and deletes a volume, each twice.
fn the_whole_way(provider: &'static str) {
    let place = Place::new(provider);
    assert!(place.listed().is_empty());
    create(&place);
    let device = mount_and_grow(&place);
    detach_and_delete(&place, &device);
    if provider == "digitalocean" {
        assert_eq!(place.cloud.violations(), json!([]));
    }
}

fn create(place: &Place) {
    refused(
        &place.on_db(&["volume.attach", "data"]),
        &format!("volume `data` not found at {}", place.provider),
        "hitc run -H db volume.create data",
    );
    refused(
        &place.on_db(&["volume.create", "data", "99999"]),
        "invalid size of a volume: 99999 GiB",
        "choose from",
    );
    refused(
        &place.on_db(&["volume.create", "data", "ten"]),
        "invalid size `ten`",
        "a whole number of GiB",
    );
    refused(
        &place.on_db(&["volume.create", "da/ta", "10"]),
        "invalid name of a volume `da/ta`",
        "",
    );
    place
        .live
        .run(&[
            "--dry-run",
            "run",
            "-H",
            "db",
            "volume.create",
            "data",
            "10",
        ])
        .ok();
    assert_eq!(place.there(), []);

    let made = place.on_db(&["volume.create", "data", "10"]).ok().stdout;
    for size in ["10", "5"] {
        // Once is enough.
        let again = place.on_db(&["volume.create", "data", size]).ok().stdout;
        assert_eq!(again, made);
    }
    refused(
        &place.on_db(&["volume.create", "data", "20"]),
        "volume `data` exists with 10 GiB, not 20",
        "hitc run volume.grow data 20",
    );
    assert_eq!(place.listed(), [("data".to_owned(), 10, None)]);
    assert_eq!(place.there(), [(10, false)]);
}

fn mount_and_grow(place: &Place) -> Device<'_> {
    place
        .live
        .run(&[
            "--dry-run",
            "run",
            "-H",
            "db",
            "volume.mount",
            "data",
            "/srv/data",
        ])
        .ok();
    assert_eq!(place.there(), [(10, false)]);
    for _ in 0..2 {
        place.on_db(&["volume.attach", "data"]).ok();
    }
    let attached = ("data".to_owned(), 10, Some("db".to_owned()));
    assert_eq!(place.listed(), [attached]);
    assert_eq!(place.there(), [(10, true)]);
    place.install("e2fsprogs", "mkfs.ext4");
    let device = place.plug("data", "10G");
    for _ in 0..2 {
        place.on_db(&["volume.mount", "data", "/srv/my data"]).ok();
    }
    place.sh("echo kept >'/srv/my data/file'");
    refused(
        &place.task(&["volume.delete", "data"]),
        "volume `data` is attached to server `db`; nothing was deleted",
        "hitc run volume.detach data",
    );

    refused(
        &place.task(&["volume.grow", "data", "9"]),
        "volume `data` has 10 GiB: volumes cannot become smaller",
        "",
    );
    place.allow_resize2fs();
    device.grow("20G");
    for _ in 0..2 {
        let grown = place.task(&["volume.grow", "data", "20"]).ok();
        assert!(!grown.stderr.contains("not mounted"), "{grown}");
    }
    assert_eq!(place.there(), [(20, true)]);
    let size = place.sh("df --output=size -BG '/srv/my data' | tail -1");
    assert_eq!(size.trim(), "20G");
    device
}

fn detach_and_delete(place: &Place, device: &Device) {
    place
        .live
        .run(&["--dry-run", "run", "volume.detach", "data"])
        .ok();
    assert_eq!(place.there(), [(20, true)]);
    place.task(&["volume.detach", "data"]).ok();
    assert_eq!(
        place.sh("mountpoint -q '/srv/my data' || echo unmounted; ! grep UUID= /etc/fstab"),
        "unmounted"
    );
    let again = place.task(&["volume.detach", "data"]).ok();
    assert!(again.stderr.contains("is not attached"), "{again}");
    assert_eq!(place.there(), [(20, false)]);

    // What is on it stays.
    device.unplug();
    place.on_db(&["volume.attach", "data"]).ok();
    place.sh(&format!("ln -sf {} {}", device.path, device.link));
    place.on_db(&["volume.mount", "data", "/srv/other"]).ok();
    assert_eq!(place.sh("cat /srv/other/file"), "kept");
    place.task(&["volume.detach", "data"]).ok();

    place
        .live
        .run(&["--dry-run", "-y", "run", "volume.delete", "data"])
        .ok();
    assert_eq!(place.there(), [(20, false)]);
    place.task(&["volume.delete", "data"]).ok();
    let again = place.task(&["volume.delete", "data"]).ok();
    assert!(again.stderr.contains("does not exist"), "{again}");
    assert!(place.there().is_empty() && place.listed().is_empty());
}

#[test]
fn at_ec2() {
    the_whole_way("ec2");
}

#[test]
fn at_digitalocean() {
    the_whole_way("digitalocean");
}

#[test]
fn at_hetzner() {
    the_whole_way("hetzner");
}

#[test]
fn at_google() {
    the_whole_way("gcp");
}

/// The tasks of older versions do the same.
#[test]
fn the_tasks_of_ec2_are_aliases() {
    let place = Place::new("ec2");
    let made = place.on_db(&["ec2.create_volume", "data", "size=10"]).ok();
    let again = place.on_db(&["ec2.create_volume", "data"]);
    refused(&again, "volume `data` exists with 10 GiB, not 20", "");
    let id = made.stdout.split_whitespace().last().unwrap();
    assert_eq!(
        place.cloud.boto(&format!(
            "v = ec2.describe_volumes(VolumeIds=['{id}'])['Volumes'][0]\n\
             print(v['Size'], v['Encrypted'], v['AvailabilityZone'])"
        )),
        "10 True us-east-1a"
    );
    place.on_db(&["volume.attach", "data"]).ok();
    place.install("e2fsprogs", "mkfs.ext4");
    let _device = place.plug("data", "40M");
    place.on_db(&["ec2.mount_volume", "data", "/srv/data"]).ok();
    assert_eq!(place.sh("mountpoint -q /srv/data && echo yes"), "yes");
}

/// A volume of another project, or of none, is not taken for one of ours.
fn volumes_have_owners(provider: &'static str) {
    let mut place = Place::new(provider);
    let (own, other) = (place.live.root(), place.live.root().join("b"));
    place.live.write("b/hitcfile.rhai", TASKS);
    place.live.write("b/hitc.id", &"b".repeat(32));
    place.on_db(&["volume.create", "data", "10"]).ok();
    let project = place.live.project_id();

    place.live.move_to(&other);
    let on_db = ["-y", "run", "-H", "db", "--any-owner"];
    let error = format!("belongs to project {project}");
    for words in [
        &["volume.create", "data", "10"][..],
        &["volume.attach", "data"],
    ] {
        let run = place.live.run(&[&on_db[..], words].concat());
        refused(&run, &error, "choose another name; to take it over, ");
    }
    for words in [
        &["volume.detach", "data"][..],
        &["volume.grow", "data", "20"],
        &["volume.delete", "data"],
    ] {
        refused(&place.task(words), &error, &"b".repeat(32));
    }
    let list = place.task(&["volume.list"]).ok();
    assert!(list.stderr.contains("not shown: 1 volume"), "{list}");
    let list = place.task(&["volume.list", "any_owner=true"]).ok();
    assert!(list.stdout.contains(&error), "{list}");
    assert_eq!(place.there(), [(10, false)]);
    // A volume of one's own is not unmounted on the server of another.
    for words in [
        &["volume.create", "other", "11"][..],
        &["volume.attach", "other"],
    ] {
        place.live.run(&[&on_db[..], words].concat()).ok();
    }
    refused(
        &place.task(&["volume.detach", "other"]),
        "volume `other` is attached to server `db`, which does not belong to this project",
        "hitc run -H db --any-owner adopt",
    );

    place.live.move_to(&own);
    if provider == "ec2" {
        let id = place.cloud.boto(
            "v = [v for v in ec2.describe_volumes()['Volumes'] if v['Size'] == 10][0]\nprint(v['VolumeId'])",
        );
        // As versions made it that did not note owners.
        place.cloud.boto(&format!(
            "ec2.delete_tags(Resources=['{id}'], Tags=[{{'Key': 'hitc:project'}}])"
        ));
        refused(
            &place.on_db(&["volume.create", "data", "10"]),
            &format!("volume `data` ({id}) has no owner"),
            &format!("Key=hitc:project,Value={project}"),
        );
        place.cloud.boto(&format!(
            "ec2.create_tags(Resources=['{id}'], Tags=[{{'Key': 'hitc:project', 'Value': '{project}'}}])"
        ));
        place.on_db(&["volume.create", "data", "10"]).ok();
        // Two of one name, which only EC2 allows.
        place.cloud.boto(&format!(
            "v = ec2.describe_volumes(VolumeIds=['{id}'])['Volumes'][0]\n\
             ec2.create_volume(AvailabilityZone='us-east-1a', Size=1, TagSpecifications=[\
             {{'ResourceType': 'volume', 'Tags': v['Tags']}}])"
        ));
        let two = place.on_db(&["volume.create", "data", "10"]);
        refused(
            &two,
            "error: two volumes of this project are named `data`: ",
            "",
        );
        assert!(two.stderr.contains(&id), "{two}");
    }
}

#[test]
fn volumes_at_ec2_have_owners() {
    volumes_have_owners("ec2");
}

#[test]
fn volumes_at_digitalocean_have_owners() {
    volumes_have_owners("digitalocean");
}

#[test]
fn volumes_at_hetzner_have_owners() {
    volumes_have_owners("hetzner");
}

#[test]
fn volumes_at_google_have_owners() {
    volumes_have_owners("gcp");
}

/// A command, the volumes that it leaves, and the commands that undo it.
type Step<'a> = (&'a [&'a str], &'a [(i64, bool)], &'a [&'a [&'a str]]);

/// hitc is killed after each request of a command: the next one finishes.
fn is_finished_after_a_kill(provider: &'static str) {
    let place = Place::new(provider);
    // Runs a command that is killed after its n-th request was done, before it is answered. Whether there
    // were so many.
    let killed_after = |n: usize, words: &[&str]| {
        let before = place.cloud.get("/_hanging");
        place
            .cloud
            .faults(&json!([{"path": ".*", "skip": n - 1, "kind": "hang", "after": true}]));
        let mut hitc = place.live.spawn(words);
        let was_killed = loop {
            if place.cloud.get("/_hanging") != before {
                hitc.kill().unwrap();
                hitc.wait().unwrap();
                break true;
            }
            if let Some(status) = hitc.try_wait().unwrap() {
                assert!(status.success(), "{words:?}");
                break false;
            }
            thread::sleep(Duration::from_millis(10));
        };
        place.cloud.faults(&json!([]));
        was_killed
    };
    let create = ["-y", "run", "-H", "db", "volume.create", "data", "10"];
    let attach = ["-y", "run", "-H", "db", "volume.attach", "data"];
    let grow = ["-y", "run", "volume.grow", "data", "20"];
    let detach = ["-y", "run", "volume.detach", "data"];
    let delete = ["-y", "run", "volume.delete", "data"];
    let steps: [Step; 4] = [
        (&create, &[(10, false)], &[&delete]),
        (&attach, &[(10, true)], &[&detach]),
        (&detach, &[(10, false)], &[&attach]),
        (&delete, &[], &[&create]),
    ];
    // Steps 1 and 2 are of one volume.
    let mut device = None;
    for (at, (command, after, undo)) in steps.into_iter().enumerate() {
        match at {
            1 => {
                place.live.run(&create).ok();
                device = Some(place.plug("data", "1M"));
            }
            2 => drop(place.live.run(&attach).ok()),
            _ => drop(device.take()),
        }
        let mut n = 1;
        while killed_after(n, command) {
            place.live.run(command).ok();
            assert_eq!(place.there(), after, "{command:?} {n}");
            for words in undo {
                place.live.run(words).ok();
            }
            n += 1;
        }
        assert!(n > 2, "{command:?} asked for nothing");
        assert_eq!(place.there(), after, "{command:?}");
        if at == 0 || at == 1 {
            for words in undo {
                place.live.run(words).ok();
            }
        }
    }
    // A larger volume does not become smaller: each has a new one.
    let mut n = 1;
    loop {
        place.live.run(&create).ok();
        let was_killed = killed_after(n, &grow);
        place.live.run(&grow).ok();
        assert_eq!(place.there(), [(20, false)], "{n}");
        place.live.run(&delete).ok();
        if !was_killed {
            break;
        }
        n += 1;
    }
}

#[test]
fn is_finished_after_a_kill_at_ec2() {
    is_finished_after_a_kill("ec2");
}

#[test]
fn is_finished_after_a_kill_at_digitalocean() {
    is_finished_after_a_kill("digitalocean");
}

#[test]
fn is_finished_after_a_kill_at_hetzner() {
    is_finished_after_a_kill("hetzner");
}

#[test]
fn is_finished_after_a_kill_at_google() {
    is_finished_after_a_kill("gcp");
}

/// Mounts with a task, and expects that it fails with this message.
fn cannot_mount(place: &Place, words: &[&str], message: &str) {
    let run = place.on_db(&[&["volume.mount", "data"], words].concat());
    assert!(
        run.status != 0 && run.stderr.contains(message),
        "{message}: {run}"
    );
}

/// What is on a volume, in a folder or in fstab, and is not ours, stays as it is.
#[test]
fn foreign_content_stays() {
    let place = Place::new("hetzner");
    place.on_db(&["volume.create", "data", "10"]).ok();
    place.on_db(&["volume.attach", "data"]).ok();
    place.install("e2fsprogs", "mkfs.ext4");
    let device = place.plug("data", "64M");
    let path = &device.path;
    cannot_mount(&place, &["srv"], "invalid folder `srv`");
    cannot_mount(&place, &["/srv/../etc"], "invalid folder `/srv/../etc`");
    cannot_mount(
        &place,
        &["/srv/data", "type=btrfs"],
        "invalid file system `btrfs`",
    );

    // Data without a known form, at its begin or at its end, a partition table, and an encrypted volume.
    let foreign = [
        format!("printf mine | dd of={path} conv=notrunc bs=1 seek=5000"),
        format!("printf mine | dd of={path} conv=notrunc bs=1 seek=67000000"),
        format!("printf 'label: dos\\n,\\n' | sfdisk -q {path}"),
        format!("printf 'LUKS\\272\\276\\000\\001aes' | dd of={path} conv=notrunc"),
    ];
    place.install("fdisk", "sfdisk");
    for line in foreign {
        place.sh(&format!("({line}) 2>/dev/null"));
        let before = place.sh(&format!("sha256sum {path}"));
        cannot_mount(
            &place,
            &["/srv/data"],
            "volume data contains data that is not a file system",
        );
        assert_eq!(place.sh(&format!("sha256sum {path}")), before, "{line}");
        place.sh(&format!(
            "dd if=/dev/zero of={path} bs=1M count=64 2>/dev/null"
        ));
    }

    // A folder with files, and one where something else is mounted.
    place.sh(
        "mkdir -p /srv/full /srv/other && touch /srv/full/file && mount -t tmpfs none /srv/other",
    );
    cannot_mount(&place, &["/srv/full"], "/srv/full is not empty");
    cannot_mount(
        &place,
        &["/srv/other"],
        "something else is mounted at /srv/other",
    );
    // An fstab whose last line does not end, and its permissions.
    place.sh("printf '# own\\nnone /mnt tmpfs noauto 0 0' >/etc/fstab; chmod 640 /etc/fstab; umount /srv/other");
    place.on_db(&["volume.mount", "data", "/srv/data"]).ok();
    let lines = place.sh("cut -d' ' -f2-6 /etc/fstab; stat -c %a /etc/fstab");
    assert_eq!(
        lines,
        "own\n/mnt tmpfs noauto 0 0\n/srv/data ext4 defaults,nofail 0 2\n640"
    );
    cannot_mount(
        &place,
        &["/srv/else"],
        "volume data is mounted at /srv/data",
    );
    place.sh("umount /srv/data");
    cannot_mount(
        &place,
        &["/srv/else"],
        "/etc/fstab mounts volume data at /srv/data",
    );
    cannot_mount(
        &place,
        &["/srv/data", "type=xfs"],
        "the file system of volume data is ext4, not xfs",
    );
    place.on_db(&["volume.mount", "data", "/srv/data"]).ok();
    assert_eq!(place.sh("mountpoint -q /srv/data && echo yes"), "yes");
    place.task(&["volume.detach", "data"]).ok();
    assert_eq!(
        place.sh("cat /etc/fstab; stat -c %a /etc/fstab"),
        "# own\nnone /mnt tmpfs noauto 0 0\n640"
    );
}

/// A volume that is in use stays attached, and the user learns who uses it.
#[test]
fn a_busy_volume_stays() {
    let place = Place::new("hetzner");
    place.on_db(&["volume.create", "data", "10"]).ok();
    place.on_db(&["volume.attach", "data"]).ok();
    place.install("e2fsprogs", "mkfs.ext4");
    let device = place.plug("data", "64M");
    place.on_db(&["volume.mount", "data", "/srv/data"]).ok();
    let stays = |cause: &str| {
        let run = place.task(&["volume.detach", "data"]);
        assert!(
            run.status == 1
                && run.stderr.contains("volume data is in use: ")
                && run.stderr.contains(cause)
                && run.stderr.contains("nothing was detached"),
            "{cause}: {run}"
        );
        assert_eq!(place.there(), [(10, true)]);
        assert_eq!(
            place.sh("mountpoint -q /srv/data && grep -c ^UUID= /etc/fstab"),
            "1"
        );
    };
    docker(&[
        "exec",
        "-d",
        &place.container,
        "sh",
        "-c",
        "cd /srv/data && exec sleep 1000",
    ]);
    stays("/srv/data is used by process ");
    stays("(sleep)");
    place.sh("kill $(pidof sleep); mkdir /srv/data/in && mount -t tmpfs none /srv/data/in");
    stays("a mount at /srv/data/in");
    place.sh("umount /srv/data/in");
    // Another mount namespace keeps it, as that of a container does.
    docker(&[
        "exec",
        "-d",
        &place.container,
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sleep",
        "1001",
    ]);
    place.sh("until pidof sleep; do sleep 0.1; done");
    stays("(sleep) has it mounted, in a container or a service");
    place.sh("kill $(pidof sleep)");
    place.sh("while pidof sleep; do sleep 0.1; done");
    place.task(&["volume.detach", "data"]).ok();
    assert_eq!(place.there(), [(10, false)]);
    drop(device);
}

/// A server whose kernel does not show a volume may have mounted it all the same, for example by another
/// path.
#[test]
fn a_volume_that_its_server_does_not_show_stays() {
    let place = Place::new("hetzner");
    place.on_db(&["volume.create", "data", "10"]).ok();
    place.on_db(&["volume.attach", "data"]).ok();
    let run = place.task(&["volume.detach", "data"]);
    let error = "server db does not show volume data (none of [";
    assert!(
        run.status == 1
            && run.stderr.contains(error)
            && run.stderr.contains("nothing was detached"),
        "{run}"
    );
    assert_eq!(place.there(), [(10, true)]);
    // Another run detaches it meanwhile.
    let hitc = place.live.spawn(&["-y", "run", "volume.detach", "data"]);
    let device = place.plug("data", "1M");
    place.task(&["volume.detach", "data"]).ok();
    device.unplug();
    let ended = hitc.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(place.there(), [(10, false)]);
}

/// A server that is not off yet still writes.
#[test]
fn a_volume_of_a_server_that_is_not_off_stays() {
    let place = Place::new("gcp");
    place.on_db(&["volume.create", "data", "10"]).ok();
    place.on_db(&["volume.attach", "data"]).ok();
    let server = place.live.container("db");
    for (state, shown) in [("STOPPING", "stopping"), ("SUSPENDED", "suspended")] {
        place.cloud.post("/_state", &json!([server, state]));
        place.task(&["uncache"]).ok();
        refused(
            &place.task(&["volume.detach", "data"]),
            &format!("server `db` is {shown} and may still write to volume `data`"),
            "hitc run -H db reboot",
        );
        assert_eq!(place.there(), [(10, true)]);
    }
    place.cloud.post("/_state", &json!([server, "TERMINATED"]));
    place.task(&["uncache"]).ok();
    place.task(&["volume.detach", "data"]).ok();
    assert_eq!(place.there(), [(10, false)]);
}

/// A file system whose creation was interrupted is created again, and one that is complete never.
#[test]
fn an_interrupted_mount_is_finished() {
    let place = Place::new("hetzner");
    place.on_db(&["volume.create", "data", "10"]).ok();
    place.on_db(&["volume.attach", "data"]).ok();
    place.install("e2fsprogs", "mkfs.ext4");
    let device = place.plug("data", "64M");
    // As a power failure in mkfs leaves it.
    place.sh(
        "cd /sbin && mv mkfs.ext4 mkfs.real && cat >mkfs.ext4 <<'END'
#!/bin/sh
for device; do :; done
printf part | dd of=$device conv=notrunc bs=1 seek=70000 2>/dev/null
exit 1
END
chmod +x mkfs.ext4",
    );
    assert_ne!(
        place.on_db(&["volume.mount", "data", "/srv/data"]).status,
        0
    );
    place.sh("mv /sbin/mkfs.real /sbin/mkfs.ext4");
    place.on_db(&["volume.mount", "data", "/srv/data"]).ok();
    place.sh("echo kept >/srv/data/file; umount /srv/data; sed -i /UUID/d /etc/fstab");
    place.on_db(&["volume.mount", "data", "/srv/data"]).ok();
    assert_eq!(
        place.sh("cat /srv/data/file; grep -c UUID= /etc/fstab"),
        "kept\n1"
    );
    drop(device);
}

/// XFS, which grows while it is mounted without the rights that ext4 asks for.
#[test]
fn xfs() {
    let place = Place::new("hetzner");
    place.on_db(&["volume.create", "data", "10"]).ok();
    place.on_db(&["volume.attach", "data"]).ok();
    let device = place.plug("data", "10G");
    place.sh("rm -f /sbin/mkfs.xfs /usr/sbin/mkfs.xfs");
    cannot_mount(
        &place,
        &["/srv/data", "type=xfs"],
        "mkfs.xfs is not installed on this server: install the package xfsprogs",
    );
    place.sh("(apt-get update -qq && apt-get install -qqy xfsprogs) >/dev/null 2>&1");
    // As if mkfs.xfs had been interrupted: its superblock says so.
    place.sh(&format!(
        "mkfs.xfs -q {0} && xfs_db -x -c 'sb 0' -c 'write inprogress 1' {0} >/dev/null",
        device.path
    ));
    for _ in 0..2 {
        place
            .on_db(&["volume.mount", "data", "/srv/data", "type=xfs"])
            .ok();
    }
    let size = || place.sh("echo $(df --output=fstype,size -BG /srv/data | tail -1)");
    assert_eq!(size(), "xfs 10G");
    place.sh("echo kept >/srv/data/file");
    device.grow("12G");
    for _ in 0..2 {
        place.task(&["volume.grow", "data", "12"]).ok();
    }
    assert_eq!(size(), "xfs 12G");
    assert_eq!(place.sh("cat /srv/data/file"), "kept");
    place.sh("umount /srv/data");
    device.grow("13G");
    let unmounted = place.task(&["volume.grow", "data", "13"]).ok();
    assert!(
        unmounted.stderr.contains("is not mounted on"),
        "{unmounted}"
    );
    place.on_db(&["volume.mount", "data", "/srv/data"]).ok();
    place.task(&["volume.grow", "data", "13"]).ok();
    assert_eq!(size(), "xfs 13G");
}

/// Providers without volumes say so.
#[test]
fn without_volumes() {
    let live = Live::new();
    live.run(&["run", "create", "provider=local", "name=web"])
        .ok();
    refused(
        &live.run(&["run", "-H", "web", "volume.create", "data", "10"]),
        "provider `local` cannot manage volumes",
        "ec2, digitalocean, hetzner and gcp have volumes",
    );
    refused(
        &live.run(&["run", "-H", "127.0.0.1", "volume.attach", "data"]),
        "provider `unmanaged` cannot manage volumes",
        "",
    );
    refused(
        &live.run(&["run", "volume.detach", "data"]),
        "volume `data` not found",
        "hitc run volume.list",
    );
    assert_eq!(live.run(&["run", "volume.list"]).ok().rows().len(), 0);
}
