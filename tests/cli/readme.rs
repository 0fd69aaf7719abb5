//! The scripts in the README work.

use std::fs;

use crate::support::{Project, sources};

/// Returns the code blocks of the README in a language.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(sources().join("README.md")).unwrap();
    let begin = format!("```{language}\n");
    let blocks = readme.split(&begin).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn scripts_pass_their_check_and_their_test() {
    let scripts = blocks("rhai");
    let (tests, tasks): (Vec<_>, Vec<_>) =
        scripts.iter().partition(|script| script.contains("test::"));
    assert_eq!((tasks.len(), tests.len()), (2, 1));
    let project = Project::new().file("hitcfile.rhai", &format!("{}\n{}", tasks[0], tasks[1]));
    let project = project.file("tests/shop.rhai", tests[0]);
    project.run(&["check"]).ok();
    project.run(&["test"]).ok();
}
