//! Secrets in output, on the local machine. `tests/live/secrets.rs` has the same for servers.

use data_encoding::BASE64;

use crate::support::{
    Project,
    canary::{ODD, PLAIN, assert_absent},
};

fn script(body: &str) -> Project {
    Project::new()
        .file("hitcfile.rhai", &format!("/// A.\nfn a() {{\n{body}\n}}\n"))
        .env("ODD", ODD)
        .env("TOKEN", PLAIN)
}

/// A line that is not UTF-8 is base64 in JSON.
#[test]
fn secrets_are_masked_before_json_and_base64() {
    let project = script(
        "secret::env(\"ODD\"); local::run(\"printf '%s\\\\n' \\\"$ODD\\\"; printf '\\\\377%s\\\\n' \\\"$ODD\\\"\");",
    );
    let run = project.run(&["-o", "json", "a"]).ok();
    let lines: Vec<serde_json::Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &serde_json::Value| event["event"] == "output")
        .collect();
    assert_eq!(lines[0]["text"], "***\n", "{run}");
    let bytes = BASE64.decode(lines[1]["base64"].as_str().unwrap().as_bytes());
    assert_eq!(bytes.unwrap(), b"\xff***\n");
    assert_absent("JSON", run.stdout.as_bytes());
}

/// The caret is below the same place.
#[test]
fn secrets_are_masked_in_excerpts() {
    script("yaml::parse(\"token: \" + secret::env(\"TOKEN\").reveal() + \": x\\nb: [\\n\");")
        .run(&["a"])
        .fails(
            2,
            "\
error: mapping values are not allowed in this context
 --> the text:1:11
  |
1 | token: ***: x
  |           ^
  |
  = note: called at hitcfile.rhai:3:7
",
        );
}

#[test]
fn secrets_are_masked_in_tables() {
    script(
        "let odd = secret::env(\"ODD\");\n\
         print(ui::table([\"a\", \"b\", \"c\"], [#{ a: odd, b: odd.reveal(), c: [odd] }, #{ a: \"x\" }]));",
    )
    .run(&["a"])
    .is(0, "a    b    c\n***  ***  ***\nx\n", "");
}

/// `secret::prompt`, a passphrase of a key and the password of sudo are asked for in this way.
#[test]
fn a_hidden_answer_is_masked() {
    let project = script("secret::prompt(\"Password?\"); local::run(\"echo hunter2-$((1+1))\");");
    let (status, shown) = project.answer_on_terminal(&["a"], "Password?", "hunter2-2");
    assert_eq!(status, 0, "{shown}");
    assert!(shown.ends_with("\n***\n"), "{shown}");
}

/// What a library quotes of a file, or of an option, is masked although it is cut off.
#[test]
fn a_part_of_a_secret_is_masked_where_it_is_cut_off() {
    let long = "0123456789abcdefghij-".repeat(8);
    let run = Project::new()
        .file(
            "hitcfile.rhai",
            "/// A.\nfn a() { provider::create(#{ name: \"web\", count: secret::env(\"LONG\").reveal() }); }\n\
             /// B.\nfn b() { secret::env(\"LONG\"); local::run(\"printf '%s' \\\"$LONG\\\" | base64\"); }\n",
        )
        .env("LONG", &long);
    let shown = run.run(&["a"]).stderr;
    assert!(
        shown.contains("***…") && !shown.contains("0123456789"),
        "{shown}"
    );
    let shown = run.run(&["b"]).ok().stdout;
    assert!(
        shown.lines().all(|line| line == "***" || line.len() < 8),
        "{shown}"
    );
}
