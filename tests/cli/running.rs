//! Running tasks: questions, dry runs, interrupts, settings.

use std::{
    io::{BufRead, BufReader},
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{Project, Run};

#[test]
fn a_question_without_a_terminal_is_refused() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// A.\n/// @param tag  the tag\n/// @confirm \"Deploy ${tag}?\"\n\
         fn a(tag) { print(\"deployed\") }\n",
    );
    project.run(&["run", "a", "v1"]).fails(
        2,
        "error: no terminal to answer: Deploy v1?\n\
         help: use --yes to answer every question with yes\n",
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
        "error: no terminal to answer: Really?\n\
         help: use --yes to answer every question with yes\n",
    );
}

/// A task runs on the hosts of its question, whatever the tasks before it change.
#[test]
fn a_task_runs_on_the_confirmed_hosts() {
    let hitcfile = "/// A.\nfn add() { local::run(\"echo 10.255.0.2 b >>unmanaged_servers.txt\"); }\n\
                    /// W.\n/// @confirm \"Wipe ${hosts}?\"\nfn wipe(hosts) { print(hosts.len()); }\n\
                    /// C.\nfn count(hosts) { print(hosts.len()); }\n";
    let run = |task: &str| {
        Project::new()
            .file("unmanaged_servers.txt", "10.255.0.1 a\n")
            .file("hitcfile.rhai", hitcfile)
            .run(&["run", "--yes", "--all", "add", ":::", task])
    };
    run("wipe").is(0, "1\n", "");
    // Without a question, the hosts are selected when the task begins.
    run("count").is(0, "2\n", "");
}

/// The confirmed hosts may have other addresses by then, as after a resize.
#[test]
fn a_task_gets_the_confirmed_hosts_as_they_are() {
    let id = "a".repeat(32);
    let provider = format!(
        "fn options() {{ #{{}} }}\nfn missing() {{}}\n\
         fn list() {{ let ip = fs::read(\"ip\"); ip.trim();\n\
         let one = #{{ id: \"1\", name: \"NONE-a\", state: \"running\", ip: ip, project: \"{id}\" }};\n\
         if ip == \"192.0.2.1\" {{ [one] }} else {{ [one, one + #{{ id: \"2\", name: \"NONE-b\" }}] }} }}\n"
    );
    let run = Project::new()
        .file("hitc.id", &format!("{id}\n"))
        .file("ip", "192.0.2.1\n")
        .file("providers/shelf.rhai", &provider)
        .file(
            "hitcfile.rhai",
            "/// R.\nfn resize() { local::run(\"echo 192.0.2.2 >ip\"); }\n\
             /// W.\n/// @confirm \"Wipe ${hosts}?\"\nfn wipe(hosts) { print(hosts.map(|host| host.ip)); }\n",
        )
        .run(&["run", "--yes", "--all", "resize", ":::", "wipe"]);
    assert_eq!(run.stdout, "[\"192.0.2.2\"]\n", "{run}");
}

/// Its functions are also found in the parts that it imports from its folder.
#[test]
fn a_provider_of_several_files() {
    let project = Project::new()
        .file(
            "providers/shelf.rhai",
            "import \"shelf/server\" as server;\n\
             import \"std/providers/hetzner/label\" as label;\n\
             fn options() { #{} }\nfn missing() { label::noted(#{}, \"x\") }\n",
        )
        .file(
            "providers/shelf/server.rhai",
            "fn list() { [one()] }\n\
             private fn one() { #{ id: \"1\", name: \"NONE-a\", state: \"running\", ip: \"192.0.2.1\" } }\n\
             private fn prices(options) { #{} }\n",
        );
    let nodes = project.run(&["nodes", "--any-owner"]).ok();
    assert!(nodes.stdout.contains("192.0.2.1"), "{nodes}");
    // What is private there is not the provider's.
    let prices = project.run(&["run", "pricing", "provider=shelf"]);
    let error = "`providers/shelf.rhai` has no function `prices`";
    assert!(prices.stderr.contains(error), "{prices}");
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
    let refused = "error: not confirmed\n";
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
fn a_dry_run_reports_skipped_actions() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// A.\nfn a() { local::run(\"touch made\"); }\n/// B.\nfn b() { print(env::get(\"HOME\")) }\n",
    );
    project.run(&["run", "--dry-run", "a"]).fails(
        0,
        "would run `touch made` here\nnot simulated, assumed to succeed: `touch made`\n",
    );
    assert!(!project.root().join("made").exists());
    project
        .run(&["run", "--dry-run", "--exit-code", "a"])
        .fails(
            5,
            "would run `touch made` here\nnot simulated, assumed to succeed: `touch made`\n\
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
    // The port shows in the error of a host that refuses connections.
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

/// A selection by flags replaces that of the environment.
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

/// An exclusion without any match is probably a typo.
#[test]
fn an_exclusion_that_matches_nothing() {
    let project = Project::new().file("unmanaged_servers.txt", "10.255.0.1 web\n");
    project
        .run(&["exec", "--all", "-x", "wbe", "--", "true"])
        .fails(
            3,
            "error: server `wbe` not found\nhelp: did you mean `web`?\n",
        );
}

#[test]
fn a_name_without_an_address_does_not_run() {
    let run = Project::new()
        .file("unmanaged_servers.txt", "nope.invalid gone\n10.0.0.1 web\n")
        .run(&["nodes", "-o", "json"])
        .ok();
    let rows = run.json_rows();
    let state = |row: &serde_json::Value| format!("{} {}", row["name"], row["state"]);
    let states: Vec<String> = rows.iter().map(state).collect();
    assert_eq!(states, ["\"gone\" \"unresolvable\"", "\"web\" \"running\""]);
}

#[test]
fn an_unreadable_list_of_servers_is_an_error() {
    let project = Project::new().file("unmanaged_servers.txt", "10.255.0.1 web too\n");
    let run = project.run(&["exec", "--all", "--", "true"]);
    assert_eq!(run.status, 2, "{run}");
    assert!(run.stderr.contains("line 1: unexpected `too`"), "{run}");
}

#[test]
fn a_selection_that_matches_nothing() {
    let project = Project::new().file("unmanaged_servers.txt", "10.255.0.1 web\n");
    project.run(&["exec", "-H", "wbe", "--", "true"]).fails(
        3,
        "error: server `wbe` not found\nhelp: did you mean `web`?\n",
    );
    project.run(&["exec", "-R", "db", "--", "true"]).fails(
        3,
        "error: role `db` not found\nhelp: `hitc run nodes` lists the servers\n",
    );
    project
        .run(&["exec", "--all", "-x", "web", "--", "true"])
        .fails(
            3,
            "error: no server is selected\nhelp: `hitc run nodes` lists the servers\n",
        );
}

#[test]
fn an_invalid_list_of_servers() {
    let project = Project::new().file("unmanaged_servers.txt", "web:x\n");
    let run = project.run(&["exec", "-H", "web", "--", "true"]);
    assert!(
        run.stderr
            .contains("unmanaged_servers.txt`, line 1: invalid port `x`"),
        "{run}"
    );
}

/// A mistake in a line is an error, and hides no server.
#[test]
fn a_bad_line_hides_no_server() {
    let list = "10.255.0.1 a\nweb:x\n10.255.0.2 b\n10.255.0.3 b\n";
    let project = Project::new().file("unmanaged_servers.txt", list).file(
        "hitcfile.rhai",
        "/// A.\nfn a(hosts) { print(hosts.len()) }\n",
    );
    let run = project.run(&["nodes"]);
    assert_eq!(run.status, 2, "{run}");
    let rows = run.rows();
    let names: Vec<&str> = rows.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(names, ["a", "b"], "{run}");
    let file = project.root().join("unmanaged_servers.txt");
    let error =
        |line: usize, cause: &str| format!("error: `{}`, line {line}: {cause}", file.display());
    let errors = [error(2, "invalid port `x`"), error(4, "duplicate name `b`")];
    assert_eq!(run.errors(), errors, "{run}");
    // Not all servers are known, unless those that are wanted are named.
    let run = project.run(&["--all", "a"]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{run}");
    let run = project.run(&["-H", "a,b", "a"]);
    assert_eq!((run.status, run.stdout.as_str()), (0, "2\n"), "{run}");
}

/// A task that ends itself with a status has failed, wherever it does that.
#[test]
fn the_status_of_exit() {
    let project = |body: &str| {
        let text = format!(
            "/// A.\nfn a() {{ {body}; print(\"not reached\") }}\n/// B.\nfn b() {{ exit(1) }}\n\
             /// C.\nfn c(hosts) {{ try {{ hosts.each(|host| exit(1)) }} catch {{ print(\"caught\") }} }}\n"
        );
        Project::new()
            .file("unmanaged_servers.txt", "10.255.0.1 x\n10.255.0.2 y\n")
            .file("hitcfile.rhai", &text)
    };
    for body in [
        "exit(1)",
        "exit(-1)",
        "exit(3)",
        "try { exit(1) } catch { print(\"caught\") }",
        "[1].for_each(|| exit(1))",
        "task::run(\"b\")",
    ] {
        let run = project(body).run(&["a"]);
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{body}: {run}");
        assert!(
            run.stderr.starts_with("error: the task ended with status "),
            "{body}: {run}"
        );
    }
    let run = project("").run(&["--all", "c"]);
    assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{run}");
    project("exit(0)").run(&["a"]).is(0, "", "");
    project("exit()").run(&["a"]).is(0, "", "");
    let run = project("exit(\"1\")").run(&["a"]);
    assert_eq!(run.status, 1, "{run}");
    assert!(
        run.stderr
            .contains("exit: expected a whole number, got string"),
        "{run}"
    );
}

/// A number is not the octal digits of a mode: `0o644` is 420, which would be `r---w----`.
#[test]
fn a_number_is_no_mode() {
    for call in [
        "host.put(\"x\", \"/x\", #{ mode: 0o644 })",
        "host.put(\"x\", \"/x\", #{ mode: 644 })",
        "host.template(\"t\", \"/x\", #{}, #{ mode: 0o644 })",
        "host.upload(\"t\", \"/x\", #{ mode: 0o644 })",
        "host.download(\"/x\", \"{host}\", #{ mode: 0o644 })",
    ] {
        let run = Project::new()
            .file("unmanaged_servers.txt", "10.255.0.1 x\n")
            .file("t", "x")
            .file(
                "hitcfile.rhai",
                &format!("/// A.\nfn a(host) {{ {call} }}\n"),
            )
            .run(&["-H", "x", "a"]);
        assert_eq!(run.status, 2, "{run}");
        let expected = "is a number, not the octal digits of a mode";
        assert!(run.stderr.contains(expected), "{call}: {run}");
        let help = "help: write a text, such as \"644\" for rw-r--r--";
        assert!(run.stderr.contains(help), "{call}: {run}");
    }
}

/// Runs hitc, which must not wait for a pipe that has no writer, nor read without end.
fn bounded(project: &Project, arguments: &[&str]) -> Run {
    let child = project.spawn(arguments);
    let id = child.id().to_string();
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match ended.recv_timeout(Duration::from_secs(30)) {
        Ok(output) => Run::from(output.unwrap()),
        Err(_) => {
            Command::new("kill").args(["-KILL", &id]).status().unwrap();
            panic!("{arguments:?} does not end");
        }
    }
}

#[test]
fn special_files_are_errors() {
    let manifest =
        "web:\n  provider: local\n  containers:\n    app:\n      image: b\n      env_file: env\n";
    for (name, arguments) in [
        ("unmanaged_servers.txt", &["nodes"][..]),
        (".env", &["nodes"]),
        ("hitc.id", &["nodes"]),
        ("env", &["run", "ensemble.plan", "m"]),
        ("m.yml", &["run", "ensemble.plan", "m"]),
        ("m.yml", &["check"]),
        ("x.rhai", &["check"]),
        ("tests/x.rhai", &["test"]),
    ] {
        for kind in ["fifo", "device", "endless"] {
            let project = Project::new()
                .file("hitcfile.rhai", "")
                .file("m.yml", manifest)
                .file("tests/y.rhai", "fn y() {}\n");
            let path = project.root().join(name);
            let _ = std::fs::remove_file(&path);
            match kind {
                "fifo" => {
                    let made = Command::new("mkfifo").arg(&path).status();
                    assert!(made.unwrap().success());
                }
                "device" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                // A terabyte that takes no space.
                _ => std::fs::File::create(&path)
                    .unwrap()
                    .set_len(1 << 40)
                    .unwrap(),
            }
            let run = bounded(&project, arguments);
            assert_ne!(run.status, 0, "{name} {kind}: {run}");
            let cause = if kind == "endless" {
                "larger than"
            } else {
                "not a regular file"
            };
            assert!(run.stderr.contains(cause), "{name} {kind}: {run}");
        }
    }
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
error: host `127.0.0.1`: timed out after 0 s waiting for port 9
 --> hitcfile.rhai:2:19
  |
2 | fn a(host) { host.wait_for_port(9, 0) }
  |                   ^^^^^^^^^^^^^
",
    );
}

/// Interrupts a script after it printed that it is ready. Returns its exit status and the time until
/// it ended.
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

/// A typo in the variable must not answer a question.
#[test]
fn an_unclear_yes_in_the_environment_is_an_error() {
    for variable in ["HITC_YES", "HITC_FAIL_FAST", "HITC_ANY_OWNER"] {
        for value in ["nope", "maybe", "2", " no", " yes"] {
            let run = Project::new().env(variable, value).run(&["tasks"]);
            assert_eq!(run.status, 2, "{run}");
            let expected =
                format!("error: invalid value '{value}' for '{variable}': must be true or false\n");
            assert!(run.stderr.starts_with(&expected), "{run}");
        }
    }
    // So does every other variable, but not the value of a flag.
    let project = Project::new().env("HITC_FORKS", "x");
    let run = project.run(&["tasks"]);
    let expected = "error: invalid value 'x' for 'HITC_FORKS': must be a whole number";
    assert!(run.stderr.starts_with(expected), "{run}");
    let run = Project::new().run(&["--forks", "y", "tasks"]);
    let expected = "error: invalid value 'y' for '--forks <N>': must be a whole number";
    assert!(run.stderr.starts_with(expected), "{run}");
    let question = "/// A.\n/// @confirm \"Deploy?\"\nfn a() { print(\"deployed\") }\n";
    let run = |value| {
        Project::new()
            .file("hitcfile.rhai", question)
            .env("HITC_YES", value)
            .run(&["a"])
    };
    run("Yes").is(0, "deployed\n", "");
    for no in ["", "0", "no", "off"] {
        let run = run(no);
        assert!(run.stderr.contains("no terminal"), "{run}");
    }
}

/// A value of a server, cloud or file cannot forge a line or control the terminal.
#[test]
fn control_characters_are_escaped() {
    let project = Project::new()
        .file("unmanaged_servers.txt", "10.255.0.1 a\n10.255.0.2 b\n")
        .file(
            "hitcfile.rhai",
            "/// Red \u{1b}[31m.\nfn t(hosts) {\n    \
             let value = \"web\\n- w9\\r[b] ok\\x1b[31m\";\n    \
             ui::heading(value);\n    \
             print(ui::table([\"name\"], [#{ name: value }]));\n    \
             hosts.serial(|host| print(\"x\\r[c] ok\"));\n    \
             throw value;\n}\n",
        );
    let run = project.run(&["--all", "t"]);
    assert_eq!(
        run.stdout,
        "name\nweb\\n- w9\\r[b] ok\\x1b[31m\n[a] x\\r[c] ok\n[b] x\\r[c] ok\n"
    );
    let errors = "\nweb\\n- w9\\r[b] ok\\x1b[31m\n\
                  error: web\n       - w9\\r[b] ok\\x1b[31m\n --> hitcfile.rhai:7:5\n";
    assert!(run.stderr.starts_with(errors), "{run}");
    for command in [&["tasks", "t"][..], &["help", "t"], &["source", "t"]] {
        let shown = project.run(command).ok().stdout;
        assert!(shown.contains("Red \\x1b[31m."), "{shown}");
    }
}
