//! The command line: help, lists, arguments and usage errors.

use crate::support::{Project, sources};

#[test]
fn without_arguments_it_prints_help() {
    let run = Project::new().run(&[]).ok();
    assert!(run.stdout.starts_with(
        "Servers at any cloud, the containers on them, and the tasks you run there\n\n\
         Usage: hitc [FLAGS] TASK [VALUE | NAME=VALUE]...\n"
    ));
    assert_eq!(run.stderr, "");
    assert_eq!(Project::new().run(&["-h"]).ok().stdout, run.stdout);
}

/// 24 lines of 80 columns, with flags that exist.
#[test]
fn the_short_help_fits_on_a_screen() {
    let project = Project::new().env("COLUMNS", "80");
    let long = project.run(&["--help"]).ok().stdout;
    for words in [
        &["-h"][..],
        &["run", "-h"],
        &["exec", "-h"],
        &["tasks", "-h"],
        &["help", "-h"],
        &["test", "-h"],
        &["init", "-h"],
        &["completions", "-h"],
    ] {
        let text = project.run(words).ok().stdout;
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        for flag in text
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            let flag = flag.trim_end_matches([';', '`', '.', '\'', ')']);
            let own = ["--sort", "--help"].contains(&flag);
            assert!(own || long.contains(flag), "{flag}");
        }
    }
    // By topic.
    for heading in [
        "Selection:",
        "Running:",
        "Connection:",
        "Output:",
        "Project:",
    ] {
        assert!(long.contains(&format!("\n{heading}\n")), "{long}");
    }
    // Not again for each subcommand.
    for command in [
        "exec", "nodes", "run", "tasks", "help", "source", "check", "init", "test", "eject",
    ] {
        let text = project.run(&[command, "--help"]).ok().stdout;
        assert!(!text.contains("--forks"), "{text}");
        assert!(text.lines().count() <= 30, "{text}");
    }
    let exec = project.run(&["exec", "--help"]).ok().stdout;
    assert!(
        exec.ends_with("`hitc --help` lists the flags of all commands.\n"),
        "{exec}"
    );
}

#[test]
fn an_unknown_flag() {
    let run = Project::new().run(&["run", "--hots", "x", "nodes"]);
    run.fails(
        2,
        "error: unknown flag `--hots`\nhelp: did you mean `--hosts`?\n",
    );
    let run = Project::new().run(&["tasks", "--jsno"]);
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.contains("unexpected argument '--jsno' found"),
        "{run}"
    );
}

#[test]
fn tasks_lists_the_users_and_the_built_in_ones() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "import \"tasks/db\" as db;\n\n/// Deploy it.\nfn deploy(host) {}\n\nprivate fn helper() {}\n\n\
         /// Not shown.\n/// @hidden\nfn secret() {}\n",
    );
    let project = project.file("tasks/db.rhai", "/// Back it up.\nfn backup(host) {}\n");
    let run = project.run(&["tasks"]).ok();
    assert!(
        run.stdout.starts_with(
            "deploy                   Deploy it.\n\ndb.backup                Back it up.\n\nnodes "
        ),
        "{run}"
    );
    let sorted = project.run(&["tasks", "--sort"]).ok();
    let names: Vec<&str> = sorted
        .stdout
        .lines()
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    project
        .run(&["tasks", "back"])
        .is(0, "db.backup  Back it up.\n", "");
    project
        .run(&["tasks", "nothing"])
        .fails(3, "error: no task name contains `nothing`\n");
}

#[test]
fn tasks_as_json() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// Deploy it.\n///\n/// All of it.\n/// @param tag = \"x\"  the tag\n\
         /// @example hitc run deploy\nfn deploy(host, tag) {}\n",
    );
    let run = project.run(&["tasks", "-o", "json", "deploy"]).ok();
    let event: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(event["event"], "tasks");
    assert_eq!(
        event["tasks"],
        serde_json::json!([{
            "name": "deploy",
            "namespace": null,
            "summary": "Deploy it.",
            "doc": "All of it.",
            "params": [{"name": "tag", "type": "text", "default": "\"x\"", "doc": "the tag"}],
            "readonly": false,
            "aliases": [],
            "examples": ["hitc run deploy"],
            "file": "hitcfile.rhai",
            "line": 1,
        }])
    );
}

/// The older spelling names the new one.
#[test]
fn json_has_one_spelling() {
    Project::new().run(&["tasks", "--json"]).fails(
        2,
        "error: unknown flag `--json`\nhelp: write `hitc tasks -o json`\n",
    );
    Project::new().run(&["nodes", "json=true"]).fails(
        2,
        "error: nodes: unknown parameter `json`\nnote: see `hitc help nodes` for its parameters\n\
         help: the parameters are any_owner\n",
    );
}

/// What a program reads follows the schema, event by event.
#[test]
fn json_follows_the_schema() {
    let mut compiler = boon::Compiler::new();
    for name in ["plan.schema.json", "output.schema.json"] {
        let text = std::fs::read_to_string(sources().join("docs").join(name)).unwrap();
        let schema = serde_json::from_str(&text).unwrap();
        compiler
            .add_resource(&format!("file:///{name}"), schema)
            .unwrap();
    }
    let mut schemas = boon::Schemas::new();
    let schema = compiler
        .compile("file:///output.schema.json", &mut schemas)
        .unwrap();
    let project = Project::new()
        .file(
            "hitcfile.rhai",
            "/// A.\nfn a(host) { print(1); local::run(\"echo x; echo y >&2\"); }\n\
               /// F.\nfn f(host) { throw \"no\"; }\n",
        )
        .file("unmanaged_servers.txt", "10.0.0.1 web\n10.0.0.2 db\n");
    let events = |words: &[&str]| -> Vec<String> {
        let run = project.run(&[words, &["-o", "json"]].concat());
        let lines = run.stdout.lines().map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Err(error) = schemas.validate(&value, schema) {
                panic!("{error:#}\n{value:#}");
            }
            value["event"].as_str().unwrap().to_owned()
        });
        lines.collect()
    };
    assert_eq!(events(&["tasks"]), ["tasks"]);
    assert_eq!(events(&["nodes"]), ["start", "table"]);
    assert_eq!(events(&["check"]), ["checked"]);
    assert_eq!(events(&["nosuch"]), ["failure"]);
    assert_eq!(
        events(&["-H", "web", "a"]),
        ["start", "begin", "data", "output", "output", "end"]
    );
    let failed = events(&["--all", "f"]);
    assert_eq!(
        failed.last().map(String::as_str),
        Some("failure"),
        "{failed:?}"
    );
    assert_eq!(events(&["-H", "web", "a", "-n"])[2..4], ["data", "would"]);
    project.write("hitcfile.rhai", "fn (");
    assert_eq!(events(&["check"]), ["checked", "failure"]);
}

#[test]
fn help_for_a_task() {
    Project::new().run(&["help", "docker.kill"]).is(
        0,
        "docker.kill

Kill and remove containers.

Named volumes are kept. Containers of other projects, and those that hitc did not create, are
refused without `adopt=true`.

Usage:
  hitc run [-H NAME | -R ROLE | --all] docker.kill NAME [rm=true] [adopt=false]

Parameters:
  name   the container's full name, or several, separated by commas
  rm     remove it, with its anonymous volumes [default: true]
  adopt  also if the container is not of this project [default: false]

Runs:
  on the selected servers, in parallel

Examples:
  hitc run -R web docker.kill nginx
  hitc run -R web docker.kill nginx,app rm=false
",
        "",
    );
}

#[test]
fn help_for_a_subcommand() {
    let run = Project::new().run(&["help", "exec"]).ok();
    assert!(
        run.stdout.contains("Usage: hitc exec <COMMAND>..."),
        "{run}"
    );
}

#[test]
fn source_of_a_built_in_task() {
    Project::new().run(&["source", "docker.ps"]).is(
        0,
        "// scripts/docker.rhai, line 42
/// List the running containers.
///
/// @param all = false  also those that do not run, with a column for their state
/// @readonly
/// @example hitc run docker.ps
/// @example hitc run -R web docker.ps all=true
fn ps(host, all) {
    let columns = [\"name\", \"ip\", \"ports\", \"created\", \"image\"];
    if all {
        columns.insert(1, \"state\");
    }
    ui::table(columns, docker::ps(host, #{ all: all }))
}
",
        "",
    );
}

#[test]
fn modules_of_the_standard_library() {
    let project = Project::new();
    let text = std::fs::read_to_string(sources().join("stdlib/retry.rhai")).unwrap();
    project.run(&["source", "std/retry"]).is(0, &text, "");
    project.run(&["eject", "std/retry"]).fails(
        2,
        "error: `std/retry` is a module, not a namespace of tasks\n\
         help: copy it with `hitc source std/retry > retry.rhai`, and import `retry`\n",
    );
}

/// The sentences of a list are whole.
/// A namespace has tasks, and perhaps functions.
#[test]
fn help_lists_the_tasks_of_a_namespace() {
    let project = Project::new();
    project.run(&["help", "image"]).is(
        0,
        "image.list    List the images that this project made of servers.\n\
         image.create  Make an image of a server, and wait until it is usable.\n\
         image.delete  Delete an image that this project made.\n",
        "",
    );
    let both = project.run(&["help", "docker"]).ok().stdout;
    assert!(
        both.contains("docker.ps") && both.contains("bind(host: Host, name: string"),
        "{both}"
    );
}

#[test]
fn help_for_a_namespace() {
    let help = Project::new().run(&["help", "ensemble::"]).ok().stdout;
    let up = "  up(manifest: string, options: map)\n      \
              Brings up the servers and containers of a manifest: shows the plan, asks\n      \
              for confirmation, and executes it.\n";
    assert!(help.contains(up), "{help}");
    let tasks = Project::new().run(&["help", "ensemble"]).ok().stdout;
    let list = "\
ensemble.up      Bring up the servers and containers of a manifest.
ensemble.plan    Show the plan that bringing up a manifest would execute.
ensemble.status  Show the state of the servers, firewalls and containers of a manifest.
ensemble.down    Terminate the servers of a manifest, with all data on them.
";
    assert!(tasks.starts_with(list) && tasks.contains(up), "{tasks}");
}

#[test]
fn an_unknown_task() {
    let project = Project::new();
    let expected = "error: task `nodse` not found\nhelp: did you mean `nodes`?\n";
    project.run(&["run", "nodse"]).fails(3, expected);
    project.run(&["nodse"]).fails(3, expected);
    project.run(&["help", "nodse"]).fails(3, expected);
    project.run(&["source", "nodse"]).fails(3, expected);
    let project = project.file("hitcfile.rhai", "/// Ship it.\nfn deploy() {}\n");
    let expected = "error: task `deplyo` not found\nhelp: did you mean `deploy`?\n";
    project.run(&["run", "deplyo"]).fails(3, expected);
    project.run(&["deplyo"]).fails(3, expected);
}

#[test]
fn a_task_on_servers_needs_a_selection() {
    let expected = "error: `terminate` runs on servers, and none is selected\n\
                    help: select with --hosts NAME or --roles ROLE, or all with --all\n";
    Project::new().run(&["run", "terminate"]).fails(2, expected);
    Project::new()
        .run(&["exec", "--", "true"])
        .fails(2, &expected.replace("terminate", "exec"));
}

#[test]
fn invalid_arguments() {
    let project = Project::new();
    project.run(&["run", "create"]).fails(
        2,
        "error: create: `name` is missing\nhelp: write `hitc run create name=web`\n",
    );
    project.run(&["run", "create", "nmae=web"]).fails(
        2,
        "error: create: `name` is missing\nhelp: is `nmae` meant to be `name`?\n",
    );
    project
        .run(&["run", "create", "name=web", "sze=1x1g"])
        .fails(
            2,
            "error: provider `local`: unknown option `sze`\nhelp: did you mean `size`?\n",
        );
    project
        .run(&["run", "create", "name=web", "provider=ec3"])
        .fails(
            2,
            "error: provider `ec3` not found\nhelp: did you mean `ec2`?\n",
        );
    project
        .run(&["run", "create", "name=web", "count=0"])
        .fails(2, "error: count must be from 1 to 1000, not 0\n");
    project.run(&["run", "create", "name=a b"]).fails(
        2,
        "error: invalid server name `a b`\n\
         help: use letters, digits and dashes, 50 at most\n",
    );
    project.run(&["run", "--all", "docker.kill"]).fails(
        2,
        "error: docker.kill: missing parameter `name`\n\
         note: see `hitc help docker.kill` for its parameters\n\
         help: add `name=…`: the container's full name, or several, separated by commas\n",
    );
    project.run(&["run", "ensemble.up", "x", "--yse"]).fails(
        2,
        "error: unknown flag `--yse`\nhelp: did you mean `--yes`?\n",
    );
    project.run(&["run", "ensemble.up", "x", "--prnue"]).fails(
        2,
        "error: ensemble.up: unknown parameter `prnue`\n\
         note: see `hitc help ensemble.up` for its parameters\n\
         help: did you mean `prune`?\n",
    );
}

#[test]
fn nothing_runs_if_any_task_is_unknown() {
    let project = Project::new().file("hitcfile.rhai", "/// A.\nfn a() { print(\"ran\") }\n");
    project
        .run(&["run", "a", ":::", "a"])
        .is(0, "ran\nran\n", "");
    let run = project.run(&["run", "a", ":::", "b"]);
    assert_eq!((run.status, run.stdout.as_str()), (3, ""));
    project
        .run(&["run", "a", ":::"])
        .fails(2, "error: missing task before or after `:::`\n");
}

#[test]
fn firewall_is_another_name_of_iptables() {
    let project = Project::new();
    let help = project.run(&["help", "firewall.open"]).ok();
    assert!(help.stdout.starts_with("iptables.open\n"), "{help}");
    project.write(
        "tasks/firewall.rhai",
        "/// Mine.\nfn open() { print(\"mine\") }\n",
    );
    project.write("hitcfile.rhai", "import \"tasks/firewall\" as firewall;\n");
    project.run(&["run", "firewall.open"]).is(0, "mine\n", "");
}
