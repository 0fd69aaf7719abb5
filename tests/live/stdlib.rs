//! The standard library, and files on servers, for real.

use crate::support::live::Live;

#[test]
fn a_server_from_a_folder() {
    let live = Live::new()
        .file("base/files/etc/shop/app.conf.tpl", "name = {{ name }}\n")
        .file("base/scripts/10-user.sh", "#!/bin/bash -e\n# Comment\nuseradd --create-home shop\n")
        .file(
            "hitcfile.rhai",
            "import \"std/bootstrap\" as bootstrap;\nimport \"std/apt\" as apt;\n\
             /// B.\nfn base(host) { print(bootstrap::run(host, \"base\", #{ name: \"web\" })); }\n\
             /// P.\nfn packages(host) { print(apt::is_installed(host, \"bash\")); \
             print(apt::install(host, [\"bash\"])); print(apt::is_installed(host, \"no-such\")); }\n\
             /// I.\nfn install(host) { print(apt::install(host, [\"bash\", \"tree\"])); \
             host.try_run(\"tree --version\").ok }\n\
             /// R.\nfn remove(host) { print(apt::remove(host, [\"tree\"])); \
             print(apt::is_installed(host, \"tree\")); }\n",
        );
    live.run(&["run", "create", "name=web"]).ok();
    let base = |arguments: &[&str]| {
        let mut words = vec!["run", "-H", "web"];
        words.extend(arguments);
        live.run(&words).ok().stdout
    };
    assert_eq!(
        base(&["base"]),
        "[\"/etc/shop/app.conf\", \"10-user.sh\"]\n"
    );
    assert_eq!(base(&["base"]), "[]\n");
    live.run(&[
        "exec",
        "-H",
        "web",
        "--",
        "cat /etc/shop/app.conf; id -un shop",
    ])
    .is(0, "name = web\nshop\n", "");
    // As the user who logs in by sudo, too.
    live.run(&["exec", "-H", "web", "--", "rm /etc/shop/app.conf"])
        .ok();
    assert_eq!(base(&["-u", "admin", "base"]), "[\"/etc/shop/app.conf\"]\n");
    assert_eq!(base(&["packages"]), "true\n[]\nfalse\n");
    assert!(base(&["install"]).ends_with("[\"tree\"]\n"));
    assert_eq!(base(&["install"]), "[]\n");
    assert!(base(&["remove"]).ends_with("[\"tree\"]\nfalse\n"));
}

#[test]
fn a_file_keeps_its_owner_and_its_mode() {
    let live = Live::new().file(
        "hitcfile.rhai",
        "/// P.\nfn put(host) {\n    host.put(\"one\", \"/tmp/it's\");\n    \
         host.put(\"two\", \"/tmp/kept\");\n    \
         host.put(secret::env(\"TOKEN\"), \"/tmp/token\");\n    \
         host.put(\"x\", \"/tmp/deep/er/file\", #{ mode: \"640\", owner: \"nobody\", folders: true });\n}\n",
    );
    let live = live.env("TOKEN", "hunter2");
    live.run(&["run", "create", "name=web"]).ok();
    let exec = |line: &str| live.run(&["exec", "-H", "web", "--", line]).ok().stdout;
    exec("touch /tmp/kept && chmod 600 /tmp/kept && chown nobody /tmp/kept");
    live.run(&["run", "-H", "web", "put"]).ok();
    assert_eq!(
        exec(
            "cd /tmp && stat -c '%n %a %U' \"it's\" kept token deep/er/file && cat token && ls -A | grep -c '[.][0-9]' || true"
        ),
        "it's 644 root\nkept 600 nobody\ntoken 600 root\ndeep/er/file 640 nobody\nhunter20\n"
    );
}

/// From an empty folder to an own task on servers, as the README says.
#[test]
fn a_new_project() {
    let live = Live::new();
    live.run(&["init"]).ok();
    live.run(&["run", "create", "name=web", "count=2"]).ok();
    let hello = live.run(&["run", "-R", "web", "hello"]).ok();
    assert!(hello.stdout.contains("web-1: Linux "), "{hello}");
    live.run(&["run", "-R", "web", "greet", "text=Good morning"])
        .ok();
    let read = live
        .run(&["exec", "-H", "web-1", "--", "cat /tmp/greeting"])
        .ok();
    assert_eq!(read.stdout, "Good morning\n");
    let plan = live.run(&["run", "ensemble.plan", "servers"]).ok();
    assert_eq!(plan.stdout, "no changes\n");
}

#[test]
fn facts() {
    let live = Live::new().file(
        "hitcfile.rhai",
        "/// F.\n/// @readonly\nfn f(host) { let f = host.facts(); print(f.os); \
         print(f.cpus > 0 && f.memory > 1000000); print(f.hostname); }\n",
    );
    live.run(&["run", "create", "name=web"]).ok();
    live.run(&["f"]).is(0, "debian\ntrue\nweb\n", "");
}

/// On three real servers at once.
#[test]
fn a_command_on_many_hosts() {
    let live = Live::new().file(
        "hitcfile.rhai",
        "/// M.\nfn many(hosts) {\n    let names = hosts.run(\"hostname\").map(|r| r.stdout);\n    \
         print(names);\n    print(hosts.try_run(\"test $(hostname) != web-1\").map(|r| r.ok));\n    \
         hosts.run(\"test $(hostname) != web-1\");\n}\n",
    );
    live.run(&["run", "create", "name=web", "count=3"]).ok();
    let run = live.run(&["run", "-R", "web", "many"]);
    assert_eq!(run.status, 1, "{run}");
    let data: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("[\"") || line.starts_with("[t"))
        .collect();
    assert_eq!(
        data,
        ["[\"web\", \"web-1\", \"web-2\"]", "[true, false, true]"]
    );
    assert_eq!(
        run.errors(),
        ["error: host `web-1`: `test $(hostname) != web-1` ended with exit status 1"]
    );
}
