//! `hitc test`, and dry runs, which use the same mock hosts.

use std::{
    fs,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

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
         2 tests: 2 passed, 0 failed\ntasks covered: 1 of 1\n",
    );
    project.run(&["test", "-k", "stops"]).fails(
        0,
        "deploy.stops_at_a_bad_one  ok\n1 test: 1 passed, 0 failed\ntasks covered: 1 of 1\n",
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

/// Runs a test for each call, and returns the errors and what each says to write.
fn unanswered(calls: &[&str]) -> Vec<(String, String)> {
    let tests = calls.iter().enumerate();
    let tests: String = tests
        .map(|(at, call)| {
            format!("fn t{at:02}() {{\n    let host = test::host(\"web\");\n    {call};\n}}\n")
        })
        .collect();
    let run = Project::new()
        .file(
            "hitcfile.rhai",
            "/// A.\n/// @confirm \"Really?\"\nfn asks() {}\n",
        )
        .file("tests/it.rhai", &tests)
        .run(&["test"]);
    assert_eq!(run.status, 1, "{run}");
    let count = calls.len();
    assert!(
        run.stderr
            .contains(&format!("{count} tests: 0 passed, {count} failed\n")),
        "{run}"
    );
    let after = |mark: &'static str| {
        let lines = run
            .stderr
            .lines()
            .filter_map(move |line| line.split_once(mark));
        lines.map(|(_, rest)| rest.to_owned())
    };
    let errors = after("error: ").zip(after("= help: "));
    errors.collect()
}

/// Calls that ask for something, the error without an answer, and what the error says to write.
const UNANSWERED: &[(&str, &str, &str)] = &[
    (
        "http::get(\"https://api.example.com/x?y=1\")",
        "GET https://api.example.com/x?y=1 has no answer in this test",
        "test::http(\"GET\", \"https://api.example.com/x?y=1\", #{ status: 200, body: \"…\" })",
    ),
    (
        "http::request(\"POST\", \"https://api.example.com/\", #{ body: #{ a: 1 } })",
        "POST https://api.example.com/ has no answer in this test",
        "test::http(\"POST\", \"https://api.example.com/\", #{ status: 200, body: \"…\" })",
    ),
    (
        "http::api(#{ name: \"a\", url: \"https://a.example.com\", token: \"t\" }).delete(\"/x\")",
        "DELETE https://a.example.com/x has no answer in this test",
        "test::http(\"DELETE\", \"https://a.example.com/x\", #{ status: 200, body: \"…\" })",
    ),
    (
        "http::access_token(#{ url: \"https://a.example.com/token\", form: #{} })",
        "POST https://a.example.com/token has no answer in this test",
        "test::http(\"POST\", \"https://a.example.com/token\", #{ status: 200, body: \"…\" })",
    ),
    (
        "ui::prompt(\"Colour?\")",
        "the question `Colour?` has no answer in this test",
        "test::prompt(\"Colour?\", \"…\")",
    ),
    (
        "ui::prompt(\"Colour\", \"red\")",
        "the question `Colour [red]` has no answer in this test",
        "test::prompt(\"Colour [red]\", \"…\")",
    ),
    (
        "ui::confirm(\"Go on?\")",
        "the question `Go on?` has no answer in this test",
        "test::prompt(\"Go on?\", \"…\")",
    ),
    (
        "task::run(\"asks\")",
        "the question `Really?` has no answer in this test",
        "test::prompt(\"Really?\", \"…\")",
    ),
    (
        "secret::prompt(\"Password:\")",
        "the question `Password:` has no answer in this test",
        "test::prompt(\"Password:\", \"…\")",
    ),
    (
        "secret::env(\"HOME\")",
        "environment variable `HOME` is not set in this test",
        "test::env(\"HOME\", \"…\")",
    ),
    (
        "env::get(\"PATH\")",
        "environment variable `PATH` is not set in this test",
        "test::env(\"PATH\", \"…\")",
    ),
    (
        "secret::command(\"pass show \\\"db\\\"\")",
        "`pass show \"db\"` has no answer in this test",
        "test::answer(\"pass show \\\"db\\\"\", \"…\")",
    ),
    (
        "secret::file(\"~/password\")",
        "`~/password` is outside of the project, and not a file of this test",
        "test::file(\"~/password\", \"…\")",
    ),
    (
        "secret::file(\"password\")",
        "`password` does not exist in this test",
        "test::file(\"password\", \"…\")",
    ),
    (
        "fs::read(\"/etc/hostname\")",
        "`/etc/hostname` is outside of the project, and not a file of this test",
        "test::file(\"/etc/hostname\", \"…\")",
    ),
    (
        "fs::exists(\"../home\")",
        "`../home` is outside of the project, and not a file of this test",
        "test::file(\"../home\", \"…\")",
    ),
    (
        "host.upload(\"build/app\", \"/srv/app\")",
        "`build/app` does not exist in this test",
        "test::file(\"build/app\", \"…\")",
    ),
    (
        "docker::ps(host)",
        "`docker::ps` has no answer in this test",
        "test::mock(\"docker::ps\", […])",
    ),
    (
        "docker::inspect(host, \"shop\")",
        "`docker::inspect` has no answer in this test",
        "test::mock(\"docker::inspect\", #{…})",
    ),
    (
        "docker::logs([host], [], #{})",
        "`docker::logs` has no answer in this test",
        "test::mock(\"docker::logs\", ())",
    ),
    (
        "docker::images(host)",
        "`docker::images` has no answer in this test",
        "test::mock(\"docker::images\", […])",
    ),
    (
        "host.facts()",
        "`ssh::facts` has no answer in this test",
        "test::mock(\"ssh::facts\", #{…})",
    ),
    (
        "host.ping()",
        "`ssh::ping` has no answer in this test",
        "test::mock(\"ssh::ping\", #{…})",
    ),
    (
        "provider::prices(#{})",
        "`provider::prices` has no answer in this test",
        "test::mock(\"provider::prices\", […])",
    ),
    (
        "provider::costs()",
        "`provider::costs` has no answer in this test",
        "test::mock(\"provider::costs\", […])",
    ),
    (
        "provider::volumes()",
        "`provider::volumes` has no answer in this test",
        "test::mock(\"provider::volumes\", […])",
    ),
    (
        "provider::images()",
        "`provider::images` has no answer in this test",
        "test::mock(\"provider::images\", […])",
    ),
    (
        "provider::console(host)",
        "`provider::console` has no answer in this test",
        "test::mock(\"provider::console\", \"…\")",
    ),
    (
        "ec2::images()",
        "`ec2::images` has no answer in this test",
        "test::mock(\"ec2::images\", […])",
    ),
    (
        "iptables::show(host)",
        "`iptables::show` has no answer in this test",
        "test::mock(\"iptables::show\", #{…})",
    ),
];

#[test]
fn what_a_test_does_not_answer_fails_and_says_what_to_write() {
    let calls: Vec<&str> = UNANSWERED.iter().map(|(call, ..)| *call).collect();
    let found = unanswered(&calls);
    for ((call, message, write), found) in UNANSWERED.iter().zip(&found) {
        let help = format!("write `{write}` in the test, before the call");
        assert_eq!(*found, ((*message).to_owned(), help), "{call}");
    }
    assert_eq!(found.len(), calls.len());
}

#[test]
fn servers_must_be_known() {
    let project = Project::new()
        .file("hitcfile.rhai", "/// A.\n/// @role web\nfn a(host) {}\n")
        .file("unmanaged_servers.txt", "127.0.0.1:9 real\n")
        .file(
            "tests/it.rhai",
            "fn a() {\n    provider::nodes();\n}\nfn b() {\n    ssh::host(\"real\");\n}\n\
             fn c() {\n    task::run(\"a\");\n}\nfn d() {\n    test::hosts([\"web\"]);\n    \
             ssh::host(\"real\");\n}\n",
        );
    let run = project.run(&["test"]);
    let unknown = "error: the servers are not known in this test";
    assert_eq!(
        run.errors(),
        [
            unknown,
            unknown,
            unknown,
            "error: server `real` not found",
            "error: 4 tests failed"
        ],
        "{run}"
    );
    let help = "  = help: write `test::host(\"real\")` in the test, before the call\n";
    assert!(run.stderr.contains(help), "{run}");
    let help = "  = help: write `test::hosts([\"web\"])` in the test, before the call\n";
    assert_eq!(run.stderr.matches(help).count(), 3, "{run}");
}

/// Also a script that catches the error.
#[test]
fn an_unanswered_call_cannot_be_hidden() {
    let project = Project::new().file(
        "tests/it.rhai",
        "fn caught() {\n    try { http::get(\"https://a.example.com/\"); } catch {}\n}\n",
    );
    project.run(&["test"]).fails(
        1,
        "\
it.caught  FAILED
error: GET https://a.example.com/ has no answer in this test
help: write `test::http(\"GET\", \"https://a.example.com/\", #{ status: 200, body: \"…\" })` in the test, before the call
1 test: 0 passed, 1 failed
error: 1 test failed
",
    );
}

/// Runs the functions of a test file; all must pass.
fn passes(project: &Project, tests: &str) {
    project.write("tests/it.rhai", tests);
    project.run(&["test"]).ok();
}

#[test]
fn requests_are_answered() {
    passes(
        &Project::new(),
        r#"
import "std/retry" as retry;

fn by_method_and_url() {
    test::http("GET", "https://a.example.com/*", "any");
    test::http("get", "https://a.example.com/x?y=[1]", #{ status: 404, headers: #{ "x-a": "1" }, body: "none" });
    test::http("POST", "https://a.example.com/*", #{ status: 201, body: #{ id: 7 } });
    test::equal(http::get("https://a.example.com/"), "any");
    let found = http::request("GET", "https://a.example.com/x?y=[1]");
    test::equal([found.ok, found.status, found.headers["x-a"], found.body], [false, 404, "1", "none"]);
    let made = http::request("POST", "https://a.example.com/x", #{ headers: #{ "X-B": "2" }, body: #{ name: "n" } });
    test::equal(json::parse(made.body), #{ id: 7 });
    let sent = test::requests();
    test::equal(sent.map(|sent| `${sent.method} ${sent.url}`), [
        "GET https://a.example.com/", "GET https://a.example.com/x?y=[1]", "POST https://a.example.com/x"
    ]);
    test::equal([sent[2].body, sent[2].headers["x-b"]], ["{\"name\":\"n\"}", "2"]);
    test::equal(test::log(), ["send POST https://a.example.com/x"]);
}
fn one_after_the_other() {
    test::http("GET", "*", [#{ status: 503 }, #{ error: "connection refused" }, "fine"]);
    test::equal(test::fails(|| http::get("https://a.example.com/")), "GET https://a.example.com/: status 503");
    test::equal(test::fails(|| http::get("https://a.example.com/")), "GET https://a.example.com/: connection refused");
    test::equal(http::get("https://a.example.com/"), "fine");
    test::equal(http::get("https://a.example.com/"), "fine");
}
fn a_client_retries_in_no_time() {
    let api = http::api(#{ name: "a", url: "https://a.example.com", token: "t" });
    test::http("GET", "*/servers", [#{ status: 503 }, #{ status: 429, headers: #{ "retry-after": "60" } }, #{ body: [1, 2] }]);
    let begun = time::now();
    test::equal(api.get("/servers"), [1, 2]);
    test::check(time::now() - begun >= 60.0, "the clock advanced");
    test::equal(test::requests().len(), 3);
    test::http("DELETE", "*", #{ status: 404, body: #{ message: "no such server" } });
    test::equal(test::fails(|| api.delete("/servers/1")), "a: DELETE /servers/1: no such server (status 404)");
    test::equal(test::log(), ["send DELETE /servers/1"]);
}
fn a_token_is_of_one_test() {
    test::http("POST", "https://a.example.com/token", #{ body: #{ access_token: "secret-1", expires_in: 100 } });
    let options = #{ url: "https://a.example.com/token", form: #{ a: "b c" } };
    let token = http::access_token(options);
    test::equal(http::access_token(options).reveal(), "secret-1");
    test::equal(test::requests().len(), 1);
    time::sleep(100);
    http::access_token(options);
    test::equal(test::requests().map(|sent| sent.body), ["a=b+c", "a=b+c"]);
}
fn another_token() {
    test::http("POST", "https://a.example.com/token", #{ body: #{ access_token: "secret-2" } });
    let options = #{ url: "https://a.example.com/token", form: #{ a: "b c" } };
    test::equal(http::access_token(options).reveal(), "secret-2");
}
fn retries_take_no_time() {
    let begun = time::now();
    test::equal(begun, 1767225600.0);
    let tried = 0;
    let message = test::fails(|| retry::times(10, 3600, || { tried += 1; throw `failed ${tried}`; }));
    test::equal(message, "failed 10");
    test::equal(time::now() - begun, 9.0 * 3600.0);
}
fn each_test_begins_at_the_same_time() {
    test::equal(time::now(), 1767225600.0);
}
"#,
    );
}

#[test]
fn questions_variables_secrets_and_files_are_answered() {
    let project = Project::new()
        .file(".env", "REAL=real\n")
        .file("templates/a.tpl", "Hello {{ name }}\n")
        .file("old/a", "old\n")
        .file(
            "hitcfile.rhai",
            "/// A.\n/// @confirm \"Really ${what}?\"\n/// @param what\nfn asks(what) { what }\n",
        );
    let root = project.root();
    passes(
        &project,
        r#"
fn questions() {
    test::prompt("Colour*", ["red", "blue"]);
    test::prompt("Password?", "hush");
    test::prompt("Go on?", "yes");
    test::prompt("Stop?", "no");
    test::prompt("Type web:", "web");
    test::equal([ui::prompt("Colour 1"), ui::prompt("Colour 2", "green")], ["red", "blue"]);
    test::equal(secret::prompt("Password?").reveal(), "hush");
    ui::confirm("Go on?");
    ui::confirm("Type web:", "web");
    test::equal(test::fails(|| ui::confirm("Stop?")), "not confirmed");
    test::equal(test::fails(|| ui::confirm("Type web:", "db")), "not confirmed");
    test::prompt("Really now?", ["no", "yes"]);
    test::equal(test::fails(|| task::run("asks", #{ what: "now" })), "not confirmed");
    test::equal(task::run("asks", #{ what: "now" }), "now");
    test::equal(test::calls("ui::confirm"), [["Go on?"], ["Type web:", "web"], ["Stop?"], ["Type web:", "db"]]);
}
fn variables_and_secrets() {
    test::env("TOKEN", "t0ken");
    test::equal(env::get("TOKEN"), "t0ken");
    test::equal(secret::env("TOKEN").reveal(), "t0ken");
    test::equal([env::get("REAL", "none"), env::get("HOME", "none")], ["none", "none"]);
    test::answer("pass show *", "hush\n");
    test::equal(secret::command("pass show db").reveal(), "hush");
    test::file("~/.token", "of a file\n");
    test::equal(secret::file("~/.token").reveal(), "of a file");
}
fn files() {
    test::equal(fs::read("old/a"), "old\n");
    fs::write("new/b", "new");
    fs::write("old/a", "changed");
    fs::make_folder("empty");
    test::equal([fs::read("new/b"), fs::read("old/a")], ["new", "changed"]);
    test::equal(fs::list("new"), ["b"]);
    test::equal(fs::files("empty"), []);
    test::equal(fs::list("."), [".env", "empty", "hitcfile.rhai", "new", "old", "templates", "tests"]);
    fs::write("secret", secret::of("hush"));
    test::equal([fs::mode("secret"), fs::mode("new/b")], ["600", "644"]);
    fs::remove("old");
    test::equal([fs::exists("old"), fs::exists("old/a"), fs::is_folder("new")], [false, false, true]);
    test::equal(test::log()[0], "write `new/b` here");
}
fn each_test_has_the_real_files() {
    test::equal(fs::read("old/a"), "old\n");
    test::equal(fs::exists("new"), false);
    let message = test::fails(|| fs::read("new/b"));
    test::equal(message, "`new/b`: no such file or directory");
}
fn transfers() {
    let web = test::host("web");
    test::file("build/app", "binary");
    test::file("build/a.tpl", "{{ x }}");
    web.upload("build/app", "/srv/app");
    web.upload("build", "/srv/build");
    web.template("templates/a.tpl", "/srv/a", #{ name: "you" });
    web.template("build/a.tpl", "/srv/b", #{ x: 1 });
    web.download("/var/log/x", "logs/{host}");
    test::equal(test::log(), [
        "upload build/app to /srv/app on web", "upload build to /srv/build on web",
        "write /srv/a on web", "write /srv/b on web", "download /var/log/x of web to logs/web"
    ]);
    test::equal(test::calls("ssh::template")[0].extract(1), ["templates/a.tpl", "/srv/a", #{ name: "you" }]);
}
fn a_build_of_a_folder_that_is_made_later() {
    test::file("dist/Dockerfile", "FROM scratch");
    test::equal(docker::build("dist"), "hitc/dist:test");
    test::equal(test::log(), ["build image hitc/dist:test"]);
}
fn a_forward_calls_its_action() {
    let got = test::host("db").forward_local("5000", "5432", |from| `to ${from}`);
    test::equal(got, "to 127.0.0.1:5000");
}
"#,
    );
    assert_eq!(fs::read_to_string(root.join("old/a")).unwrap(), "old\n");
    assert!(!root.join("new").exists() && !root.join("hitc.id").exists());
}

#[test]
fn servers_are_in_memory() {
    let manifest =
        "web:\n  provider: hetzner\n  count: 2\n  containers:\n    shop:\n      image: shop:1\n";
    let project = Project::new()
        .file("shop.yml", manifest)
        .file(
            "sized.yml",
            "web:\n  provider: hetzner\n  size: ${env.SIZE}\n",
        )
        .env("SIZE", "real")
        .file("wrong.yml", "web:\n  provider: hetzner\n  coutn: 2\n")
        .file(
            "hitcfile.rhai",
            "/// A.\n/// @role web\nfn greet(host) { host.run(\"echo hello\") }\n",
        );
    passes(
        &project,
        r#"
fn listed() {
    test::hosts(["web", #{ name: "db", provider: "ec2", size: "t3.micro", state: "stopped", manifest: "shop" }]);
    test::host("other", #{ own: false });
    let nodes = provider::nodes();
    test::equal(nodes.map(|node| [node.name, node.role, node.provider, node.size, node.state]), [
        ["db", "db", "ec2", "t3.micro", "stopped"], ["web", "web", "test", "", "running"]
    ]);
    test::equal(nodes[0].manifest, "shop");
    test::equal(provider::all_nodes().map(|node| node.own), [true, false, true]);
    test::equal(ssh::host("db").provider, "ec2");
    test::equal(ssh::host("192.0.2.1").name, "web");
    test::equal(ssh::host("web/shop").role, "shop");
    let message = test::fails(|| ssh::host("bd"));
    test::equal(message, "server `bd` not found");
}
fn none() {
    test::hosts([]);
    test::equal(provider::nodes(), []);
}
fn created_and_terminated() {
    test::hosts(["db"]);
    let made = provider::create(#{ provider: "local", name: "web", count: 2 });
    test::equal(made.map(|host| host.name), ["web", "web-1"]);
    test::answer("echo*", "hello");
    test::equal(task::run("greet"), ["hello", "hello"]);
    test::equal(test::fails(|| provider::create(#{ provider: "local", name: "web" })), "server `web` already exists");
    provider::rename(ssh::host("web-1"), "old");
    provider::terminate([ssh::host("web")]);
    test::equal(provider::nodes().map(|node| node.name), ["old", "db"]);
    test::equal(test::log(), [
        "create 2 servers: web, web-1", "web: echo hello", "web-1: echo hello",
        "rename server web-1 to old", "terminate web"
    ]);
}
fn what_is_wrong_is_found() {
    test::hosts([]);
    let message = test::fails(|| provider::create(#{ provider: "local", name: "web", siez: "1x1g" }));
    test::check(message.contains("siez"), message);
    test::host("db", #{ "protected": true });
    let message = test::fails(|| provider::terminate([ssh::host("db")]));
    test::check(message.contains("protected"), message);
    test::equal(test::log(), []);
}
fn manifests() {
    ensemble::plan("shop", #{});
    ensemble::up("shop", #{});
    test::equal(provider::nodes().map(|node| [node.name, node.provider, node.manifest]), [
        ["web", "hetzner", "shop"], ["web-1", "hetzner", "shop"]
    ]);
    test::equal(task::run("greet").len(), 2);
    ensemble::down("shop");
    test::equal(provider::nodes(), []);
    test::equal(test::log().filter(|line| line.contains("`shop`")), [
        "bring up `shop`: 2 servers, 2 containers", "take down `shop`"
    ]);
    let message = test::fails(|| ensemble::up("wrong", #{}));
    test::check(message.contains("coutn"), message);
}
fn variables_of_manifests() {
    test::hosts([]);
    test::equal(test::fails(|| ensemble::up("sized", #{})), "environment variable `SIZE` is not set");
    test::env("SIZE", "cx22");
    ensemble::up("sized", #{});
    test::equal(provider::nodes().len(), 1);
}
"#,
    );
}

#[test]
fn any_function_can_be_mocked() {
    passes(
        &Project::new(),
        r#"
fn by_a_value_or_a_closure() {
    let web = test::host("web");
    test::mock("docker::ps", [#{ name: "shop", state: "running" }]);
    test::mock("docker::inspect", |host, name| #{ Name: `${host.name}/${name}` });
    test::mock("ssh::facts", || #{ os: "debian" });
    test::mock("provider::console", "booted");
    test::mock("secret::prompt", secret::of("hush"));
    test::mock("docker::logs", ());
    test::equal(docker::ps(web)[0].name, "shop");
    test::equal(docker::ps(web, #{ all: true }).len(), 1);
    test::equal(docker::inspect(web, "shop").Name, "web/shop");
    test::equal(web.facts().os, "debian");
    test::equal(provider::console(web), "booted");
    test::equal(secret::prompt("Password?").reveal(), "hush");
    docker::logs([web], [], #{});
    test::equal(test::calls("docker::ps").len(), 2);
}
fn a_change_is_recorded_and_checked() {
    let web = test::host("web");
    test::mock("docker::run", #{ name: "shop", ip: "10.0.0.2" });
    test::equal(docker::run(web, #{ name: "shop", image: "shop:1" }).ip, "10.0.0.2");
    test::equal(test::log(), ["run container shop of shop:1 on web"]);
    test::equal(test::calls("docker::run")[0][1].image, "shop:1");
    let message = test::fails(|| docker::run(web, #{ nmae: "shop", image: "shop:1" }));
    test::check(message.contains("nmae"), message);
    test::mock("docker::run", |host, options| throw `no space on ${host.name}`);
    test::equal(test::fails(|| docker::run(web, #{ image: "shop:1" })), "no space on web");
}
fn mistakes() {
    test::equal(test::fails(|| test::mock("docker::pss", [])), "function `docker::pss` not found");
    test::equal(test::fails(|| test::calls("json::parse")), "calls of `json::parse` are not recorded");
    test::mock("docker::ps", #{});
    let message = test::fails(|| docker::ps(test::host("web")));
    test::equal(message, "`docker::ps` returns array, and the answer of the test is: map");
    test::mock("ui::confirm", false);
    let message = test::fails(|| ui::confirm("Sure?"));
    test::equal(message, "`ui::confirm` returns nothing, and the answer of the test is: bool");
}
"#,
    );
}

/// Calls that reach out, or write: `URL` and `PORT` are those of a listener, `HOME` is the home folder.
const REACHING: &[&str] = &[
    "http::get(\"URL\")",
    "http::request(\"POST\", \"URL\", #{})",
    "http::api(#{ name: \"a\", url: \"URL\", token: \"t\" }).get(\"/\")",
    "http::access_token(#{ url: \"URL\", form: #{} })",
    "ssh::host(\"real\").run(\"true\")",
    "ssh::host(\"127.0.0.1\").run(\"true\")",
    "provider::nodes()",
    "provider::volumes()",
    "provider::prices(#{})",
    "provider::check(\"hetzner\")",
    "provider::create(#{ provider: \"hetzner\", name: \"x\" })",
    "provider::set_up(\"local\")",
    "ensemble::plan(\"m\", #{})",
    "ensemble::up(\"m\", #{})",
    "ensemble::down(\"m\")",
    "host.ping()",
    "host.facts()",
    "host.wait_for_port(PORT)",
    "host.terminal()",
    "host.forward_local(\"0\", \"PORT\")",
    "host.rsync_up(\"m.yml\", \"/tmp/x\")",
    "docker::ps(host)",
    "docker::inside(host, \"x\").run(\"true\")",
    "docker::build(\"image\")",
    "docker::push(host, \"x\")",
    "docker::login(\"127.0.0.1:PORT\", \"joe\", secret::of(\"x\"))",
    "docker::logs([host], [], #{})",
    "iptables::check(host)",
    "iptables::open(host, \"80\", \"*\", #{})",
    "ec2::images()",
    "local::run(\"touch HOME/touched touched\")",
    "secret::command(\"touch HOME/touched touched\")",
    "fs::write(\"HOME/written\", \"x\")",
    "fs::write(\"written\", \"x\")",
    "fs::remove(\"m.yml\")",
    "host.download(\"/x\", \"downloaded\")",
    "ui::prompt(\"?\")",
    "time::sleep(3600)",
];

/// Even if the user has clouds, an engine and servers, which would be asked otherwise.
#[test]
fn nothing_leaves_the_machine_and_nothing_is_written() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    std::thread::spawn(move || {
        while listener.accept().is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let url = format!("http://127.0.0.1:{port}");
    let project = Project::new()
        .file("unmanaged_servers.txt", &format!("127.0.0.1:{port} real\n"))
        .file("m.yml", "web:\n  provider: hetzner\n")
        .file("image/Dockerfile", "FROM scratch\n")
        .file("hitcfile.rhai", "/// A.\nfn a() {}\n")
        .env("HCLOUD_TOKEN", "t")
        .env("HCLOUD_ENDPOINT", &format!("{url}/v1"))
        .env("DIGITALOCEAN_TOKEN", "t")
        .env("DIGITALOCEAN_API_URL", &url)
        .env("AWS_ENDPOINT_URL", &url)
        .env("AWS_ACCESS_KEY_ID", "t")
        .env("AWS_SECRET_ACCESS_KEY", "t")
        .env("AWS_REGION", "us-east-1")
        .env("DOCKER_HOST", &format!("tcp://127.0.0.1:{port}"));
    let home = project.home().display().to_string();
    let text = |call: &str| {
        call.replace("URL", &url)
            .replace("HOME", &home)
            .replace("PORT", &port.to_string())
    };
    let tests: String = REACHING
        .iter()
        .enumerate()
        .map(|(at, call)| {
            format!(
                "fn t{at}() {{ let host = test::host(\"web\"); {}; }}\n",
                text(call)
            )
        })
        .collect();
    project.write("tests/it.rhai", &tests);
    let files = |folder: &std::path::Path| {
        let names = fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let before = files(&project.root());
    let started = std::time::Instant::now();
    let run = project.run(&["test"]);
    assert!(
        run.stderr.contains(&format!("{} tests: ", REACHING.len())),
        "{run}"
    );
    assert!(started.elapsed().as_secs() < 60, "{run}");
    assert_eq!(connections.load(Ordering::SeqCst), 0, "{run}");
    assert_eq!(files(&project.home()), [""; 0], "{run}");
    assert_eq!(files(&project.root()), before, "{run}");
}

#[test]
fn files_and_names_choose_the_tests() {
    let project = Project::new()
        .file("tests/a.rhai", "fn one() {}\nfn two() {}\n")
        .file("tests/more/a.rhai", "fn one() {}\n");
    project.run(&["test"]).fails(
        0,
        "a.one  ok\na.two  ok\nmore/a.one  ok\n3 tests: 3 passed, 0 failed\n",
    );
    let more = "more/a.one  ok\n1 test: 1 passed, 0 failed\n";
    project.run(&["test", "tests/more/a.rhai"]).fails(0, more);
    project.run(&["test", "-k", "more"]).fails(0, more);
    project
        .run(&["test", "tests/a.rhai", "tests/more/a.rhai", "-k", "one"])
        .fails(
            0,
            "a.one  ok\nmore/a.one  ok\n2 tests: 2 passed, 0 failed\n",
        );
    project.run(&["test", "tests/a.rhai", "-k", "three"]).fails(
        3,
        "error: no test with `three` in its name found\nhelp: `hitc test` runs all tests\n",
    );
    project.run(&["test", "one"]).fails(
        3,
        "error: test file `one` not found\n\
         help: to run tests by their name, write `hitc test -k one`\n",
    );
    project.run(&["test", "tests/b.rhai"]).fails(
        3,
        "error: test file `tests/b.rhai` not found\nhelp: did you mean `tests/a.rhai`?\n",
    );
}

#[test]
fn tasks_that_no_test_calls_are_named() {
    let project = Project::new()
        .file(
            "hitcfile.rhai",
            "import \"db\" as db;\n/// One.\nfn one() { two() }\n/// Two.\nfn two() { 2 }\n\
             /// Three.\nfn three() {}\n/// Four.\nfn four(host) {\n    host.name\n}\nprivate fn helper() {}\n",
        )
        .file("db.rhai", "/// Backup.\nfn backup() {}\n/// Restore.\nfn restore() {}\nfn helper() {}\n")
        .file(
            "tests/db.rhai",
            "import \"../hitcfile\" as it;\n\
             fn backup() { test::equal(it::one(), 2); task::run(\"db.restore\"); }\n\
             fn fails() { test::host(\"web\"); test::equal(task::run(\"four\", [ssh::host(\"web\")], #{}), [\"web\"]); throw \"no\"; }\n",
        );
    let run = project.run(&["test"]);
    assert!(
        run.stderr.ends_with(
            "2 tests: 1 passed, 1 failed\n\
             tasks covered: 4 of 6; not called: three, db.backup\nerror: 1 test failed\n"
        ),
        "{run}"
    );
    let run = project.run(&["-o", "json", "test", "-k", "backup"]);
    assert_eq!(
        run.stdout,
        "{\"event\":\"test\",\"test\":{\"name\":\"db.backup\",\"ok\":true}}\n\
         {\"event\":\"tested\",\"tested\":{\"covered\":[\"one\",\"two\",\"db.restore\"],\"failed\":0,\
         \"not_covered\":[\"three\",\"four\",\"db.backup\"],\"passed\":1}}\n",
        "{run}"
    );
}

/// The tests note calls, which changes no position.
#[test]
fn errors_in_tasks_have_their_place() {
    let project = Project::new()
        .file(
            "hitcfile.rhai",
            "/// A.\nfn a() { let x = 1; throw \"no\"; }\n",
        )
        .file(
            "tests/it.rhai",
            "import \"../hitcfile\" as it;\nfn t() {\n    it::a();\n}\n",
        );
    let run = project.run(&["test"]);
    assert!(
        run.stderr.contains(
            "\
error: no
 --> hitcfile.rhai:2:21
  |
2 | fn a() { let x = 1; throw \"no\"; }
  |                     ^^^^^
"
        ),
        "{run}"
    );
}
