//! Flags of hitc where users write them: before and after the task.

use crate::support::Project;

fn project() -> Project {
    Project::new()
        .file(
            "hitcfile.rhai",
            "/// D.\n/// @param tag = \"v1\"\n/// @confirm \"Deploy ${tag}?\"\n\
             fn deploy(tag) { print(`deployed ${tag}`); }\n\
             /// M.\nfn make() { local::run(\"touch made\"); }\n\
             /// W.\nfn who(host) { print(host.name); }\n\
             /// O.\n/// @param n = 1\n/// @param output = \"\"\nfn own(n, output) { print(`${n} ${output}`); }\n\
             /// A.\n/// @param options  any=VALUE limit=N\nfn any(options) { print(options); }\n",
        )
        .file("unmanaged_servers.txt", "10.0.0.1 web\n10.0.0.2 db\n")
}

#[test]
fn flags_follow_the_task() {
    let project = project();
    let is = |words: &[&str], stdout: &str| project.run(words).is(0, stdout, "");
    is(&["deploy", "-y"], "deployed v1\n");
    is(&["deploy", "v2", "--yes"], "deployed v2\n");
    is(&["run", "deploy", "-yq", "tag=v3"], "deployed v3\n");
    is(&["deploy", "--tag", "v4", "-y"], "deployed v4\n");
    is(&["who", "-H", "web"], "web\n");
    is(&["who", "-Hweb,db", "--exclude=db"], "web\n");
    // They hold for the whole run, and add to those before.
    is(
        &["-H", "web", "run", "-H", "db", "who", "-qP1"],
        "[db] db\n[web] web\n",
    );
    is(
        &["-y", "deploy", ":::", "deploy", "v2", "-q"],
        "deployed v1\ndeployed v2\n",
    );
    // It would confirm the first task, too.
    project.run(&["deploy", ":::", "deploy", "v2", "-y"]).fails(
        2,
        "error: `-y` stands after one task of several, and would hold for all of them\n\
         help: write it before the first task, or run the tasks one by one\n",
    );
    project.run(&["deploy", "--tag", "-n"]).fails(
        2,
        "error: missing value for `--tag`: `-n` is a flag of hitc\n\
         help: to pass it as the value, write `--tag=-n`\n",
    );
    project.run(&["make", "-n"]).fails(
        0,
        "would run `touch made` here\nnot simulated, assumed to succeed: `touch made`\n",
    );
    assert!(!project.root().join("made").exists());
    let run = project.run(&["nodes", "-o", "json"]).ok();
    assert!(run.stdout.starts_with("{\"event\":\"start\""), "{run}");
}

/// A parameter of the task is meant rather than a flag of that name.
#[test]
fn parameters_come_first() {
    let project = project();
    let is = |words: &[&str], stdout: &str| project.run(words).is(0, stdout, "");
    is(&["own", "-n", "3", "--output", "json"], "3 json\n");
    is(&["own", "-n=4"], "4 \n");
    // What the documentation of the options names, too.
    is(&["any", "--limit", "3"], "#{\"limit\": \"3\"}\n");
    is(&["any", "--more", "-3", "-y"], "#{\"more\": \"-3\"}\n");
    let error = "error: any: `--user` is a flag of hitc, and may be meant as an option of the task\n\
                 help: write `user=…` for the option, or the flag before the task: `hitc --user … any`\n";
    project.run(&["any", "--user", "joe"]).fails(2, error);
    is(&["--user", "joe", "any", "user=x"], "#{\"user\": \"x\"}\n");
    // After `--`, nothing is a flag.
    is(&["own", "2", "--", "-n"], "2 -n\n");
}

#[test]
fn wrong_flags_after_the_task() {
    let project = project();
    project.run(&["deploy", "--dry-rnu"]).fails(
        2,
        "error: unknown flag `--dry-rnu`\nhelp: did you mean `--dry-run`?\n",
    );
    project.run(&["deploy", "-z"]).fails(
        2,
        "error: deploy: unknown flag `-z`\nnote: see `hitc help deploy` for its parameters\n\
         help: to pass it as a value, write `NAME=-z`\n",
    );
    let run = project.run(&["deploy", "-P", "x"]);
    assert_eq!(
        run.errors(),
        ["error: invalid value 'x' for '--forks <N>': must be a whole number, at least 1"]
    );
    assert_eq!(run.status, 2);
    let run = project.run(&["who", "-H"]);
    assert_eq!(
        run.errors(),
        ["error: a value is required for '--hosts <NAME>' but none was supplied"]
    );
    project
        .run(&["deploy", "--exit-code", "-y"])
        .fails(2, "error: `--exit-code` needs `--dry-run`\n");
}

#[test]
fn help_after_the_task() {
    let project = project();
    let help = project.run(&["help", "who"]).ok().stdout;
    for words in [["who", "-h"], ["who", "--help"]] {
        project.run(&words).is(0, &help, "");
    }
}

#[test]
fn a_command_needs_no_dashes() {
    let project = project();
    let would = |words: &[&str], expected: &str| project.run(words).fails(0, expected);
    would(
        &["exec", "-n", "-H", "web", "uname", "-a"],
        "would run `uname -a` on web\n",
    );
    would(
        &["exec", "-n", "-H", "web", "--", "uname", "-a"],
        "would run `uname -a` on web\n",
    );
    // Its flags are not hitc's.
    would(
        &["exec", "-n", "-H", "web", "ls", "-y", "--all"],
        "would run `ls -y --all` on web\n",
    );
    project.run(&["exec", "uname", "-H", "web"]).fails(
        2,
        "error: no servers are selected: `-H` belongs to the command `uname -H web`\n\
         help: flags of hitc come before the command: `hitc exec -H web uname -a`\n",
    );
    let run = project.run(&["exec", "--hots", "web", "uname"]);
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.contains("a similar argument exists: '--hosts'"),
        "{run}"
    );
}

#[test]
fn another_folder_and_another_hitcfile() {
    let project = Project::new()
        .file(
            "shop/hitcfile.rhai",
            "import \"tasks/db\" as db;\n/// W.\nfn where_() { print(local::run(\"pwd\")); }\n",
        )
        .file(
            "shop/tasks/db.rhai",
            "/// B.\nfn backup() { print(\"saved\"); }\n",
        )
        .file(
            "shop/staging.rhai",
            "config(#{ forks: 2 });\n/// S.\nfn staged() { print(\"staging\"); }\n",
        )
        .file("shop/deep/x", "");
    project
        .run(&["-C", "shop", "db.backup"])
        .is(0, "saved\n", "");
    project
        .run(&["-C", "shop/deep", "db.backup"])
        .is(0, "saved\n", "");
    project
        .run(&["-f", "shop/hitcfile.rhai", "db.backup"])
        .is(0, "saved\n", "");
    project
        .run(&["-C", "shop", "--file=staging.rhai", "staged"])
        .is(0, "staging\n", "");
    let run = project
        .run(&["-f", "shop/staging.rhai", "tasks", "stag"])
        .ok();
    assert_eq!(run.stdout, "staged  S.\n");
    // For other subcommands, they may follow.
    let run = project.run(&["tasks", "back", "-C", "shop"]).ok();
    assert_eq!(run.stdout, "db.backup  B.\n");
    project
        .run(&["check", "-C", "shop"])
        .fails(0, "3 scripts, 0 manifests: no errors found\n");
    project.run(&["db.backup", "-C", "shop"]).fails(
        3,
        "error: task `db.backup` not found\n\
        help: run `hitc tasks` for a list of the tasks\n",
    );
    project.run(&["nodes", "-C", "shop"]).fails(
        2,
        "error: `-C` comes before the task: it decides which tasks there are\n\
         help: write `hitc -C DIR nodes …`\n",
    );
    project
        .run(&["-C", "nowhere", "tasks"])
        .fails(2, "error: folder `nowhere`: no such file or directory\n");
    project.run(&["-f", "nowhere.rhai", "tasks"]).fails(
        2,
        "error: hitcfile `nowhere.rhai`: no such file or directory\n",
    );
    project.run(&["-f", "shop", "tasks"]).fails(
        2,
        "error: hitcfile `shop`: a folder\nhelp: to use the hitcfile of a folder, write `-C shop`\n",
    );
}
