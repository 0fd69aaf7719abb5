//! Each `.rhai` file here has a task `main`; what it prints is in the `.out` file of that name.

use std::fs;

use crate::support::{Project, sources};

#[test]
fn scripts_print_what_is_written() {
    let folder = sources().join("tests/scripts");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "rhai") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let expected = fs::read_to_string(path.with_extension("out")).unwrap();
        let project = Project::new().file("hitcfile.rhai", &text);
        let run = project.run(&["run", "main"]).ok();
        assert_eq!(run.stdout, expected, "{}", path.display());
        count += 1;
    }
    assert!(count >= 3);
}
