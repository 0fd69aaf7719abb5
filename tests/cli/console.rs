//! `hitc console`, and shell completion.

use crate::support::Project;

fn project() -> Project {
    Project::new().file(
        "hitcfile.rhai",
        "import \"tasks/db\" as db;\n/// Twice.\n/// @param n = 1  a number\n/// @param loud = false\n\
         fn twice(n, loud) { n * 2 }\n",
    )
    .file("tasks/db.rhai", "/// B.\nfn backup() { \"saved\" }\n")
}

#[test]
fn input_is_evaluated() {
    let typed = "let x = 20;\ntwice(x, false) + 2\nfn f(a) {\n  a + 1\n}\nf(x)\ndb::backup()\n\
                 json::write([x])\n";
    let run = project().run_with_input(&["console"], typed);
    run.is(0, "42\n21\n\"saved\"\n\"[20]\"\n", "");
}

/// The console continues after an error.
#[test]
fn an_error_is_shown() {
    let run = project().run_with_input(&["console"], "let x = 1;\ny\nthrow \"no\";\nx\n");
    assert_eq!(run.status, 0, "{run}");
    assert_eq!(run.stdout, "1\n");
    assert_eq!(run.errors(), ["error: undefined variable `y`", "error: no"]);
}

/// Returns the completions of the last word.
fn complete(project: Project, words: &[&str]) -> Vec<String> {
    let index = (words.len() - 1).to_string();
    let project = project
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", &index)
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "true");
    let mut arguments = vec!["--"];
    arguments.extend(words);
    let run = project.run(&arguments).ok();
    run.stdout
        .split(['\u{b}', '\n'])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn tasks_and_their_parameters() {
    assert_eq!(complete(project(), &["hitc", "tw"]), ["twice"]);
    assert_eq!(complete(project(), &["hitc", "run", "db"]), ["db.backup"]);
    let first: Vec<String> = complete(project(), &["hitc", "run", "twice", ""]);
    assert_eq!(
        first[..3],
        ["n=", "loud=true", "loud=false"],
        "before the flags"
    );
    assert_eq!(
        complete(project(), &["hitc", "run", "twice", "n=2", "l"]),
        ["loud=true", "loud=false"]
    );
    assert_eq!(
        complete(project(), &["hitc", "source", "docker.p"]),
        ["docker.ps", "docker.prune", "docker.pull", "docker.push"]
    );
    assert_eq!(
        complete(project(), &["hitc", "run", "twice", ":::", "db"]),
        ["db.backup"]
    );
}

/// With an invalid hitcfile, only subcommands are completed, and no error is shown.
#[test]
fn a_broken_project_offers_its_subcommands() {
    let broken = Project::new().file("hitcfile.rhai", "fn (");
    assert_eq!(complete(broken, &["hitc", "exe"]), ["exec"]);
}

/// Hosts come from the last listing: no provider is contacted.
#[test]
fn hosts_and_roles() {
    let project = project().file(
        "unmanaged_servers.txt",
        "10.0.0.1 web\n10.0.0.2 web-1\n10.0.0.3 db\n",
    );
    project.run(&["nodes"]).ok();
    project.write("unmanaged_servers.txt", "this is wrong\n");
    let hosts = complete(project, &["hitc", "exec", "-H", "db,w"]);
    assert_eq!(hosts, ["db,web", "db,web-1"]);
}

/// Each shell passes the command line in its own way.
#[test]
fn every_shell_is_answered() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = project()
            .env("COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "3")
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "true")
            .env("_CLAP_IFS", "\n")
            .run(&["--", "hitc", "run", "twice", "lo"])
            .ok();
        assert!(run.stdout.contains("loud=true"), "{shell}: {run}");
        assert!(!run.stdout.contains("n="), "{shell}: {run}");
    }
}

#[test]
fn scripts_for_shells() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = Project::new().run(&["completions", shell]).ok();
        assert!(run.stdout.contains("COMPLETE"), "{shell}: {run}");
    }
    let run = Project::new().run(&["completions", "tcsh"]);
    assert_eq!(run.status, 2, "{run}");
}
