//! Uploads and downloads of files and folders.

use std::{fs, path::Path, process::Command};

use sha2::{Digest, Sha256};

use crate::support::live::{Live, docker};

/// The private folder on the server for the part of an upload to a file.
fn part_folder(name: &str) -> String {
    let digest = Sha256::digest(name);
    let digits: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(".hitc-part-{digits}")
}

/// Pseudorandom bytes.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn uploads_and_downloads_a_file() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let big = bytes(5_000_000);
    write(&live.root().join("big"), &big);
    write(&live.root().join("it's a \"file\""), b"small");
    // Quiet: on a busy machine, an upload takes long enough to show its progress.
    let run = |words: &[&str]| live.run(&[&["-q", "run", "-H", "web"], words].concat());
    let exec = |line: &str| live.run(&["exec", "-H", "web", "--", line]).stdout;

    run(&["upload", "big", "/srv/deep/big", "folders=true", "mode=600"]).is(
        0,
        "transferred  unchanged  removed\n1            0          0\n",
        "",
    );
    assert_eq!(
        exec("stat -c '%a %s' /srv/deep/big; ls /srv/deep"),
        "600 5000000\nbig\n"
    );
    run(&["upload", "it's a \"file\"", "/srv/"]).ok();
    assert_eq!(exec("cat /srv/it*"), "small");

    // A part of an interrupted upload is continued, unless its content differs.
    let part = |name: &str, line: &str| {
        let folder = part_folder(name);
        exec(&format!(
            "mkdir -m 700 /srv/{folder} && {line} >/srv/{folder}/file"
        ));
    };
    part("again", "head -c 3000000 /srv/deep/big");
    exec("rm /srv/deep/big");
    run(&["upload", "big", "/srv/again"]).ok();
    part("other", "head -c 100 /dev/zero");
    run(&["upload", "big", "/srv/other"]).ok();
    exec("cmp /srv/again /srv/other && rm /srv/other");
    assert_eq!(exec("ls -A /srv"), "again\ndeep\nit's a \"file\"\n");

    run(&["download", "/srv/again", "back/{host}/"]).ok();
    assert!(fs::read(live.root().join("back/web/again")).unwrap() == big);
    write(&live.root().join("half.part"), &big[..1_000_000]);
    run(&["download", "/srv/again", "half"]).ok();
    assert!(fs::read(live.root().join("half")).unwrap() == big);
    assert!(!live.root().join("half.part").exists());

    let missing = run(&["download", "/nothing", "x"]);
    assert_eq!(missing.status, 1, "{missing}");
    assert!(
        missing
            .stderr
            .contains("not found, or its folder cannot be read"),
        "{missing}"
    );
    let missing = run(&["upload", "nothing", "/srv/x"]);
    assert_eq!(missing.status, 2, "{missing}");
    assert!(missing.stderr.contains("nothing` not found"), "{missing}");
}

/// `-v` tells of transfers, as of commands.
#[test]
fn details_of_transfers() {
    let live = Live::new()
        .file("note", "hello\n")
        .file("all/a", "1")
        .file("all/b", "2");
    live.run(&["run", "create", "name=web"]).ok();
    let details = |words: &[&str]| {
        let words = [&["run", "-v", "-H", "web"], words].concat();
        let shown = live.run(&words).ok().stderr;
        let lines = shown.lines().filter(|line| line.contains("load "));
        let without_time = lines.map(|line| line.split(" after ").next().unwrap().to_owned());
        without_time.collect::<Vec<_>>()
    };
    assert_eq!(
        details(&["upload", "note", "/srv/note"]),
        ["web: upload note to /srv/note: 1 file of 6 B"]
    );
    assert_eq!(
        details(&["upload", "note", "/srv/note"]),
        ["web: upload note to /srv/note: nothing, 1 unchanged"]
    );
    let folder = details(&["upload", "all", "/srv/all"]);
    assert!(
        folder[0].starts_with("web: upload all to /srv/all: 2 files of "),
        "{folder:?}"
    );
    assert_eq!(
        details(&["download", "/srv/note", "copy"]),
        ["web: download /srv/note to copy: 1 file of 6 B"]
    );
    let quiet = live
        .run(&["run", "-H", "web", "download", "/srv/note", "again"])
        .ok();
    assert!(!quiet.stderr.contains("6 B"), "{quiet}");
}

/// A killed upload leaves no incomplete file, and the next one continues it.
#[test]
fn a_killed_upload_is_continued() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let big = bytes(200_000_000);
    write(&live.root().join("big"), &big);
    let exec = |line: &str| live.run(&["exec", "-H", "web", "--", line]).ok().stdout;
    let upload = ["run", "-H", "web", "upload", "big", "/srv/big"];
    let web = live.container("web");
    let size = || {
        let folder = part_folder("big");
        let line = format!("stat -c %s /srv/{folder}/file 2>/dev/null || echo 0");
        let size = docker(&["exec", &web, "sh", "-c", &line]);
        size.parse::<u64>().unwrap()
    };
    let mut hitc = live.spawn(&upload);
    while size() < 1_000_000 {
        assert!(hitc.try_wait().unwrap().is_none(), "it was too fast");
    }
    hitc.kill().unwrap();
    hitc.wait().unwrap();
    assert_eq!(exec("test -e /srv/big || echo none"), "none\n");
    // Until the server notices, it writes what it has received, and a continued upload would fail.
    let ended = "while pgrep -f '[s]tage_part' >/dev/null; do sleep 0.05; done";
    docker(&["exec", &web, "sh", "-c", ended]);
    let part = size();
    assert!(part < 200_000_000, "{part}");
    let inode = exec(&format!("stat -c %i /srv/{}/file", part_folder("big")));
    live.run(&upload).ok();
    assert_eq!(exec("ls -A /srv"), "big\n");
    // An upload that begins again writes another file.
    assert_eq!(exec("stat -c %i /srv/big"), inode);
    let sum = Command::new("md5sum")
        .arg(live.root().join("big"))
        .output()
        .unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(exec("md5sum /srv/big")[..32], sum[..32]);
}

/// The name of a part can be predicted, so that another user may create it.
#[test]
fn a_part_of_another_user_is_not_continued() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    write(&live.root().join("big"), &bytes(20_000_000));
    let folder = part_folder("big");
    let plant = format!(
        "useradd -m mallory; cd /home/mallory; install -d -m 700 -o mallory {folder}; \
         echo planted | install -o mallory /dev/stdin {folder}/file"
    );
    let web = live.container("web");
    docker(&["exec", &web, "sh", "-c", &plant]);
    let run = live.run(&["run", "-H", "web", "upload", "big", "/home/mallory/big"]);
    let message = format!("`{folder}` was replaced by another user");
    assert!(run.status == 1 && run.stderr.contains(&message), "{run}");
    let look = format!("cd /home/mallory; ls big 2>&1; ls {folder}; cat {folder}/file");
    let found = docker(&["exec", &web, "sh", "-c", &look]);
    assert_eq!(
        found,
        "ls: cannot access 'big': No such file or directory\nfile\nplanted"
    );
}

#[test]
fn uploads_and_downloads_a_folder() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let site = live.root().join("site");
    write(&site.join("index.html"), b"hello");
    write(&site.join("deep/er/-x $(id)"), b"strange");
    let run = |words: &[&str]| live.run(&[&["run", "-H", "web"], words].concat());
    let counts = |sent: usize, same: usize, removed: usize| {
        format!("transferred  unchanged  removed\n{sent:<13}{same:<11}{removed}\n")
    };
    run(&["upload", "site", "/srv/www"]).is(0, &counts(2, 0, 0), "");
    run(&["upload", "site", "/srv/www"]).is(0, &counts(0, 2, 0), "");
    write(&site.join("index.html"), b"hullo");
    fs::remove_file(site.join("deep/er/-x $(id)")).unwrap();
    run(&["upload", "site", "/srv/www", "delete=true"]).is(0, &counts(1, 0, 1), "");
    let listed = live.run(&[
        "exec",
        "-H",
        "web",
        "--",
        "cd /srv/www; find . -type f; cat *.html",
    ]);
    assert_eq!(listed.stdout, "./index.html\nhullo", "{listed}");

    live.run(&[
        "exec",
        "-H",
        "web",
        "--",
        "echo a >'/srv/www/a b'; chmod 750 '/srv/www/a b'",
    ])
    .ok();
    run(&["download", "/srv/www", "got"]).is(0, &counts(2, 0, 0), "");
    run(&["download", "/srv/www", "got"]).is(0, &counts(0, 2, 0), "");
    assert_eq!(fs::read(live.root().join("got/a b")).unwrap(), b"a\n");
    // Several servers need different local paths.
    live.run(&["run", "create", "name=db"]).ok();
    let both = live.run(&["run", "--all", "download", "/etc/hostname", "name"]);
    assert_eq!(both.status, 2, "{both}");
    assert!(both.stderr.contains("use `{host}` in the path"), "{both}");
    live.run(&["run", "--all", "download", "/etc/hostname", "names/{host}"])
        .ok();
    assert!(live.root().join("names/db").is_file() && live.root().join("names/web").is_file());
}

/// Through symbolic links that lead out of the folder.
#[test]
fn no_file_outside_the_folder_is_removed() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    write(&live.root().join("site/a"), b"a");
    let run = |words: &[&str]| live.run(&[&["run", "-H", "web"], words].concat());
    let exec = |line: &str| live.run(&["exec", "-H", "web", "--", line]).ok().stdout;
    exec(
        "mkdir -p /mnt/data /srv/www; echo keep >/mnt/data/f; ln -s /mnt/data /srv/www/up; echo x >/srv/www/x",
    );
    run(&["upload", "site", "/srv/www", "delete=true"]).ok();
    assert_eq!(exec("cat /mnt/data/f; ls /srv/www"), "keep\na\nup\n");
    let outside = live.root().join("outside");
    write(&outside.join("f"), b"keep");
    fs::create_dir_all(live.root().join("got")).unwrap();
    std::os::unix::fs::symlink(&outside, live.root().join("got/link")).unwrap();
    run(&["download", "/srv/www", "got", "delete=true"]).ok();
    assert!(outside.join("f").is_file());
    assert!(live.root().join("got/up/f").is_file());
}

#[test]
fn a_dry_run_shows_the_differences() {
    let live = Live::new().file(
        "hitcfile.rhai",
        "/// M.\n/// @param text  T.\nfn motd(host, text) { host.template(\"motd.tpl\", \"/etc/motd\", #{ text: text }); }\n",
    );
    live.write("motd.tpl", "Welcome\n{{ text }}\n");
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["run", "-H", "web", "motd", "one"]).ok();
    live.run(&["run", "-n", "-H", "web", "motd", "two"]).is(
        0,
        "",
        "would write /etc/motd on web\n\
         --- /etc/motd\n+++ /etc/motd\n@@ -1,2 +1,2 @@\n Welcome\n-one\n+two\n",
    );
    let now = live.run(&["exec", "-H", "web", "--", "cat /etc/motd"]);
    assert_eq!(now.stdout, "Welcome\none\n");
}

/// A dry run names each file, and the real run does what it said. An identical file is not sent again.
#[test]
fn a_dry_run_of_an_upload_names_the_files() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let site = live.root().join("site");
    write(&site.join("a"), b"a");
    write(&site.join("deep/b"), b"b");
    let run = |words: &[&str]| live.run(&[&["-q", "-H", "web"], words].concat());
    let counts = |sent: usize, same: usize, removed: usize| {
        format!("transferred  unchanged  removed\n{sent:<13}{same:<11}{removed}\n")
    };
    run(&["upload", "site", "/srv/www"]).ok();
    write(&site.join("a"), b"other");
    fs::remove_file(site.join("deep/b")).unwrap();
    write(&site.join("c"), b"c");
    let upload = ["upload", "site", "/srv/www", "delete=true"];
    run(&[&upload[..], &["-n"]].concat()).is(
        0,
        &counts(2, 0, 1),
        "would upload /srv/www/a to web\nwould upload /srv/www/c to web\n\
         would remove /srv/www/deep/b on web\n",
    );
    run(&upload).is(0, &counts(2, 0, 1), "");
    run(&[&upload[..], &["-n"]].concat()).is(0, &counts(0, 2, 0), "");
    for words in [&["-n"][..], &[]] {
        run(&[&["upload", "site/a", "/srv/www/"], words].concat()).is(0, &counts(0, 1, 0), "");
    }
    run(&["upload", "site/a", "/srv/www/a", "mode=600"]).is(0, &counts(1, 0, 0), "");
}

#[test]
fn downloads_of_a_pattern() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let exec = |line: &str| live.run(&["exec", "-H", "web", "--", line]).ok().stdout;
    exec(
        "mkdir -p /srv/log/old '/srv/a [x]'; cd /srv/log; echo 1 >'a 1.log'; echo 2 >b.log; echo 3 >old/c.log; \
         echo 4 >.hidden.log; echo 5 >'*.log'; echo 6 >'/srv/a [x]/f'",
    );
    let run = |words: &[&str]| live.run(&[&["-q", "-H", "web", "download"], words].concat());
    let got = |folder: &str| {
        let names = fs::read_dir(live.root().join(folder)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    // A file of that name is not a pattern.
    run(&["/srv/log/*.log", "one/"]).ok();
    assert_eq!(got("one"), ["*.log"]);
    exec("rm '/srv/log/*.log'");
    run(&["/srv/log/*.log", "two"]).is(
        0,
        "transferred  unchanged  removed\n2            0          0\n",
        "",
    );
    assert_eq!(got("two"), ["a 1.log", "b.log"]);
    run(&["/srv/lo[g]/*", "three"]).ok();
    assert_eq!(got("three"), ["a 1.log", "b.log", "old"]);
    run(&["/srv/a [x]/f", "four/"]).ok();
    assert_eq!(got("four"), ["f"]);
    for (words, error) in [
        (
            &["/srv/log/*.gz", "x"][..],
            "error: host `web`: download /srv/log/*.gz: no file matches\n",
        ),
        (
            &["/srv/log/*", "x", "delete=true"],
            "error: host `web`: download /srv/log/*: `delete` needs the path of one folder\n",
        ),
        (&["/srv/*/*.log", "three"], ""),
        (
            &["/nope", "x"],
            "error: host `web`: download /nope: /nope: not found, or its folder cannot be read\n",
        ),
    ] {
        let run = run(words);
        if error.is_empty() {
            run.ok();
        } else {
            run.fails(1, error);
        }
    }
    assert!(!live.root().join("x").exists());
}

/// One table for several servers, not a second one with the times.
#[test]
fn one_table_for_all_servers() {
    let live = Live::new();
    live.run(&["run", "create", "name=web", "count=2"]).ok();
    write(&live.root().join("f"), b"f");
    let run = live.run(&["-R", "web", "upload", "f", "/srv/f"]).ok();
    assert_eq!(
        run.stdout,
        "host   transferred  unchanged  removed\nweb    1            0          0\nweb-1  1            0          0\n"
    );
    assert!(
        run.stderr.contains("2 hosts: 2 ok\n") && !run.stderr.contains("result"),
        "{run}"
    );
    let json = live
        .run(&["-R", "web", "upload", "f", "/srv/f", "-o", "json"])
        .ok();
    assert_eq!(
        json.json_rows(),
        [
            serde_json::json!({"host": "web", "transferred": 0, "unchanged": 1, "removed": 0}),
            serde_json::json!({"host": "web-1", "transferred": 0, "unchanged": 1, "removed": 0}),
        ]
    );
    assert!(json.stdout.contains("{\"event\":\"summary\""), "{json}");
}

#[test]
fn rsync_in_both_directions() {
    let installed = Command::new("rsync").arg("--version").output();
    if installed.is_err() {
        let installing = Command::new("apt-get")
            .args(["install", "-y", "rsync"])
            .output();
        assert!(
            installing.unwrap().status.success(),
            "rsync cannot be installed"
        );
    }
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    write(&live.root().join("site/a"), b"a");
    let missing = live.run(&["-H", "web", "rsync_up", "site/", "/srv/site"]);
    assert!(
        missing.status == 1
            && missing
                .stderr
                .contains("help: install rsync on the server\n"),
        "{missing}"
    );
    live.run(&[
        "exec",
        "-H",
        "web",
        "--",
        "apt-get update -q >&2 && apt-get install -qy rsync >&2",
    ])
    .ok();
    write(&live.root().join("site/b.tmp"), b"b");
    let run = |words: &[&str]| live.run(&[&["run", "-H", "web"], words].concat());
    run(&["rsync_up", "site/", "/srv/site", "exclude=*.tmp"]).ok();
    // No shell of the server expands the path.
    run(&["rsync_up", "site/", "/srv/a $(touch executed) *"]).ok();
    let listed = live.run(&[
        "exec",
        "-H",
        "web",
        "--",
        "ls -A /srv; find /root /srv -name executed",
    ]);
    assert_eq!(listed.stdout, "a $(touch executed) *\nsite\n", "{listed}");
    fs::create_dir_all(live.root().join("back/web")).unwrap();
    run(&["rsync_down", "/srv/site/", "back/{host}/"]).ok();
    let got: Vec<_> = fs::read_dir(live.root().join("back/web"))
        .unwrap()
        .collect();
    assert_eq!(got.len(), 1);
}
