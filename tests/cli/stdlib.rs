//! The modules of the standard library, on mock hosts.

use crate::support::Project;

/// Runs the functions of a test file; all must pass.
fn passes(module: &str, tests: &str) {
    let text = format!("import \"std/{module}\" as it;\n{tests}");
    let project = Project::new().file("tests/t.rhai", &text);
    project.run(&["test"]).ok();
}

#[test]
fn apt() {
    passes(
        "apt",
        r#"
fn only_what_is_missing() {
    let host = test::host("web");
    test::answer("*curl 2>/dev/null", "install ok installed");
    test::equal(it::install(host, ["curl", "jq"]), ["jq"]);
    let last = test::log().pop();
    test::check(last.starts_with("web: DEBIAN_FRONTEND=noninteractive apt-get"), last);
    test::check(last.ends_with(" jq"), last);
    test::equal(it::remove(host, ["jq"]), []);
}
fn a_name_is_no_shell() {
    let message = test::fails(|| it::install(test::host("web"), ["x; reboot"]));
    test::equal(message, "apt: invalid package name `x; reboot`");
    test::equal(test::log(), []);
}
"#,
    );
}

#[test]
fn deploy() {
    passes(
        "deploy",
        r#"
fn one_after_the_other() {
    it::rolling(test::hosts(["a", "b"]), 1, #{ name: "shop", image: "shop:2" });
    test::equal(test::log(), [
        "run container shop of shop:2 on a", "run container shop of shop:2 on b"
    ]);
}
fn first_one_alone() {
    test::prompt("a runs the new version. Update 2 more?", "yes");
    it::canary(test::hosts(["a", "b", "c"]), 1, #{ image: "shop:2" });
    test::equal(test::log().len(), 3);
}
"#,
    );
}

#[test]
fn bootstrap() {
    let tests = r#"
import "std/bootstrap" as it;

fn everything_at_first() {
    let changed = it::run(test::host("web"), "base", #{ name: "shop" });
    test::equal(changed, ["/etc/motd", "/etc/plain", "10-first.sh"]);
    let log = test::log().filter(|line| !line.contains("sha256sum"));
    test::equal(log, [
        "write /etc/motd on web", "write /etc/plain on web", "web: script: echo first …",
        "write /var/lib/hitc/bootstrap/10-first.sh on web"
    ]);
}
fn nothing_again() {
    test::answer("*motd*", fs::sha256_of("Welcome to shop\n") + "  /etc/motd");
    test::answer("*plain*", fs::sha256_of("as it is\n"));
    test::answer("*10-first*", fs::sha256_of(fs::sha256_of("echo first\n")));
    test::equal(it::run(test::host("web"), "base", #{ name: "shop" }), []);
}
fn a_script_that_an_older_version_stored() {
    test::answer("*motd*", fs::sha256_of("Welcome to shop\n"));
    test::answer("*plain*", fs::sha256_of("as it is\n"));
    test::answer("*10-first*", fs::sha256_of("echo first\n"));
    test::equal(it::run(test::host("web"), "base", #{ name: "shop" }), []);
    test::equal(test::log().pop(), "write /var/lib/hitc/bootstrap/10-first.sh on web");
    test::equal(test::log().filter(|line| line.contains("script: ")), []);
}
fn the_mode_is_that_of_the_local_file() {
    test::equal(fs::mode("base/files/etc/plain"), "644");
    test::answer("sha256sum*plain*", fs::sha256_of("as it is\n"));
    test::answer("stat*plain*", "644\n");
    let changed = it::run(test::host("web"), "base", #{ name: "shop" });
    test::check(!changed.contains("/etc/plain"), changed.to_string());
    test::answer("stat*plain*", "600\n");
    let changed = it::run(test::host("web"), "base", #{ name: "shop" });
    test::check(changed.contains("/etc/plain"), changed.to_string());
}
"#;
    Project::new()
        .file("base/files/etc/motd.tpl", "Welcome to {{ name }}\n")
        .file("base/files/etc/plain", "as it is\n")
        .file("base/scripts/10-first.sh", "echo first\n")
        .file("tests/t.rhai", tests)
        .run(&["test"])
        .ok();
}

#[test]
fn volume() {
    passes(
        "volume",
        r#"
fn what_is_run() {
    let host = test::host("db");
    let data = #{ name: "data", id: "1", devices: ["/dev/disk/by-id/scsi-0HC_Volume_1"] };
    test::answer("*mount volume data*", "ext4\n");
    test::equal(it::mount(host, data, "/srv/data", ""), "ext4");
    it::unmount(host, data);
    test::check(it::grow(host, data, 20), "grown");
    let log = test::log();
    test::equal(log.len(), 3);
    test::check(log[0].contains("mount volume data"), log[0]);
    test::check(log[1].contains("unmount volume data"), log[1]);
    test::check(log[2].contains("grow the file system of volume data"), log[2]);
}
fn what_is_wrong_is_refused() {
    let host = test::host("db");
    let data = #{ name: "data", id: "1", devices: [] };
    let message = test::fails(|| it::mount(host, data, "srv", ""));
    test::equal(message, "invalid folder `srv`");
    let message = test::fails(|| it::mount(host, data, "/srv", "btrfs"));
    test::equal(message, "invalid file system `btrfs`");
    test::equal(test::log(), []);
}
"#,
    );
}
