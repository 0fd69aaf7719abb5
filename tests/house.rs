//! Checks of the source tree: layers, cycles, libraries, documentation.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
};

use crate::support::{Project, sources};

/// The layers, bottom up: each uses only layers with a lower number. Layers with the same number do
/// not use each other.
const LAYERS: [(&str, u8); 21] = [
    ("core", 0),
    ("project", 1),
    ("http", 1),
    ("ui", 1),
    ("fleet", 2),
    ("ssh", 2),
    ("mock", 2),
    ("machine", 3),
    ("context", 4),
    ("docker", 4),
    ("files", 4),
    ("iptables", 4),
    ("provider", 5),
    ("inventory", 6),
    ("provision", 7),
    ("ensemble", 8),
    ("api", 9),
    ("script", 10),
    ("cli", 11),
    ("fuzz", 12),
    ("lib", 13),
];

/// The only layers that may use `ui`, except for the crate root.
const USES_UI: [&str; 2] = ["cli", "fuzz"];

/// Libraries that only some folders or files may use.
const LIBRARIES: [(&str, &[&str]); 12] = [
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

/// Markers of unfinished code.
const UNFINISHED: [&str; 5] = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];

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
fn rust_sources() -> BTreeMap<String, String> {
    let src = sources().join("src");
    files(&src, "rs")
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().display().to_string();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// A module's path, `["docker", "container", "spec"]`, from its file.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The paths that a `use` tree or an expression names, each from the root of the crate.
fn named_paths(text: &str, own: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in text
        .match_indices("crate::")
        .chain(text.match_indices("super::"))
    {
        // A visibility, as in `pub(in crate::api)`, uses nothing.
        let is_visibility = text[..at].ends_with("(in ");
        let before = text[..at].chars().next_back();
        if is_visibility || before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let mut base = own.to_vec();
        let mut rest = &text[at..];
        if let Some(after) = rest.strip_prefix("crate::") {
            (base, rest) = (Vec::new(), after);
        }
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        expand(rest, &base, &mut paths);
    }
    // A call into a child module: `child::function(…)`.
    let declared = text.lines().filter_map(|line| {
        let line = line
            .trim_start_matches("pub ")
            .trim_start_matches("pub(super) ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    for child in declared {
        for statement in text
            .split(';')
            .filter(|statement| !statement.contains("use "))
        {
            let call = format!("{child}::");
            for (at, _) in statement.match_indices(&call) {
                let before = statement[..at].chars().next_back();
                if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    expand(&statement[at..], own, &mut paths);
                }
            }
        }
    }
    paths
}

/// Expands `a::{b, c::{d, e}}` into the paths it names. Returns what follows the tree.
fn expand<'a>(tree: &'a str, base: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = base.to_vec();
    let mut rest = tree;
    loop {
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = expand(inner.trim_start(), &path, paths).trim_start();
                inner = match inner.strip_prefix(',') {
                    Some(more) => more.trim_start(),
                    None => return inner.strip_prefix('}').unwrap_or(inner),
                };
                if let Some(after) = inner.strip_prefix('}') {
                    return after;
                }
            }
        }
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        path.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(after) => rest = after,
            None => break,
        }
    }
    path.retain(|segment| segment != "self" && !segment.is_empty());
    paths.push(path);
    rest
}

/// The files that each file uses: by the paths that it names, resolved through `pub use` to the file
/// that defines the item.
struct Dependencies {
    files: BTreeMap<String, BTreeSet<String>>,
}

impl Dependencies {
    fn read() -> Self {
        let sources: BTreeMap<String, String> = rust_sources()
            .into_iter()
            .filter(|(file, _)| !file.ends_with("/tests.rs") && file != "main.rs")
            .map(|(file, text)| {
                let code = text
                    .split("#[cfg(test)]\nmod tests {")
                    .next()
                    .unwrap_or_default();
                let lines = code
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                (file, lines.collect::<Vec<_>>().join("\n"))
            })
            .collect();
        let by_module: BTreeMap<Vec<String>, &String> =
            sources.keys().map(|file| (module(file), file)).collect();
        let mut exports: BTreeMap<(Vec<String>, String), Vec<String>> = BTreeMap::new();
        for (file, text) in &sources {
            let own = module(file);
            for statement in text.split(';') {
                let Some(at) = statement
                    .find("use ")
                    .filter(|at| statement[..*at].contains("pub"))
                else {
                    continue;
                };
                let tree = statement[at + "use ".len()..].trim();
                let mut targets = Vec::new();
                match tree.strip_prefix("crate::") {
                    Some(tree) => drop(expand(tree, &[], &mut targets)),
                    None => drop(expand(tree, &own, &mut targets)),
                }
                for target in targets {
                    if let Some(name) = target.last() {
                        exports.insert((own.clone(), name.clone()), target.clone());
                    }
                }
            }
        }
        let define = |path: &[String]| -> Option<String> {
            let mut path = path.to_vec();
            // An item may be re-exported several times.
            for _ in 0..8 {
                let known = (0..=path.len())
                    .rev()
                    .find(|n| by_module.contains_key(&path[..*n]))?;
                let export = path
                    .get(known)
                    .and_then(|name| exports.get(&(path[..known].to_vec(), name.clone())));
                match export {
                    Some(target) if *target != path[..=known] => {
                        path = target.iter().chain(&path[known + 1..]).cloned().collect();
                    }
                    _ => return Some(by_module[&path[..known]].clone()),
                }
            }
            None
        };
        let files = sources
            .iter()
            .map(|(file, text)| {
                let paths = named_paths(text, &module(file));
                let mut used: BTreeSet<String> =
                    paths.iter().filter_map(|path| define(path)).collect();
                used.remove(file);
                (file.clone(), used)
            })
            .collect();
        Dependencies { files }
    }

    /// The shortest cycle that contains a file, if there is one.
    fn cycle(&self, start: &str) -> Option<Vec<String>> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(file) = queue.pop_front() {
            for next in self.files.get(file).into_iter().flatten() {
                if next == start {
                    let mut cycle = vec![file.to_owned()];
                    while let Some(before) = came_from.get(cycle[cycle.len() - 1].as_str()) {
                        cycle.push((*before).to_owned());
                    }
                    cycle.reverse();
                    return Some(cycle);
                }
                if !came_from.contains_key(next.as_str()) {
                    came_from.insert(next, file);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

fn layer(file: &str) -> Option<(&'static str, u8)> {
    let own = file.split(['/', '.']).next().unwrap_or_default();
    LAYERS.into_iter().find(|(layer, _)| *layer == own)
}

#[test]
fn every_module_belongs_to_a_layer() {
    let without_layer: Vec<String> = rust_sources()
        .into_keys()
        .filter(|file| file != "main.rs" && layer(file).is_none())
        .collect();
    assert_eq!(without_layer, [""; 0]);
}

#[test]
fn layers_use_only_lower_layers() {
    let mut violations = Vec::new();
    for (file, used) in Dependencies::read().files {
        let Some((own, level)) = layer(&file) else {
            continue;
        };
        for other in used {
            let Some((used_layer, used_level)) = layer(&other) else {
                continue;
            };
            let is_ui = used_layer == "ui" && !USES_UI.contains(&own) && own != "lib";
            if own != used_layer && (used_level >= level || is_ui) {
                violations.push(format!("{file} uses {other}"));
            }
        }
    }
    assert_eq!(violations, [""; 0]);
}

#[test]
fn modules_have_no_cycles() {
    let dependencies = Dependencies::read();
    let mut cycles: BTreeSet<String> = BTreeSet::new();
    for file in dependencies.files.keys() {
        if let Some(mut cycle) = dependencies.cycle(file) {
            // Starts each cycle at its first file, so that it is reported once.
            let first = (0..cycle.len()).min_by_key(|at| &cycle[*at]).unwrap_or(0);
            cycle.rotate_left(first);
            cycles.insert(cycle.join(" → "));
        }
    }
    assert_eq!(cycles, BTreeSet::new());
}

#[test]
fn libraries_are_used_only_where_allowed() {
    let mut violations = Vec::new();
    for (file, text) in rust_sources() {
        for (library, allowed) in LIBRARIES {
            let is_allowed = allowed.iter().any(|path| file.starts_with(path));
            if !is_allowed && text.contains(library) {
                violations.push(format!("{file} uses {library}"));
            }
        }
    }
    assert_eq!(violations, [""; 0]);
}

#[test]
fn no_code_is_unfinished() {
    let mut found = Vec::new();
    for (folder, ending) in [("src", "rs"), ("scripts", "rhai"), ("stdlib", "rhai")] {
        for path in files(&sources().join(folder), ending) {
            let text = fs::read_to_string(&path).unwrap();
            for word in UNFINISHED.iter().filter(|word| text.contains(**word)) {
                found.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_file_is_documented() {
    let undocumented: Vec<String> = rust_sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(undocumented, [""; 0]);
}

/// Loading the tasks checks variables, calls, and doc comments against signatures. This test checks
/// that each task has a summary and documents its parameters.
#[test]
fn every_built_in_task_is_documented() {
    let listed = Project::new().run(&["tasks", "-o", "json"]).ok();
    let tasks: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let tasks = tasks["tasks"].as_array().unwrap();
    assert!(tasks.len() > 10);
    for task in tasks {
        assert!(task["summary"].as_str().unwrap().ends_with('.'), "{task}");
        for param in task["params"].as_array().unwrap() {
            assert_ne!(param["doc"], "", "{task}");
        }
    }
}

/// In a module, an unqualified call would resolve to the user's function of that name.
#[test]
fn the_standard_library_compiles_and_is_documented() {
    for path in files(&sources().join("stdlib"), "rhai") {
        let relative = path.strip_prefix(sources().join("stdlib")).unwrap();
        let name = relative.with_extension("");
        let name = name.to_str().unwrap();
        // Providers are not imported; their parts are.
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
