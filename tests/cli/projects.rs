//! Creating and checking a project, replacing built-in scripts, help.

use crate::support::Project;

#[test]
fn a_new_project_passes_its_check() {
    let project = Project::new();
    let made = project.run(&["init"]).ok();
    assert!(
        made.stderr
            .contains("wrote `unmanaged_servers.txt`\nwrote `.gitignore`\n"),
        "{made}"
    );
    let ignored = std::fs::read_to_string(project.root().join(".gitignore")).unwrap();
    let ignored = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(ignored.collect::<Vec<_>>(), [".env", "*.part"]);
    project
        .run(&["check"])
        .is(0, "", "1 script, 1 manifest: no errors found\n");
    let tasks = project.run(&["tasks"]).ok();
    assert!(tasks.stdout.starts_with("hello "), "{tasks}");
    project.run(&["init"]).fails(
        2,
        "error: `hitcfile.rhai` already exists\nhelp: run `hitc check` to check it\n",
    );
}

#[test]
fn files_of_the_user_are_kept() {
    let project = Project::new().file(".gitignore", "/mine\n");
    let made = project.run(&["init"]).ok();
    assert!(made.stderr.contains("kept `.gitignore`\n"), "{made}");
    let kept = std::fs::read_to_string(project.root().join(".gitignore")).unwrap();
    assert_eq!(kept, "/mine\n");
}

/// All errors are found: in imported and other scripts, in comments and in manifests.
#[test]
fn check_finds_everything() {
    let project = Project::new()
        .file(
            "hitcfile.rhai",
            "import \"tasks/db\" as db;\n\n/// A.\n/// @parm x\nfn a(x) { unknown() }\n",
        )
        .file("tasks/db.rhai", "/// B.\nfn b() { [1].nothing() }\n")
        .file("lonely.rhai", "fn c( {}\n")
        .file("site.yml", "web:\n  provider: locl\n")
        .file("compose.yml", "services:\n  web:\n    image: x\n")
        .file("half.yaml", "web:\n  provider: local\n  size: [\n");
    let run = project.run(&["check"]);
    assert_eq!(run.status, 2, "{run}");
    let mut errors = run.errors();
    errors.sort_unstable();
    assert_eq!(errors.len(), 6, "{run}");
    for place in [
        "tasks/db.rhai:2:14",
        "hitcfile.rhai:4:6",
        "hitcfile.rhai:5:11",
        "lonely.rhai:1:",
        "site.yml:2:13",
        "half.yaml:",
    ] {
        assert!(
            run.stderr.contains(&format!("--> {place}")),
            "{place} in {run}"
        );
    }
}

#[test]
fn a_built_in_script_can_be_replaced() {
    let project = Project::new();
    let before = project.run(&["tasks"]).ok().stdout;
    project.run(&["eject", "local"]).fails(
        0,
        "wrote `hitc/local.rhai`, which replaces the built-in tasks\n",
    );
    // Their order is the same.
    project.run(&["tasks"]).is(0, &before, "");
    project.write(
        "hitc/local.rhai",
        "/// Mine.\nfn setup() { print(\"mine\") }\n",
    );
    project.run(&["run", "local.setup"]).is(0, "mine\n", "");
    project.run(&["eject", "local"]).fails(
        2,
        "error: `hitc/local.rhai` already exists\n\
         help: remove the file to use the built-in tasks again\n",
    );
    project.run(&["eject", "loca"]).fails(
        3,
        "error: built-in namespace `loca` not found\nhelp: did you mean `local`?\n",
    );
}

#[test]
fn help_on_functions() {
    let project = Project::new();
    project.run(&["help", "time::sleep"]).is(
        0,
        "time::sleep(seconds: number)\n    Sleeps for this number of seconds. In a test, the clock advances at once.\n",
        "",
    );
    let both = project.run(&["help", "ssh::wait_for_port"]).ok();
    assert!(
        both.stdout
            .contains("host.wait_for_port(port: int, seconds: int)\n"),
        "{both}"
    );
    // As a method is written in scripts.
    let ping = project.run(&["help", "ssh::ping"]).ok().stdout;
    project.run(&["help", "host.ping"]).is(0, &ping, "");
    let method = project.run(&["help", "hosts.rolling"]).ok().stdout;
    assert!(method.contains("hosts.rolling(count: int, action: closure) -> array\n"));
    project.run(&["help", "host.pign"]).fails(
        3,
        "error: method `host.pign` not found\nhelp: did you mean `host.ping`?\n",
    );
    // A namespace of the project may have the name of an object.
    Project::new()
        .file("hitcfile.rhai", "import \"api\" as api;\n")
        .file("api.rhai", "/// D.\nfn deploy() {}\n")
        .run(&["help", "api.deplyo"])
        .fails(
            3,
            "error: task `api.deplyo` not found\nhelp: did you mean `api.deploy`?\n",
        );
    let retry = project.run(&["help", "retry::times"]).ok();
    assert!(
        retry.stdout.contains("import \"std/retry\" as retry;\n"),
        "{retry}"
    );
    let retry = project.run(&["help", "retry"]).ok();
    assert!(retry.stdout.starts_with("std/retry\n"), "{retry}");
    let both = project.run(&["help", "ssh"]).ok();
    assert!(
        both.stdout
            .ends_with("See also `hitc help ssh::` for the script functions.\n"),
        "{both}"
    );
    let namespace = project.run(&["help", "json"]).ok();
    assert!(
        namespace
            .stdout
            .starts_with("json\n\nParses and writes JSON"),
        "{namespace}"
    );
    project.run(&["help", "ssh::rnu"]).fails(
        3,
        "error: function `ssh::rnu` not found\nhelp: did you mean `ssh::run`?\n",
    );
}

#[test]
fn definitions_for_editors() {
    let project = Project::new();
    project
        .run(&["definitions", "editor"])
        .fails(0, "wrote the definitions for editors to `editor`\n");
    let ssh = std::fs::read_to_string(project.root().join("editor/ssh.d.rhai")).unwrap();
    assert!(
        ssh.contains("fn run(host: Host, command: string) -> string;"),
        "{ssh}"
    );
}

/// The value of a setting is checked like the rest of the hitcfile.
#[test]
fn check_finds_invalid_settings() {
    let run = Project::new()
        .file("hitcfile.rhai", "config(#{ forks: \"x\" });\n")
        .run(&["check"]);
    assert_eq!(run.status, 2, "{run}");
    assert!(
        run.stderr
            .starts_with("error: forks must be a whole number, not `x`\n --> hitcfile.rhai:1:1\n"),
        "{run}"
    );
}

#[test]
fn a_hitcfile_may_begin_with_a_byte_order_mark() {
    Project::new()
        .file(
            "hitcfile.rhai",
            "\u{feff}/// A.\nfn a() { print(\"ran\") }\n",
        )
        .run(&["a"])
        .is(0, "ran\n", "");
}
