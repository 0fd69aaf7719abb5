//! `hitc console`.

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

/// Values look as scripts print them.
#[test]
fn values_are_shown_as_text() {
    let project = project().file("unmanaged_servers.txt", "10.0.0.1 web\n");
    let typed = "ssh::host(\"web\")\n[ssh::host(\"web\"), \"a\"]\n#{a: 1}\n1.5\n";
    let run = project.run_with_input(&["console"], typed);
    run.is(0, "web\n[web, \"a\"]\n#{\"a\": 1}\n1.5\n", "");
    let typed = "let s = secret::of(\"hunter22\");\ns\n[s]\n#{a: s}\n";
    let run = project.run_with_input(&["console"], typed);
    run.is(0, "***\n[***]\n#{\"a\": ***}\n", "");
}

#[test]
fn help_in_the_console() {
    let run = project().run_with_input(
        &["console"],
        "help\nhelp ssh::ping\nhelp host.ping\nhelp nothing\n",
    );
    assert_eq!(run.status, 0, "{run}");
    assert!(run.stdout.starts_with("Expressions of Rhai"), "{run}");
    let function = project().run(&["help", "ssh::ping"]).ok().stdout;
    assert_eq!(run.stdout.matches(&function).count(), 2, "{run}");
    assert!(
        run.stdout
            .ends_with("no function, method or namespace `nothing`\n"),
        "{run}"
    );
}

/// The console continues after an error.
#[test]
fn an_error_is_shown() {
    let run = project().run_with_input(&["console"], "let x = 1;\ny\nthrow \"no\";\nx\n");
    assert_eq!(run.status, 0, "{run}");
    assert_eq!(run.stdout, "1\n");
    assert_eq!(run.errors(), ["error: undefined variable `y`", "error: no"]);
}
