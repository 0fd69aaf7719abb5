//! Files on servers where another user changes folders and links at the same time: root's files stay
//! root's, whatever that user does.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    process::Command,
};

use crate::support::live::{Live, docker};

/// Makes a user `mallory`, and root's files, which have the names of those that are written.
const VICTIMS: &str = "useradd -m mallory
install -d -m 755 /srv/root /srv/root/sub
for name in authorized_keys file big secret sub/file sub/old passwd; do
    echo root >/srv/root/$name; chmod 600 /srv/root/$name
done";

/// All about root's files, and what belongs to mallory elsewhere.
const STATE: &str =
    "find /srv/root -printf '%p %u %m %s\\n' | sort; find /srv/root -type f -exec cat {} +
find / -xdev -user mallory ! -path '/home/mallory*' ! -path '/proc/*' ! -path '/var/mail/mallory'
find /etc /root /usr/local -newer /srv/begin -type f";

/// Swaps everything that appears in the folders for links to root's files, as fast as it can.
const ATTACK: &str = r#"
use strict;
my ($mode, %known) = @ARGV;
my $count = 0;
chdir "/home/mallory" or die;
open my $ready, ">", "ready-$mode"; close $ready;
for (;;) {
    if ($mode eq "names") {
        for my $folder (".", ".ssh", "www", "www/sub") {
            opendir my $handle, $folder or next;
            for my $name (readdir $handle) {
                next if $name =~ /^(\.\.?|\.ssh|www|sub|ready-.*|away.*|\.(bash|profile).*)$/;
                my ($from, $away) = ("$folder/$name", "$folder/away" . $count++);
                next if -l $from;
                my $target = -d $from ? "/srv/root" : "/srv/root/secret";
                rename $from, $away and symlink $target, $from;
            }
            closedir $handle;
        }
    } else {
        for my $folder (".ssh", "www/sub", "www") {
            rename $folder, "away" and symlink $folder eq "www/sub" ? "/srv/root/sub" : "/srv/root", $folder;
            unlink $folder if -l $folder;
            rename "away", $folder;
        }
    }
}
"#;

/// Writes in all ways, many times. What mallory makes fail does not matter.
const WRITES: &str = r#"
/// W.
fn writes(host) {
    let home = "/home/mallory";
    for round in 0..25 {
        for owner in ["mallory", "root"] {
            let options = #{ owner: owner, mode: "600" };
            try { host.put("text", `${home}/.ssh/authorized_keys`, options) } catch {}
            try { host.put("text", `${home}/.ssh/new-${round}`, options + #{ folders: true }) } catch {}
            try { host.put("text", `${home}/www/sub/file`) } catch {}
        }
        try { host.upload("site", `${home}/www`, #{ owner: "mallory", delete: true }) } catch {}
        try { host.upload("site", `${home}/www`, #{ delete: true }) } catch {}
        if round % 5 == 0 {
            try { host.upload("big", `${home}/.ssh/big`, #{ owner: "mallory" }) } catch {}
            try { host.upload("big", `${home}/www/big`) } catch {}
        }
        try { host.run("su mallory -c 'cd && rm -rf away[0-9]* && : >www/sub/old && : >www/passwd; true'") } catch {}
    }
}
"#;

fn attacked() -> (Live, String) {
    let live = Live::new().file("hitcfile.rhai", WRITES);
    live.write("site/file", "site");
    live.write("site/sub/file", "site");
    live.write("big", &"x".repeat(1_500_000));
    live.run(&["run", "create", "name=web"]).ok();
    let web = live.container("web");
    docker(&["exec", &web, "sh", "-ec", VICTIMS]);
    (live, web)
}

/// A user of the server swaps folders and files while root writes in that user's home folder.
#[test]
fn a_racing_user_gets_no_file_of_root() {
    for mode in ["names", "folders"] {
        let (live, web) = attacked();
        let root = |line: &str| docker(&["exec", &web, "sh", "-c", line]);
        root(
            "cd /home/mallory && mkdir -p .ssh www/sub && chown -R mallory . && \
             touch /srv/begin && sleep 0.1",
        );
        let before = root(STATE);
        let attack = format!("perl -e '{}' {mode}", ATTACK.replace('\'', "\""));
        docker(&["exec", "-d", "-u", "mallory", &web, "sh", "-c", &attack]);
        root(&format!(
            "until [ -e /home/mallory/ready-{mode} ]; do sleep 0.02; done"
        ));
        live.run(&["run", "-H", "web", "writes"]).ok();
        root("pkill -KILL -u mallory perl");
        assert_eq!(root(STATE), before, "{mode}");
        // The attack ran all the time.
        root("! pgrep -u mallory perl");
    }
}

/// Links of the user in the path, which are there from the beginning.
#[test]
fn links_of_other_users_are_not_followed() {
    let (live, web) = attacked();
    let root = |line: &str| docker(&["exec", &web, "sh", "-c", line]);
    root(
        "touch /srv/begin && sleep 0.1; cd /home/mallory && \
         ln -s /srv/root .ssh && mkdir www && ln -s /srv/root/sub www/sub && \
         ln -s /srv/root/secret file && ln -s /srv/root .profile.d && chown -hR mallory . && \
         ln -s /srv/root /tmp/link && chown -h mallory /tmp/link",
    );
    let before = root(STATE);
    let put = |path: &str| {
        let task = format!(
            "/// P.\nfn p(host) {{ host.put(\"text\", \"{path}\", #{{ owner: \"mallory\", folders: true }}) }}\n"
        );
        live.write("hitcfile.rhai", &task);
        live.run(&["run", "-H", "web", "p"])
    };
    for (path, link) in [
        ("/home/mallory/.ssh/authorized_keys", ".ssh"),
        ("/home/mallory/www/sub/file", "sub"),
        ("/home/mallory/.ssh/sub/x/y", ".ssh"),
        ("/tmp/link/file", "link"),
    ] {
        let run = put(path);
        assert_eq!(run.status, 1, "{run}");
        let expected = format!("`{link}` is a link that another user can change");
        assert!(run.stderr.contains(&expected), "{run}");
    }
    // The link itself is replaced, and its target's mode and owner are not copied.
    put("/home/mallory/file").ok();
    assert_eq!(
        root("cd /home/mallory && stat -c '%F %U %a' file && cat file"),
        "regular file mallory 644\ntext"
    );
    let run = live.run(&[
        "run",
        "-H",
        "web",
        "upload",
        "site",
        "/home/mallory/www",
        "delete=true",
    ]);
    assert_eq!(run.status, 1, "{run}");
    let run = live.run(&[
        "run",
        "-H",
        "web",
        "upload",
        "big",
        "/home/mallory/.ssh/big",
    ]);
    assert_eq!(run.status, 1, "{run}");
    assert_eq!(root(STATE), before);
    // Root's own links lead where they always led.
    root("ln -s /srv/root/sub /srv/current && ln -s current /srv/again");
    put("/srv/again/new").ok();
    assert_eq!(
        root("cat /srv/root/sub/new && rm /srv/root/sub/new && stat -c %F /srv/again"),
        "textsymbolic link"
    );
    // Nothing is left of the private folders.
    assert_eq!(root("find /home /srv /tmp -name '.hitc*'"), "");
}

/// Owners and modes are kept, also of files in folders, and in both directions.
#[test]
fn owners_and_modes_are_kept() {
    let (live, web) = attacked();
    let root = |line: &str| docker(&["exec", &web, "sh", "-c", line]);
    let run = |words: &[&str]| live.run(&[&["run", "-H", "web"], words].concat());
    root(
        "install -d -o mallory -g www-data -m 2775 /srv/www /srv/www/sub && cd /srv/www && \
         echo old >sub/file && chown mallory:games sub/file && chmod 604 sub/file && \
         cp -p sub/file /srv/big",
    );
    let own = fs::Permissions::from_mode(0o640);
    fs::set_permissions(live.root().join("site/file"), own).unwrap();
    run(&["upload", "site", "/srv/www"]).ok();
    run(&["upload", "big", "/srv/big"]).ok();
    let state = "cd /srv && stat -c '%n %U:%G %a' www/file www/sub/file big && head -c 4 big";
    assert_eq!(
        root(state),
        "www/file root:www-data 640\nwww/sub/file mallory:games 604\nbig mallory:games 604\nxxxx"
    );
    live.write("site/sub/file", "newer");
    live.write("site/file", "newer");
    run(&["upload", "site", "/srv/www", "mode=600", "owner=nobody"]).ok();
    assert_eq!(
        root("cd /srv && stat -c '%n %U:%G %a' www/file www/sub/file"),
        "www/file nobody:www-data 600\nwww/sub/file nobody:games 600"
    );
    // Downloads get the mode of the source, whether they are read by sudo or not.
    root("echo secret >/srv/www/secret && chmod 600 /srv/www/secret && chmod 751 /srv/www/file");
    let mode = |path: &str| {
        let found = fs::metadata(live.root().join(path)).unwrap();
        format!("{:o}", found.permissions().mode() & 0o7777)
    };
    run(&["download", "/srv/www/secret", "one"]).ok();
    run(&["download", "/srv/www", "all"]).ok();
    assert_eq!(
        ["one", "all/secret", "all/file"].map(mode),
        ["600", "600", "751"]
    );
    assert!(!live.root().join("one.part").exists());
}

/// File names arrive byte by byte in both directions, and `delete` removes the right files.
#[test]
fn file_names_arrive_byte_by_byte() {
    let live = Live::new();
    live.run(&["run", "create", "name=web"]).ok();
    let web = live.container("web");
    let names: [&[u8]; 9] = [
        b"a\nb",
        b"a\\nb",
        b"a\\\nb",
        b"back\\slash",
        b" -x $(id) ",
        b"\r",
        b"\xff\xfe",
        b"new\nline/\\/\xc3\x28",
        b"end\n",
    ];
    let site = live.root().join("site");
    for name in names {
        let path = site.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    // A busy machine shows the progress of an upload.
    let run = |words: &[&str]| live.run(&[&["-q", "run", "-H", "web"], words].concat());
    let counts = |sent: usize, same: usize, removed: usize| {
        format!("transferred  unchanged  removed\n{sent:<13}{same:<11}{removed}\n")
    };
    run(&["upload", "site", "/srv/www"]).is(0, &counts(9, 0, 0), "");
    run(&["upload", "site", "/srv/www", "delete=true"]).is(0, &counts(0, 9, 0), "");
    run(&["download", "/srv/www", "back"]).is(0, &counts(9, 0, 0), "");
    run(&["download", "/srv/www", "back", "delete=true"]).is(0, &counts(0, 9, 0), "");
    for name in names {
        let path = live.root().join("back").join(OsStr::from_bytes(name));
        assert_eq!(fs::read(path).unwrap(), name);
    }
    // Each of the names that look alike is removed, and only that.
    fs::remove_file(site.join("a\\nb")).unwrap();
    fs::remove_file(site.join("end\n")).unwrap();
    run(&["upload", "site", "/srv/www", "delete=true"]).is(0, &counts(0, 7, 2), "");
    run(&["download", "/srv/www", "back", "delete=true"]).is(0, &counts(0, 7, 2), "");
    let compared = Command::new("diff")
        .arg("-r")
        .arg(&site)
        .arg(live.root().join("back"))
        .output();
    assert_eq!(String::from_utf8_lossy(&compared.unwrap().stdout), "");
    // A folder that vanished is an error: no local file is removed.
    docker(&["exec", &web, "rm", "-r", "/srv/www"]);
    let gone = run(&["download", "/srv/www", "back", "delete=true"]);
    assert_eq!(gone.status, 1, "{gone}");
    assert!(live.root().join("back/back\\slash").exists());
}
