//! Running tasks: questions, dry runs, interrupts, settings.

use std::{
    io::{BufRead, BufReader},
    process::Command,
    time::{Duration, Instant},
};

use crate::support::Project;

#[test]
fn a_question_without_a_terminal_is_refused() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// A.\n/// @param tag  the tag\n/// @confirm \"Deploy ${tag}?\"\n\
         fn a(tag) { print(\"deployed\") }\n",
    );
    project.run(&["run", "a", "v1"]).fails(
        2,
        "error: there is no terminal to answer: Deploy v1?\n\
         help: answer yes beforehand with --yes\n",
    );
    project
        .run(&["run", "--yes", "a", "v1"])
        .is(0, "deployed\n", "");
    project.run(&["--yes", "a", "v1"]).is(0, "deployed\n", "");
}

/// Nothing runs before the last question is answered.
#[test]
fn questions_come_first() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// A.\nfn a() { print(\"ran\") }\n/// B.\n/// @confirm \"Really?\"\nfn b() {}\n",
    );
    project.run(&["run", "a", ":::", "b"]).fails(
        2,
        "error: there is no terminal to answer: Really?\n\
         help: answer yes beforehand with --yes\n",
    );
}

#[test]
fn a_question_on_a_terminal() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// A.\n/// @confirm \"Deploy?\"\nfn a() { print(\"deployed\") }\n\
         /// B.\nfn b() { ui::confirm(\"Its name:\", \"web\"); print(\"gone\"); }\n",
    );
    let ask = |task, typed| {
        let (status, shown) = project.run_on_terminal(&["run", task], typed);
        (status, shown.replace(typed, ""))
    };
    let refused = "error: not confirmed; nothing was done\n";
    let (status, shown) = ask("a", "y\n");
    assert_eq!(status, 0, "{shown}");
    assert!(
        shown.contains("Deploy? [y/N]") && shown.ends_with("deployed\n"),
        "{shown}"
    );
    let (status, shown) = ask("a", "\n");
    assert_eq!(status, 1, "{shown}");
    assert!(shown.contains(refused.trim()), "{shown}");
    let (status, shown) = ask("b", "wbe\n");
    assert_eq!(status, 1, "{shown}");
    let (status, shown) = ask("b", "web\n");
    assert_eq!(status, 0, "{shown}");
    assert!(shown.ends_with("gone\n"), "{shown}");
}

#[test]
fn a_dry_run_says_what_it_would_do() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// A.\nfn a() { local::run(\"touch made\"); }\n/// B.\nfn b() { print(env::get(\"HOME\")) }\n",
    );
    project.run(&["run", "--dry-run", "a"]).fails(
        0,
        "would run `touch made` here\nnot simulated, and taken to go well: `touch made`\n",
    );
    assert!(!project.root().join("made").exists());
    project
        .run(&["run", "--dry-run", "--exit-code", "a"])
        .fails(
            5,
            "would run `touch made` here\nnot simulated, and taken to go well: `touch made`\n\
             error: there are changes to make\n",
        );
    assert_eq!(
        project
            .run(&["run", "--dry-run", "--exit-code", "b"])
            .status,
        0
    );
    project.run(&["run", "a"]).is(0, "", "");
    assert!(project.root().join("made").exists());
}

#[test]
fn settings_come_from_flags_then_the_environment_then_the_hitcfile() {
    // The port shows in the error of a host on which nobody listens.
    let hitcfile = "config(#{ port: 9 });\n/// A.\nfn a(host) { host.run(\"true\") }\n";
    let list = "127.0.0.1:8\n";
    let project = || {
        Project::new()
            .file("hitcfile.rhai", hitcfile)
            .file("unmanaged_servers.txt", list)
    };
    let run = project().run(&["run", "-H", "127.0.0.1", "a"]);
    assert_eq!(run.status, 4, "{run}");
    assert!(
        run.stderr
            .starts_with("error: host `127.0.0.1`: connection refused (127.0.0.1:9)"),
        "{run}"
    );
    let run = project()
        .env("HITC_PORT", "10")
        .run(&["run", "-H", "127.0.0.1", "a"]);
    assert!(run.stderr.contains("(127.0.0.1:10)"), "{run}");
    let run =
        project()
            .env("HITC_PORT", "10")
            .run(&["run", "-H", "127.0.0.1", "--port", "11", "a"]);
    assert!(run.stderr.contains("(127.0.0.1:11)"), "{run}");
}

#[test]
fn data_that_cannot_be_written_is_an_error() {
    let full = std::path::Path::new("/dev/full");
    let run = Project::new().run_into(&["tasks"], full);
    run.fails(1, "error: standard output: no space left on device\n");
}

/// A flag takes the place of what the environment selects; it does not add to it.
#[test]
fn a_selection_in_the_environment() {
    let project = Project::new()
        .file("unmanaged_servers.txt", "127.0.0.1:9 web\n127.0.0.1:9 db\n")
        .env("HITC_HOSTS", "db");
    let reached = |arguments: &[&str]| {
        let run = project.run(arguments);
        ["web", "db"].map(|host| run.stderr.contains(&format!("host `{host}`")))
    };
    assert_eq!(reached(&["exec", "--", "true"]), [false, true]);
    assert_eq!(reached(&["exec", "-R", "web", "--", "true"]), [true, false]);
}

/// Leaving out nothing is not what was meant.
#[test]
fn an_exclusion_that_matches_nothing() {
    let project = Project::new().file("unmanaged_servers.txt", "10.255.0.1 web\n");
    project
        .run(&["exec", "--all", "-x", "wbe", "--", "true"])
        .fails(
            3,
            "error: there is no server `wbe`\nhelp: did you mean `web`?\n",
        );
}

#[test]
fn a_list_of_servers_that_cannot_be_read_selects_none() {
    let project = Project::new().file("unmanaged_servers.txt", "10.255.0.1 web too\n");
    let run = project.run(&["exec", "--all", "--", "true"]);
    assert_eq!(run.status, 2, "{run}");
    assert!(run.stderr.contains("line 1: `too` is too much"), "{run}");
}

#[test]
fn a_selection_that_matches_nothing() {
    let project = Project::new().file("unmanaged_servers.txt", "10.255.0.1 web\n");
    project.run(&["exec", "-H", "wbe", "--", "true"]).fails(
        3,
        "error: there is no server `wbe`\nhelp: did you mean `web`?\n",
    );
    project.run(&["exec", "-R", "db", "--", "true"]).fails(
        3,
        "error: there is no role `db`\nhelp: `hitc run nodes` lists the servers there are\n",
    );
    project
        .run(&["exec", "--all", "-x", "web", "--", "true"])
        .fails(
            3,
            "error: no server is selected\nhelp: `hitc run nodes` lists the servers there are\n",
        );
}

#[test]
fn a_list_that_is_wrong() {
    let project = Project::new().file("unmanaged_servers.txt", "web:x\n");
    let run = project.run(&["exec", "-H", "web", "--", "true"]);
    assert!(
        run.stderr
            .contains("unmanaged_servers.txt`, line 1: invalid port `x`"),
        "{run}"
    );
}

#[test]
fn a_timeout() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// A.\nfn a(host) { host.wait_for_port(9, 0) }\n",
    );
    let project = project.file("unmanaged_servers.txt", "127.0.0.1\n");
    project.run(&["run", "-H", "127.0.0.1", "a"]).fails(
        124,
        "\
error: host `127.0.0.1`: nothing listens on port 9 after 0 s
 --> hitcfile.rhai:2:19
  |
2 | fn a(host) { host.wait_for_port(9, 0) }
  |                   ^^^^^^^^^^^^^
",
    );
}

/// Interrupts a script once it has said that it is ready, and returns its exit status and how long
/// it took to end.
fn interrupt(body: &str) -> (i32, Duration) {
    let hitcfile = format!("/// A.\nfn a() {{ print(\"ready\"); {body} }}\n");
    let project = Project::new().file("hitcfile.rhai", &hitcfile);
    let mut child = project.spawn(&["run", "a"]);
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let started = Instant::now();
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let status = child.wait().unwrap();
    (status.code().unwrap(), started.elapsed())
}

#[test]
fn an_interrupt_ends_a_script() {
    for body in ["loop { }", "time::sleep(60);", "local::run(\"sleep 60\");"] {
        let (status, took) = interrupt(body);
        assert_eq!(status, 130, "{body}");
        assert!(took < Duration::from_secs(5), "{body}: {took:?}");
    }
}
