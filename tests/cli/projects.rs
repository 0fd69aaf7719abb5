//! Beginning, checking and changing a project.

use crate::support::Project;

#[test]
fn a_project_begins_and_passes_its_check() {
    let project = Project::new();
    project.run(&["init"]).ok();
    project
        .run(&["check"])
        .is(0, "", "1 script, 1 manifest: nothing wrong was found\n");
    let tasks = project.run(&["tasks"]).ok();
    assert!(tasks.stdout.starts_with("hello "), "{tasks}");
    project.run(&["init"]).fails(
        2,
        "error: `hitcfile.rhai` already exists\nhelp: check it with `hitc check`\n",
    );
}

/// Every mistake, in scripts that are imported and not, in comments and in manifests.
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
    assert_eq!(run.status, 1, "{run}");
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
    project.run(&["eject", "local"]).fails(
        0,
        "`hitc/local.rhai` takes the place of the built-in tasks now\n",
    );
    project.write(
        "hitc/local.rhai",
        "/// Mine.\nfn setup() { print(\"mine\") }\n",
    );
    project.run(&["run", "local.setup"]).is(0, "mine\n", "");
    project.run(&["eject", "local"]).fails(
        2,
        "error: `hitc/local.rhai` is there already\n\
         help: remove it to have the built-in tasks again\n",
    );
    project.run(&["eject", "loca"]).fails(
        3,
        "error: there is no built-in namespace `loca`\nhelp: did you mean `local`?\n",
    );
}

#[test]
fn help_on_functions() {
    let project = Project::new();
    project.run(&["help", "time::sleep"]).is(
        0,
        "time::sleep(seconds: number)\n    Waits for so many seconds.\n",
        "",
    );
    let both = project.run(&["help", "ssh::wait_for_port"]).ok();
    assert!(
        both.stdout
            .contains("host.wait_for_port(port: int, seconds: int)\n"),
        "{both}"
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
            .ends_with("`hitc help ssh::` explains the functions of scripts.\n"),
        "{both}"
    );
    let namespace = project.run(&["help", "json"]).ok();
    assert!(
        namespace.stdout.starts_with("json\n\nText in JSON"),
        "{namespace}"
    );
    project.run(&["help", "ssh::rnu"]).fails(
        3,
        "error: there is no function `ssh::rnu`\nhelp: did you mean `ssh::run`?\n",
    );
}

#[test]
fn definitions_for_editors() {
    let project = Project::new();
    project
        .run(&["definitions", "editor"])
        .fails(0, "`editor` has the definitions for editors\n");
    let ssh = std::fs::read_to_string(project.root().join("editor/ssh.d.rhai")).unwrap();
    assert!(
        ssh.contains("fn run(host: Host, command: string) -> string;"),
        "{ssh}"
    );
}
