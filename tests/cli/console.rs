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

/// The console continues after an error.
#[test]
fn an_error_is_shown() {
    let run = project().run_with_input(&["console"], "let x = 1;\ny\nthrow \"no\";\nx\n");
    assert_eq!(run.status, 0, "{run}");
    assert_eq!(run.stdout, "1\n");
    assert_eq!(run.errors(), ["error: undefined variable `y`", "error: no"]);
}
