//! Limits of scripts: a mistake ends the script with an error that names the limit, and nothing else.

use std::time::{Duration, Instant};

use crate::support::{Project, Run};

fn run(body: &str) -> Run {
    let text = format!("/// A.\nfn a() {{ {body} }}\n");
    Project::new().file("hitcfile.rhai", &text).run(&["a"])
}

#[track_caller]
fn refused(body: &str, error: &str) {
    let run = run(body);
    assert_eq!(run.status, 1, "{run}");
    assert_eq!(run.errors(), [format!("error: {error}")], "{run}");
    assert!(run.stderr.contains("help: "), "{run}");
}

#[test]
fn values_cannot_grow_without_end() {
    let list = "the script makes a list with more than 1000000 items";
    refused("[].pad(1000000000000, 1)", list);
    refused("blob(1000000000000)", list);
    refused("let x = [1]; loop { x += x; }", list);
    let text = "the script makes text of more than 256 MiB";
    refused("let x = \"12345678\"; loop { x += x; }", text);
    refused("let x = \"x\"; x.pad(1000000000000, \"x\")", text);
    refused("let x = [\"12345678\"]; loop { x[0] += x[0]; }", text);
    // Twenty of its texts share their memory; its copies do not.
    let memory = "hitc uses more than 512 MiB of memory while the script runs";
    refused(
        "let x = [1]; for n in 0..19 { x += x; } let all = || 0; \
         loop { let y = x; let before = all; all = || { y; before } }",
        memory,
    );
    run("let x = []; x.pad(1000000, \"x\"); print(x.len())").is(0, "1000000\n", "");
}

/// Freeing a closure frees what it captured first, which may be a closure again. Without enough stack
/// for that, the process would be aborted.
#[test]
fn closures_cannot_nest_until_the_stack_overflows() {
    run("let f = |x| x; for n in 0..400000 { let g = f; f = |x| g.call(x); } print(\"made\")")
        .is(0, "made\n", "");
    refused(
        "let f = |x| x; loop { let g = f; f = |x| g.call(x); }",
        "hitc uses more than 512 MiB of memory while the script runs",
    );
    let run = run("|x| x.curry(1)");
    assert_eq!(run.status, 2, "{run}");
}

#[test]
fn the_nesting_of_a_script_is_limited() {
    for (begin, end) in [
        ("|| ", ""),
        ("|x| { ", "}"),
        ("(", ")"),
        ("`${", "}`"),
        ("[", "]"),
        ("- ", ""),
    ] {
        let run = run(&format!(
            "{}1{}",
            begin.repeat(100_000),
            end.repeat(100_000)
        ));
        assert_eq!(run.status, 2, "{begin}");
        assert_eq!(
            run.errors(),
            ["error: expressions and blocks are nested more than 64 deep"],
            "{begin}"
        );
    }
}

/// The error names the call that leads back to a function that is running.
#[test]
fn a_function_that_calls_itself() {
    let deep = |text: &str| Project::new().file("hitcfile.rhai", text).run(&["a"]);
    deep("/// A.\nfn a() { b(1) }\nprivate fn b(n) {\n    b(n + 1) + 1\n}\n").fails(
        1,
        "error: calls are nested more than 64 deep\n \
         --> hitcfile.rhai:4:5\n  |\n4 |     b(n + 1) + 1\n  |     ^\n  |\n  \
         = help: check for a function that calls itself without end\n",
    );
    let through = deep(
        "/// A.\nfn a() { b() }\nprivate fn b() { c() }\n\
         private fn c() { let f = |x| b(); f.call(1) }\n",
    );
    assert!(
        through.stderr.contains(" --> hitcfile.rhai:4:30\n"),
        "{through}"
    );
}

/// Loading a script has a limit of its own: the shell loads it for each completion.
#[test]
fn a_loop_at_the_top_level() {
    let project = Project::new().file("hitcfile.rhai", "loop {}\n/// A.\nfn a() {}\n");
    let started = Instant::now();
    let run = project.run(&["tasks"]);
    assert_eq!(
        run.errors(),
        ["error: the script executed more than 1000000 operations while it was loaded"],
        "{run}"
    );
    let project = project
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2");
    project.run(&["--", "hitc", "run", "pi"]).ok();
    assert!(started.elapsed() < Duration::from_secs(30));
}

/// A closure that runs itself on hosts would start threads without end.
#[test]
fn threads_are_limited() {
    let run = Project::new()
        .file("unmanaged_servers.txt", "10.255.0.1 web\n")
        .file(
            "hitcfile.rhai",
            "/// A.\nfn a(hosts) { again(hosts[0]); }\n\
             private fn again(host) { let all = []; for n in 0..40 { all.push(host); } \
             all.each(|host| again(host)); }\n",
        )
        .run(&["--all", "a"]);
    assert_eq!(run.status, 1);
    assert_eq!(
        run.errors(),
        ["error: more than 1024 threads run scripts"],
        "{run}"
    );
}
