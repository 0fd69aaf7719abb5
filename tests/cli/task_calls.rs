//! Tasks that run other tasks.

use crate::support::Project;

fn project(body: &str) -> Project {
    Project::new()
        .file(
            "unmanaged_servers.txt",
            "10.255.0.1 web\n10.255.0.2 db\n10.255.0.3 db-1\n",
        )
        .file(
            "hitcfile.rhai",
            &format!(
                "import \"tasks/db\" as db;\n/// A.\nfn a() {{ {body} }}\n\
                 /// H.\nfn h(hosts) {{ {body} }}\n"
            ),
        )
        .file(
            "tasks/db.rhai",
            "/// B.\n/// @role db\n/// @param tag = \"latest\"\nfn backup(host, tag) { \
             print(tag); host.name + \"!\" }\n\
             /// S.\n/// @role db\n/// @serial\nfn slow(host) { print(\"begin\"); \
             time::sleep(0.05); print(\"end\"); }\n\
             /// C.\n/// @confirm \"Drop ${what}?\"\n/// @param what\n/// @param count = 1\n\
             fn drop(what, count) { print(`dropped ${count} ${what}`); }\n",
        )
}

#[test]
fn a_task_keeps_its_role() {
    let run = project("print(task::run(\"db.backup\", #{ tag: \"v2\" }));").run(&["a"]);
    assert_eq!(run.status, 0, "{run}");
    let mut lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.pop(), Some("[\"db!\", \"db-1!\"]"));
    lines.sort_unstable();
    assert_eq!(lines, ["[db-1] v2", "[db] v2"]);
}

#[test]
fn a_serial_task_stays_serial() {
    let run = project("task::run(\"db.slow\");").run(&["a"]);
    assert_eq!(
        run.stdout, "[db] begin\n[db] end\n[db-1] begin\n[db-1] end\n",
        "{run}"
    );
}

#[test]
fn a_task_runs_on_the_given_hosts() {
    project("")
        .file("hitcfile.rhai", "import \"tasks/db\" as db;\n/// H.\nfn h(hosts) { print(task::run(\"db.backup\", hosts, #{})); }\n")
        .run(&["-H", "web", "h"])
        .is(0, "latest\n[\"web!\"]\n", "");
}

#[test]
fn a_question_is_asked() {
    let project = project("task::run(\"db.drop\", #{ what: \"all\" });");
    let refused = project.run(&["a"]);
    assert_eq!(refused.status, 2, "{refused}");
    assert!(
        refused
            .stderr
            .starts_with("error: no terminal to answer: Drop all?\n --> hitcfile.rhai:3:16"),
        "{refused}"
    );
    project.run(&["--yes", "a"]).is(0, "dropped 1 all\n", "");
}

#[test]
fn values_are_checked() {
    let says = |call: &str| {
        let run = project(call).run(&["a"]);
        run.errors().first().map(|line| (*line).to_owned())
    };
    let is = |text: &str| Some(format!("error: {text}"));
    assert_eq!(
        says("task::run(\"db.drop\");"),
        is("db.drop: missing parameter `what`")
    );
    assert_eq!(
        says("task::run(\"db.drop\", #{ what: \"x\", count: \"y\" });"),
        is("db.drop: `count` must be a whole number, not `y`")
    );
    assert_eq!(
        says("task::run(\"db.drop\", #{ what: \"x\", wat: 1 });"),
        is("db.drop: unknown parameter `wat`")
    );
    assert_eq!(
        says("task::run(\"db.dorp\");"),
        is("task `db.dorp` not found")
    );
}

/// `@readonly` belongs to one task, and not to those that it runs.
#[test]
fn a_readonly_task_lends_nothing_in_a_dry_run() {
    let project = Project::new().file(
        "hitcfile.rhai",
        "/// R.\n/// @readonly\nfn look() { local::run(\"echo looks\"); task::run(\"deploy\"); local::run(\"echo again\"); }\n\
         /// D.\nfn deploy() { local::run(\"touch deployed\"); task::run(\"status\"); local::run(\"touch more\"); }\n\
         /// S.\n/// @readonly\nfn status() { local::run(\"echo status\"); }\n",
    );
    let run = project.run(&["--dry-run", "look"]);
    assert_eq!(run.stdout, "looks\nstatus\nagain\n", "{run}");
    assert!(
        run.stderr.contains("would run `touch deployed` here"),
        "{run}"
    );
    assert!(run.stderr.contains("would run `touch more` here"), "{run}");
    assert!(!project.root().join("deployed").exists());
    assert!(!project.root().join("more").exists());
    project.run(&["look"]).ok();
    assert!(project.root().join("deployed").exists());
}

#[test]
fn a_task_that_runs_itself_ends() {
    let run = project("task::run(\"a\");").run(&["a"]);
    assert_eq!(run.status, 1, "{run}");
    assert_eq!(
        run.errors().first(),
        Some(&"error: task `a`: tasks are nested more than 16 deep")
    );
}

/// The top level of a hitcfile runs once, and its constants are shared.
#[test]
fn scripts_are_loaded_once() {
    let run = project("task::run(\"db.backup\"); task::run(\"db.backup\");")
        .file("hitcfile.rhai", "print(\"loaded\");\nimport \"tasks/db\" as db;\n/// A.\nfn a() { task::run(\"db.backup\"); task::run(\"db.backup\"); }\n")
        .run(&["a"]);
    assert_eq!(run.stdout.matches("loaded").count(), 1, "{run}");
    assert_eq!(run.stdout.matches("latest").count(), 4, "{run}");
}
