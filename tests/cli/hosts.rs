//! Closures that run for several hosts.

use crate::support::{Project, Run};

/// Runs a task whose `hosts` are `a`, `b` and `c`; nobody answers there.
fn run(body: &str) -> Run {
    Project::new()
        .file(
            "unmanaged_servers.txt",
            "10.255.0.1 a\n10.255.0.2 b\n10.255.0.3 c\n",
        )
        .file(
            "hitcfile.rhai",
            &format!("/// T.\nfn t(hosts) {{\n{body}\n}}\n"),
        )
        .run(&["run", "--all", "t"])
}

#[test]
fn results_come_in_the_order_of_the_hosts() {
    let run = run("    print(hosts.each(|host| host.name + \"!\"));\n    \
         print(hosts.serial(|host| host.name));\n    \
         print(hosts.rolling(2, |host| host.ip));\n    \
         print(hosts.batch([1, \"100%\"], |host| host.name));");
    run.is(
        0,
        "[\"a!\", \"b!\", \"c!\"]\n[\"a\", \"b\", \"c\"]\n\
         [\"10.255.0.1\", \"10.255.0.2\", \"10.255.0.3\"]\n[\"a\", \"b\", \"c\"]\n",
        "",
    );
}

#[test]
fn what_is_printed_carries_its_host() {
    run("    hosts.serial(|host| print(\"hello\"));").is(
        0,
        "[a] hello\n[b] hello\n[c] hello\n",
        "",
    );
}

/// A server's output has lines of its own.
#[test]
fn each_printed_line_carries_its_host() {
    run("    hosts.serial(|host| print(\"one\\n[b] two\\n\\n\"));").is(
        0,
        "[a] one\n[a] [b] two\n[a] \n[b] one\n[b] [b] two\n[b] \n\
         [c] one\n[c] [b] two\n[c] \n",
        "",
    );
}

/// One that fails does not stop the others, and every failure is shown.
#[test]
fn each_goes_on() {
    run(
        "    hosts.parallel(1, |host| {\n        print(\"begun\");\n        \
         if host.name != \"b\" { throw \"no luck\"; }\n    });",
    )
    .is(
        1,
        "[a] begun\n[b] begun\n[c] begun\n",
        "\
error: host `a`: no luck
 --> hitcfile.rhai:5:31
  |
5 |         if host.name != \"b\" { throw \"no luck\"; }
  |                               ^^^^^
  |
  = note: in a closure called at hitcfile.rhai:3:11
error: host `c`: no luck
 --> hitcfile.rhai:5:31
  |
5 |         if host.name != \"b\" { throw \"no luck\"; }
  |                               ^^^^^
  |
  = note: in a closure called at hitcfile.rhai:3:11
",
    );
}

#[test]
fn rolling_and_batches_stop_at_a_failure() {
    let fails = "|host| { print(host.name); if host.name == \"b\" { throw \"no\"; } }";
    let printed = |call: &str| run(&format!("    hosts.{call};")).stdout;
    assert_eq!(printed(&format!("rolling(1, {fails})")), "[a] a\n[b] b\n");
    assert_eq!(printed(&format!("serial({fails})")), "[a] a\n[b] b\n");
    assert_eq!(printed(&format!("batch([1], {fails})")), "[a] a\n[b] b\n");
    let all = printed(&format!("batch([1, 2], {fails})"));
    assert_eq!(all.lines().count(), 3, "the batch of `b` ends: {all}");
}

/// What a script catches says what was wrong and where.
#[test]
fn failures_can_be_caught() {
    run(
        "    try { hosts.each(|host| { if host.name == \"b\" { throw \"no\"; } }); }\n    \
         catch (e) { print(`${e.kind} ${e.host} ${e.message}`); }",
    )
    .is(0, "failed b no\n", "");
}

#[test]
fn a_captured_variable_is_not_changed_by_several_at_once() {
    let counted = "    let count = 0;\n    hosts.CALL(|host| { count += 1; });\n    print(count);";
    let run_with = |call: &str| run(&counted.replace("CALL(", call));
    run_with("serial(").is(0, "3\n", "");
    let refused = run_with("rolling(2, ");
    assert_eq!(refused.status, 2, "{refused}");
    assert!(
        refused.stderr.contains("cannot change a captured variable"),
        "{refused}"
    );
}

#[test]
fn a_command_that_reaches_nobody() {
    let run = Project::new()
        .file("unmanaged_servers.txt", "127.0.0.1:9 a\n127.0.0.1:8 b\n")
        .file(
            "hitcfile.rhai",
            "/// T.\nfn t(hosts) { hosts.run(\"true\"); }\n",
        )
        .run(&["run", "--all", "t"]);
    assert_eq!(run.status, 4, "{run}");
    assert_eq!(
        run.errors(),
        [
            "error: host `a`: connection refused (127.0.0.1:9)",
            "error: host `b`: connection refused (127.0.0.1:8)"
        ]
    );
}

/// No thread for each host, and little memory: what the kernel says of the process while it runs.
#[test]
fn a_thousand_hosts() {
    let test = r#"
fn many() {
    let names = [];
    for n in 0..1000 { names.push(`host-${n}`); }
    let hosts = test::hosts(names);
    test::answer("uptime", "up");
    let results = hosts.run("uptime");
    test::equal(results.len(), 1000);
    test::check(results.all(|result| result.stdout == "up"), "all answer");
    test::equal(hosts.each(|host| host.run("uptime")).len(), 1000);
}
"#;
    let project = Project::new().file("tests/t.rhai", test);
    let mut hitc = project.spawn(&["test"]);
    let status = format!("/proc/{}/status", hitc.id());
    let (mut memory, mut threads) = (0, 0);
    let ended = loop {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let number = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        memory = memory.max(number("VmHWM:").unwrap_or(0));
        threads = threads.max(number("Threads:").unwrap_or(0));
        if let Some(ended) = hitc.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(ended.success());
    assert!((1..150_000).contains(&memory), "{memory} kB");
    assert!((1..64).contains(&threads), "{threads} threads");
}
