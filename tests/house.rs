//! Rules about the sources themselves.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{Project, sources};

/// The layers, from left to right: each may use those right of it. Those that share a number are
/// beside each other and do not.
const LAYERS: [(&str, u8); 12] = [
    ("cli", 0),
    ("script", 1),
    ("api", 2),
    ("ensemble", 3),
    ("provision", 4),
    ("session", 5),
    ("provider", 6),
    ("docker", 7),
    ("iptables", 7),
    ("files", 7),
    ("ssh", 8),
    ("http", 8),
];

/// Words that may stand only in some folders or files.
const ONLY_IN: [(&str, &[&str]); 12] = [
    ("rhai::", &["script/", "api/"]),
    ("clap::", &["cli/"]),
    ("clap_complete::", &["cli/"]),
    ("rustyline::", &["ui/"]),
    ("russh::", &["ssh/"]),
    ("bollard::", &["docker/", "provider/local/"]),
    ("indicatif::", &["ui/"]),
    ("annotate_snippets::", &["ui/"]),
    ("reqwest::", &["http/", "api/http.rs"]),
    ("aws_sdk_ec2::", &["provider/ec2/"]),
    ("aws_config::", &["provider/ec2/"]),
    ("petgraph::", &["ensemble/"]),
];

/// Words that should not be in the tree.
const NOWHERE: [&str; 5] = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The Rust sources: the path below `src`, and the text.
fn rust() -> BTreeMap<String, String> {
    let src = sources().join("src");
    files(&src, "rs")
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().display().to_string();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The lines of `use crate::…;`, each as the first words of the paths it names.
fn used_layers(text: &str) -> Vec<String> {
    let mut layers = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            // `use crate::{a::b, c::{d}}`: the names at the first level.
            Some(group) => {
                let mut depth = 1;
                let mut names = vec![String::new()];
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => names.push(String::new()),
                        c if depth == 1 => names.last_mut().unwrap().push(c),
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
                names
            }
            None => vec![rest.to_owned()],
        };
        layers.extend(names.iter().map(|name| {
            let name = name.trim();
            let end = name
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(name.len());
            name[..end].to_owned()
        }));
    }
    layers
}

#[test]
fn layers_use_only_what_lies_right_of_them() {
    let layer = |name: &str| LAYERS.iter().find(|(layer, _)| *layer == name);
    let mut breaches = Vec::new();
    for (file, text) in rust() {
        let own = file.split(['/', '.']).next().unwrap();
        let Some((own, position)) = layer(own).filter(|_| !file.ends_with("/tests.rs")) else {
            continue;
        };
        for used in used_layers(&text) {
            let allowed = match layer(&used) {
                Some((used, right)) => used == own || right > position,
                // Only `main` and the command line know the screen.
                None => used != "ui" || *own == "cli",
            };
            if !allowed {
                breaches.push(format!("{file} uses {used}"));
            }
        }
    }
    assert_eq!(breaches, [""; 0]);
}

#[test]
fn libraries_stay_in_their_rooms() {
    let mut breaches = Vec::new();
    for (file, text) in rust() {
        for (word, rooms) in ONLY_IN {
            let at_home = rooms.iter().any(|room| file.starts_with(room));
            if !at_home && text.contains(word) {
                breaches.push(format!("{file} has {word}"));
            }
        }
    }
    assert_eq!(breaches, [""; 0]);
}

#[test]
fn no_unfinished_business() {
    let mut found = Vec::new();
    for (folder, ending) in [("src", "rs"), ("scripts", "rhai"), ("stdlib", "rhai")] {
        for path in files(&sources().join(folder), ending) {
            let text = fs::read_to_string(&path).unwrap();
            for word in NOWHERE.iter().filter(|word| text.contains(**word)) {
                found.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<String> = rust()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(silent, [""; 0]);
}

/// Reading them checks them: strict variables, no call of an unknown function, a comment that fits
/// the signature. What is left is that every task says what it does.
#[test]
fn every_built_in_task_is_documented() {
    let listed = Project::new().run(&["tasks", "--json"]).ok();
    let tasks: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let tasks = tasks.as_array().unwrap();
    assert!(tasks.len() > 10);
    for task in tasks {
        assert!(task["summary"].as_str().unwrap().ends_with('.'), "{task}");
        for param in task["params"].as_array().unwrap() {
            assert_ne!(param["doc"], "", "{task}");
        }
    }
}

/// An unqualified call in a module would find the user's function of that name.
#[test]
fn the_standard_library_compiles_and_is_documented() {
    for path in files(&sources().join("stdlib"), "rhai") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        // A provider is no module to import.
        if !path.parent().unwrap().ends_with("providers") {
            let hitcfile = format!("import \"std/{name}\" as it;");
            Project::new()
                .file("hitcfile.rhai", &hitcfile)
                .run(&["tasks"])
                .ok();
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if line.starts_with("fn ") {
                assert!(lines[index - 1].starts_with("///"), "{name}: {line}");
            }
        }
    }
}
