//! `hitc test`, and dry runs, which use the same mock hosts.

use crate::support::Project;

const HITCFILE: &str = r#"
/// Deploy a version.
///
/// @param tag
fn deploy(hosts, tag) {
    hosts.rolling(1, |host| {
        let kernel = host.run("uname -r");
        docker::run(host, #{ name: "shop", image: `shop:${tag}` });
        if !host.try_run("curl -fs localhost").ok { throw "not healthy"; }
        host.put(kernel, "/etc/motd");
    });
    local::run("git tag deployed");
}
"#;

#[test]
fn tests_run_on_mock_hosts() {
    let project = Project::new().file("hitcfile.rhai", HITCFILE).file(
        "tests/deploy.rhai",
        r#"
import "../hitcfile" as shop;

fn one_after_the_other() {
    test::answer("uname*", "6.1");
    shop::deploy(test::hosts(["a", "b"]), "v2");
    test::equal(test::log(), [
        "a: uname -r", "run container shop of shop:v2 on a", "a: curl -fs localhost",
        "write /etc/motd on a",
        "b: uname -r", "run container shop of shop:v2 on b", "b: curl -fs localhost",
        "write /etc/motd on b",
        "here: git tag deployed"
    ]);
}

fn stops_at_a_bad_one() {
    test::answer("curl*", #{ code: 22, stderr: "refused" });
    let message = test::fails(|| shop::deploy(test::hosts(["a", "b"]), "v2"));
    test::equal(message, "not healthy");
    test::check(!test::log().some(|line| line.starts_with("b")), "b was touched");
}

private fn helper() {}
"#,
    );
    project.run(&["test"]).fails(
        0,
        "deploy.one_after_the_other  ok\ndeploy.stops_at_a_bad_one  ok\n\
         2 tests: 2 passed, 0 failed\n",
    );
    project.run(&["test", "stops"]).fails(
        0,
        "deploy.stops_at_a_bad_one  ok\n1 test: 1 passed, 0 failed\n",
    );
}

#[test]
fn a_failed_test_shows_the_difference() {
    let project = Project::new().file(
        "tests/it.rhai",
        "fn sums() {\n    test::equal(1 + 1, 3);\n}\nfn fine() {}\n",
    );
    project.run(&["test"]).fails(
        1,
        "\
it.sums  FAILED
error: values differ
 --> tests/it.rhai:2:11
  |
2 |     test::equal(1 + 1, 3);
  |           ^^^^^
  |
  = note: actual:   2
          expected: 3
it.fine  ok
2 tests: 1 passed, 1 failed
error: 1 test failed
",
    );
    Project::new().run(&["test"]).fails(
        3,
        "error: no tests found\n\
         help: write functions without parameters into `tests/NAME.rhai`\n",
    );
}

#[test]
fn mock_hosts_exist_in_tests_only() {
    let run = Project::new()
        .file("hitcfile.rhai", "/// A.\nfn a() { test::host(\"web\") }\n")
        .run(&["a"]);
    assert_eq!(run.status, 2, "{run}");
    assert!(
        run.stderr
            .contains("error: the namespace `test` works only in tests"),
        "{run}"
    );
}

/// A dry run assumes that unknown commands succeed, and lists them.
#[test]
fn a_dry_run_continues_after_unknown_commands() {
    let project = Project::new()
        .file("hitcfile.rhai", HITCFILE)
        .file("unmanaged_servers.txt", "10.255.0.1 web\n");
    project.run(&["--dry-run", "--all", "deploy", "v2"]).fails(
        0,
        "\
would run `uname -r` on web
would run container shop of shop:v2 on web
would run `curl -fs localhost` on web
would write /etc/motd on web
would run `git tag deployed` here
not simulated, assumed to succeed: `uname -r` on web; `curl -fs localhost` on web; \
the current content of /etc/motd on web; `git tag deployed`
",
    );
}

/// A dry run runs the commands of read-only tasks.
#[test]
fn a_readonly_task_runs_its_commands() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// A.\n/// @readonly\nfn a() { local::run(\"echo really\"); fs::write(\"x\", \"y\"); }\n",
    );
    project
        .run(&["--dry-run", "a"])
        .is(0, "really\n", "would write `x` here\n");
}

#[test]
fn containers_are_hosts_in_tests_and_dry_runs() {
    let project = Project::new()
        .file(
            "hitcfile.rhai",
            "/// A.\nfn a(host) { let shop = docker::inside(host, \"shop\"); shop.run(\"uname\"); }\n",
        )
        .file("unmanaged_servers.txt", "127.0.0.1:9 web\n")
        .file(
            "tests/it.rhai",
            "fn inside() {\n    let shop = docker::inside(test::host(\"web\"), \"shop-1\");\n    \
             test::answer(\"uname*\", \"Linux\");\n    test::equal(shop.run(\"uname -s\"), \"Linux\");\n    \
             shop.put(\"x\", \"/y\");\n    test::equal([shop.name, shop.role], [\"web/shop-1\", \"shop\"]);\n    \
             test::equal(test::log(), [\"web/shop-1: uname -s\", \"write /y on web/shop-1\"]);\n}\n",
        );
    project.run(&["test"]).ok();
    // The container may exist when the task runs for real.
    project.run(&["run", "--dry-run", "--all", "a"]).fails(
        0,
        "would run `uname` on web/shop\n\
         not simulated, assumed to succeed: container web/shop; `uname` on web/shop\n",
    );
}
