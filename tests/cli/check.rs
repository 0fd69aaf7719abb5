//! What `hitc check` finds, and what it warns of.

use crate::support::Project;

fn check(hitcfile: &str) -> crate::support::Run {
    Project::new()
        .file("hitcfile.rhai", hitcfile)
        .run(&["check"])
}

#[test]
fn switches_take_no_value() {
    // `@readonly no` would make the task read-only.
    for tag in ["readonly", "serial", "hidden"] {
        let run = check(&format!("/// A.\n/// @{tag} no\nfn a() {{}}\n"));
        assert_eq!(run.status, 2, "{run}");
        assert_eq!(
            run.stderr,
            format!(
                "error: `@{tag}` takes no value\n --> hitcfile.rhai:2:{column}\n  |\n\
                 2 | /// @{tag} no\n  | {space}^^\n  |\n  = help: write `/// @{tag}`, or leave it out\n",
                column = tag.len() + 7,
                space = " ".repeat(tag.len() + 6),
            )
        );
    }
}

#[test]
fn servers_come_first() {
    for (params, name) in [
        ("batch, hosts", "hosts"),
        ("batch, host", "host"),
        ("host, hosts", "hosts"),
    ] {
        let docs: String = params
            .split(", ")
            .map(|param| format!("/// @param {param}\n"))
            .collect();
        let docs = docs.replace("/// @param host\n", "");
        let run = check(&format!("/// A.\n{docs}fn deploy({params}) {{}}\n"));
        assert_eq!(run.status, 2, "{run}");
        assert!(
            run.stderr.contains(&format!(
                "error: `{name}` is not the first parameter of `deploy`\n"
            )),
            "{params}: {run}"
        );
    }
}

#[test]
fn what_is_probably_not_meant() {
    let run = check(
        "/// A.\n/// @param tag\n/// @param who\n/// @param n = 1\n/// @confirm \"Greet ${who}?\"\n\
         fn a(hosts, tag, who, n) {\n    print(`${n}`);\n}\n\n/// P.\nfn ping(host) {}\n\n\
         private fn b(unused) {}\n\n/// T.\nfn test() {}\n",
    );
    run.is(
        0,
        "",
        "warning: hitcfile.rhai:6: `a` does not use its parameter `tag`\n\
         warning: hitcfile.rhai:10: `ping` replaces the built-in task of this name\n\
         warning: hitcfile.rhai:15: `test` is run as `hitc run test`: `hitc test` is a subcommand\n\
         1 script, 0 manifests: no errors found\n",
    );
}

#[test]
fn settings_that_cannot_be_used() {
    for (setting, error) in [
        ("frks: 4", "config: unknown option `frks`"),
        (
            "forks: \"many\"",
            "forks must be a whole number, not `many`",
        ),
        (
            "provider: \"locl\"",
            "`config(#{ provider })`: provider `locl` not found",
        ),
        (
            "providers: [\"local\", \"ec3\"]",
            "`config(#{ providers })`: provider `ec3` not found",
        ),
        ("shell: \"\"", "shell is empty"),
    ] {
        let run = check(&format!("config(#{{ {setting} }});\n"));
        assert!(
            run.status == 2 && run.stderr.contains(&format!("error: {error}")),
            "{setting}: {run}"
        );
    }
    let run = check("/// A.\nfn a() { config(#{ forks: 1 }); }\n");
    assert!(
        run.stderr.contains(
            "warning: hitcfile.rhai:2: `config` has no effect in a function: call it at the top of the hitcfile\n"
        ),
        "{run}"
    );
}

/// Misspelled keys do not hide a manifest.
#[test]
fn manifests_are_found() {
    for (manifest, error) in [
        ("web: {template: base, cuont: 3}\n", "cuont"),
        ("10.0.0.1: {contaners: {}}\n", "contaners"),
        ("web: {provdier: local}\n", "provdier"),
    ] {
        let run = Project::new().file("it.yml", manifest).run(&["check"]);
        assert!(
            run.status == 2 && run.stderr.contains(error),
            "{manifest}: {run}"
        );
    }
    Project::new()
        .file("compose.yml", "services:\n  web:\n    image: x\n")
        .file("ci.yml", "jobs:\n  test:\n    container: x\n")
        .file("values.yml", "web:\n  color: red\n")
        .run(&["check"])
        .fails(0, "0 scripts, 0 manifests: no errors found\n");
}

/// The files for editors are no scripts.
#[test]
fn definitions_are_left_out() {
    let project = Project::new();
    project.run(&["definitions", "defs"]).ok();
    project
        .run(&["check"])
        .fails(0, "0 scripts, 0 manifests: no errors found\n");
}

#[test]
fn a_hitcfile_that_is_no_file() {
    let project = Project::new();
    std::os::unix::fs::symlink("/nowhere", project.root().join("hitcfile.rhai")).unwrap();
    let run = project.run(&["tasks"]);
    assert!(
        run.status == 2 && run.stderr.contains("hitcfile.rhai` is not a regular file"),
        "{run}"
    );
}
