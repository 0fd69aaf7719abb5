//! Errors in scripts, and how they are reported.

use crate::support::{Project, Run};

fn run(hitcfile: &str, arguments: &[&str]) -> Run {
    Project::new()
        .file("hitcfile.rhai", hitcfile)
        .run(arguments)
}

#[test]
fn a_syntax_error() {
    run("/// A.\nfn a( { }\n", &["tasks"]).fails(
        2,
        "\
error: expecting ')' to close the parameters list of function 'a'
 --> hitcfile.rhai:2:7
  |
2 | fn a( { }
  |       ^
",
    );
}

#[test]
fn an_unknown_function() {
    run("/// A.\nfn a() { docker::rnu(1) }\n", &["run", "a"]).fails(
        2,
        "\
error: function `docker::rnu` not found
 --> hitcfile.rhai:2:18
  |
2 | fn a() { docker::rnu(1) }
  |                  ^^^
  |
  = help: did you mean `run`?
",
    );
    run(
        "/// A.\nfn a() { helo() }\nprivate fn hello() {}\n",
        &["run", "a"],
    )
    .fails(
        2,
        "\
error: function `helo` not found
 --> hitcfile.rhai:2:10
  |
2 | fn a() { helo() }
  |          ^^^^
  |
  = help: did you mean `hello`?
",
    );
}

/// An error in an imported script points into that script, even if the function is not called.
#[test]
fn an_error_in_an_imported_script() {
    for body in ["no_such(1)", "let x = ;"] {
        let project = Project::new()
            .file(
                "hitcfile.rhai",
                "import \"lib/db\" as db;\n/// A.\nfn a() { db::backup() }\n",
            )
            .file(
                "lib/db.rhai",
                &format!("/// B.\nfn backup() {{ {body} }}\n"),
            );
        let run = project.run(&["tasks"]);
        assert_eq!(run.status, 2, "{run}");
        assert_eq!(run.errors().len(), 1, "{run}");
        assert!(run.stderr.contains(" --> lib/db.rhai:2:"), "{run}");
    }
}

#[test]
fn all_errors_are_reported() {
    let run = run("/// A.\nfn a() { one(); [1].two() }\n", &["tasks"]);
    assert_eq!(run.status, 2);
    assert_eq!(
        run.errors(),
        [
            "error: function `one` not found",
            "error: function `two` not found"
        ]
    );
}

#[test]
fn a_wrong_number_of_arguments() {
    run("/// A.\nfn a() { ui::note(\"a\", \"b\") }\n", &["run", "a"]).fails(
        2,
        "\
error: `ui::note` does not take 2 arguments
 --> hitcfile.rhai:2:14
  |
2 | fn a() { ui::note(\"a\", \"b\") }
  |              ^^^^
  |
  = help: the signature is `note(text: string)`
",
    );
}

#[test]
fn a_wrong_type_of_argument() {
    run("/// A.\nfn a() { ui::note(1) }\n", &["run", "a"]).fails(
        1,
        "\
error: `ui::note` does not take arguments of type (i64)
 --> hitcfile.rhai:2:14
  |
2 | fn a() { ui::note(1) }
  |              ^^^^
  |
  = help: the signature is `note(text: string)`
",
    );
}

#[test]
fn an_unknown_variable_or_namespace() {
    run("/// A.\nfn a() { foo }\n", &["run", "a"]).fails(
        2,
        "\
error: undefined variable `foo`
 --> hitcfile.rhai:2:10
  |
2 | fn a() { foo }
  |          ^^^
  |
  = help: declare it with `let foo = …`, or write `global::foo` for a constant of the file
",
    );
    run("/// A.\nfn a() { dokcer::ps() }\n", &["run", "a"]).fails(
        2,
        "\
error: unknown namespace `dokcer`
 --> hitcfile.rhai:2:10
  |
2 | fn a() { dokcer::ps() }
  |          ^^^^^^
  |
  = help: did you mean `docker`?
",
    );
}

#[test]
fn a_doc_comment_that_does_not_fit_the_signature() {
    run(
        "/// A.\n/// @param naem  the name\nfn a(name) {}\n",
        &["tasks"],
    )
    .fails(
        2,
        "\
error: `a` has no parameter `naem`
 --> hitcfile.rhai:2:12
  |
2 | /// @param naem  the name
  |            ^^^^
  |
  = help: did you mean `name`?
",
    );
    run("/// A constant.\nconst X = 1;\n", &["tasks"]).fails(
        2,
        "\
error: misplaced `///` comment: no function follows
 --> hitcfile.rhai:1:1
  |
1 | /// A constant.
  | ^
  |
  = help: use `//` for other comments
",
    );
}

#[test]
fn a_wrong_setting() {
    run("config(#{ forsk: 3 });\n", &["run", "nodes"]).fails(
        2,
        "\
error: config: unknown option `forsk`
 --> hitcfile.rhai:1:1
  |
1 | config(#{ forsk: 3 });
  | ^^^^^^
  |
  = help: did you mean `forks`?
",
    );
}

#[test]
fn a_command_at_the_top_level() {
    run("local::run(\"touch /tmp/hitc-was-here\");\n", &["tasks"]).fails(
        2,
        "\
error: `run` is called while the script is being loaded
 --> hitcfile.rhai:1:8
  |
1 | local::run(\"touch /tmp/hitc-was-here\");
  |        ^^^
  |
  = help: call it inside a function
",
    );
}

#[test]
fn a_command_that_fails() {
    let text = "/// A.\nfn a() { inner() }\nprivate fn inner() {\n    \
                local::run(\"echo out; echo complaint >&2; exit 3\");\n}\n";
    run(text, &["run", "a"]).is(
        1,
        "out\n",
        "\
complaint
error: `echo out; echo complaint >&2; exit 3` ended with exit status 3
 --> hitcfile.rhai:4:12
  |
4 |     local::run(\"echo out; echo complaint >&2; exit 3\");
  |            ^^^
  |
  = note: complaint
  = note: in `inner`, called at hitcfile.rhai:2:10
",
    );
}

/// Compares the whole text of each error.
#[test]
fn errors_of_the_language() {
    for (body, message, column, width) in [
        (
            "let o = #{ image: 1 }; o.imgae",
            "property not found: imgae",
            35,
            5,
        ),
        (
            "[1][5]",
            "array index 5 out of bounds: only 1 element in array",
            14,
            1,
        ),
        ("1 / 0", "division by zero: 1 / 0", 12, 1),
        (
            "let x = \"text\"; if x { }",
            "expected bool, got string",
            29,
            1,
        ),
    ] {
        let line = format!("fn a() {{ {body} }}");
        let gap = " ".repeat(column - 1);
        let mark = "^".repeat(width);
        run(&format!("/// A.\n{line}\n"), &["a"]).fails(
            1,
            &format!(
                "error: {message}\n --> hitcfile.rhai:2:{column}\n  |\n2 | {line}\n  | {gap}{mark}\n"
            ),
        );
    }
}

#[test]
fn the_call_stack_across_files() {
    Project::new()
        .file(
            "hitcfile.rhai",
            "import \"lib/deep\" as deep;\n/// A.\nfn a() { deep::one(|| 1 / 0) }\n",
        )
        .file(
            "lib/deep.rhai",
            "fn one(f) { two(f) }\nfn two(f) { f.call() }\n",
        )
        .run(&["a"])
        .fails(
            1,
            "\
error: division by zero: 1 / 0
 --> hitcfile.rhai:3:25
  |
3 | fn a() { deep::one(|| 1 / 0) }
  |                         ^
  |
  = note: in a closure called at lib/deep.rhai:2:15
  = note: in `two`, called at lib/deep.rhai:1:13
  = note: in `one`, called at hitcfile.rhai:3:16
",
        );
}

#[test]
fn options_of_functions_are_checked() {
    let project = |options: &str| {
        Project::new()
            .file("unmanaged_servers.txt", "10.255.0.1 web\n")
            .file(
                "hitcfile.rhai",
                &format!("/// A.\nfn a(host) {{ docker::run(host, {options}); }}\n"),
            )
            .run(&["run", "-H", "web", "a"])
    };
    let first = |options: &str| {
        let run = project(options);
        assert_eq!(run.status, 2, "{run}");
        let help = run.stderr.lines().find(|line| line.contains("help:"));
        (
            run.errors().join("; "),
            help.map(|line| line.trim().to_owned()),
        )
    };
    assert_eq!(
        first("#{ imgae: \"app\" }"),
        (
            "error: docker.run: `image` is missing".to_owned(),
            Some("= help: is `imgae` meant to be `image`?".to_owned())
        )
    );
    assert_eq!(
        first("#{ image: \"app\", prots: [80] }"),
        (
            "error: container `app`: unknown option `prots`".to_owned(),
            Some("= help: did you mean `ports`?".to_owned())
        )
    );
    assert_eq!(
        first("#{ image: \"app\", ports: \"http\" }").0,
        "error: ports: invalid port number `http`"
    );
}

#[test]
fn an_error_can_be_caught() {
    let text = "/// A.\nfn a() {\n    try { local::run(\"exit 3\") } \
                catch (e) { print(`${e.kind} ${e.code} ${e.message}`) }\n}\n";
    run(text, &["run", "a"]).is(0, "failed 3 `exit 3` ended with exit status 3\n", "");
}

#[test]
fn a_script_may_throw() {
    run("/// A.\nfn a() { throw \"no\" }\n", &["run", "a"]).fails(
        1,
        "\
error: no
 --> hitcfile.rhai:2:10
  |
2 | fn a() { throw \"no\" }
  |          ^^^^^
",
    );
}

#[test]
fn endless_recursion_is_an_error() {
    run("/// A.\nfn a() { a() }\n", &["run", "a"]).fails(
        1,
        "\
error: calls are nested more than 64 deep
 --> hitcfile.rhai:2:10
  |
2 | fn a() { a() }
  |          ^
  |
  = help: check for a function that calls itself without end
",
    );
}

#[test]
fn an_import_without_an_alias_hides_nothing() {
    Project::new()
        .file("setup.rhai", "print(\"set up\");\nfn to_upper(a, b) {}\n")
        .file(
            "hitcfile.rhai",
            "import \"setup\";\n/// A.\nfn a() { print(\"a\".to_upper()) }\n",
        )
        .run(&["run", "a"])
        .is(0, "set up\nA\n", "");
}

#[test]
fn imports() {
    let project = |lib: &str| {
        Project::new()
            .file(
                "hitcfile.rhai",
                "import \"lib/x\" as x;\n/// A.\nfn a() { x::f() }\n",
            )
            .file("lib/x.rhai", lib)
            .file("lib/y.rhai", "import \"x\" as x;\n/// G.\nfn g() {}\n")
            .file(
                "lib/deep/z.rhai",
                "import \"../z\" as z;\n/// H.\nfn h() { z::z() }\n",
            )
            .file("lib/z.rhai", "/// Z.\nfn z() { print(\"z\") }\n")
    };
    project("import \"deep/z\" as z;\n/// F.\nfn f() { z::h() }\n")
        .run(&["run", "a"])
        .is(0, "z\n", "");
    project("import \"y\" as y;\n/// F.\nfn f() {}\n")
        .run(&["run", "a"])
        .fails(
            2,
            "\
error: cyclic imports: lib/x.rhai → lib/y.rhai → lib/x.rhai
 --> lib/y.rhai:1:8
  |
1 | import \"x\" as x;
  |        ^
  |
  = note: called at lib/x.rhai:1:8
  = note: called at hitcfile.rhai:1:8
  = help: move what both scripts need to a third script
",
        );
    project("/// F.\nfn f() { throw \"deep\" }\n")
        .run(&["run", "a"])
        .fails(
            1,
            "\
error: deep
 --> lib/x.rhai:2:10
  |
2 | fn f() { throw \"deep\" }
  |          ^^^^^
  |
  = note: in `f`, called at hitcfile.rhai:3:13
",
        );
    Project::new()
        .file("hitcfile.rhai", "import \"lib/z\" as z;\n")
        .run(&["tasks"])
        .fails(
            2,
            "\
error: script `lib/z.rhai` not found
 --> hitcfile.rhai:1:8
  |
1 | import \"lib/z\" as z;
  |        ^
",
        );
    run("import \"std/rerty\" as retry;\n", &["tasks"]).fails(
        2,
        "\
error: module `std/rerty` not found
 --> hitcfile.rhai:1:8
  |
1 | import \"std/rerty\" as retry;
  |        ^
  |
  = help: did you mean `std/retry`?
",
    );
}

#[test]
fn a_users_function_does_not_replace_one_of_a_built_in_script() {
    // `nodes` of the built-in script calls `provider::nodes`, never the user's `nodes`.
    let text = "/// Mine.\nfn nodes() { print(\"mine\") }\nfn fail() { throw \"hijacked\" }\n\
                /// @param x y\nfn table(x) { throw \"hijacked\" }\n";
    run(text, &["run", "nodes"]).is(0, "mine\n", "");
}
