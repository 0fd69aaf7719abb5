//! What can stand at the cursor of a command line: only words that hitc accepts there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Arg, Command};

use super::super::{
    global_flags::{GlobalFlags, SEPARATOR, is_ambiguous, is_of_project, takes_value},
    start::{Start, find_project},
    test::{test_files, test_names},
};
use crate::{
    core::{
        event::Events,
        text_file::{USUAL_LIMIT, read_text},
    },
    ensemble,
    project::{PROVIDERS_FOLDER, Project},
    provider::role,
    script::{Param, Task, Type, built_in_namespaces, function_namespaces},
};

/// The providers that create servers and need no script of the project.
const PROVIDERS: [&str; 5] = ["local", "ec2", "digitalocean", "gcp", "hetzner"];
/// Words at the end of the names of parameters that are local paths.
const PATHS: [&str; 9] = [
    "from",
    "source",
    "target",
    "to",
    "file",
    "folder",
    "path",
    "dir",
    "directory",
];

/// The parameter that is a manifest.
const MANIFEST: &str = "manifest";
/// The parameters of the tasks of ensembles that are names in the manifest.
const OF_MANIFEST: [&str; 3] = ["only", "replace", "adopt"];

/// A word that can stand at the cursor.
#[derive(Debug)]
pub(super) struct Candidate {
    pub value: String,
    /// What it is; empty if that is clear.
    pub help: String,
}

/// Finds candidates.
pub(super) struct Completer {
    known: GlobalFlags,
    command: Command,
    /// The value of `--file`.
    hitcfile: Option<PathBuf>,
}

impl Completer {
    pub fn new(command: Command) -> Self {
        Completer {
            known: GlobalFlags::new(),
            command,
            hitcfile: None,
        }
    }

    /// The candidates for a word that begins with `current`, after the words `before`, which begin behind
    /// the program's name.
    pub fn complete(mut self, before: &[String], current: &str) -> Vec<Candidate> {
        let mut found = self.find(before, current);
        found
            .retain(|candidate| candidate.value.starts_with(current) && candidate.value != current);
        found
    }

    fn find(&mut self, before: &[String], current: &str) -> Vec<Candidate> {
        let mut words = before;
        if let Some(found) = self.skip_flags(&mut words, current) {
            return found;
        }
        let from_task = words;
        let Some((name, words)) = words.split_first() else {
            if current.starts_with('-') {
                return self.flags(current, |_| true);
            }
            let own = self.command.get_subcommands().map(|sub| {
                let about = sub.get_about().map(ToString::to_string);
                candidate(sub.get_name(), &about.unwrap_or_default())
            });
            let own: Vec<Candidate> = own.collect();
            let is_new = |task: &Candidate| own.iter().all(|own| own.value != task.value);
            let tasks: Vec<Candidate> = self.tasks().into_iter().filter(is_new).collect();
            return own.into_iter().chain(tasks).collect();
        };
        let mut words = words;
        match name.as_str() {
            "run" => match self.skip_flags(&mut words, current) {
                Some(found) => found,
                None if words.is_empty() && current.starts_with('-') => {
                    self.flags(current, |_| true)
                }
                None => self.after_task(words, current),
            },
            "exec" => match self.skip_flags(&mut words, current) {
                Some(found) => found,
                None if words.is_empty() && current.starts_with('-') => {
                    self.flags(current, |_| true)
                }
                // The words of a command on a server.
                None => Vec::new(),
            },
            _ => match self.command.find_subcommand(name).cloned() {
                Some(subcommand) => self.after_subcommand(&subcommand, words, current),
                None => self.after_task(from_task, current),
            },
        }
    }

    /// Skips flags at the beginning of the words. Some if the word at the cursor is the value of one.
    fn skip_flags(&mut self, words: &mut &[String], current: &str) -> Option<Vec<Candidate>> {
        while let Some(found) = self.known.at(words) {
            let (arg, len) = (found.arg.clone(), found.len);
            if len > words.len() {
                return Some(self.values_of_flag(&arg, "", current));
            }
            if is_of_project(&arg) {
                let value = if found.is_attached {
                    words[0].split_once('=').map_or("", |(_, value)| value)
                } else {
                    words[1].as_str()
                };
                match arg.get_short() {
                    // Without the folder, there is nothing to complete.
                    Some('C') => drop(std::env::set_current_dir(value)),
                    _ => self.hitcfile = Some(value.into()),
                }
            }
            *words = &words[len..];
        }
        None
    }

    /// The flags of hitc that can stand at the cursor, or the values of `--flag=`.
    fn flags(&self, current: &str, accepts: impl Fn(&Arg) -> bool) -> Vec<Candidate> {
        let accepted = self.known.all().iter().filter(|arg| accepts(arg));
        if let Some((flag, value)) = current.split_once('=') {
            let mut accepted = accepted;
            let named = |arg: &&Arg| arg.get_long() == flag.strip_prefix("--");
            return match accepted.find(named).filter(|arg| takes_value(arg)) {
                Some(arg) => self.values_of_flag(arg, &format!("{flag}="), value),
                None => Vec::new(),
            };
        }
        let mut candidates = Vec::new();
        for arg in accepted {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let long = arg.get_long().map(|long| format!("--{long}"));
            candidates.extend(long.map(|long| candidate(&long, &help)));
            // A dash alone offers the long forms only.
            let short = arg.get_short().map(|short| format!("-{short}"));
            candidates.extend(
                short
                    .filter(|short| current == short)
                    .map(|short| candidate(&short, &help)),
            );
        }
        candidates.push(candidate("--help", "Show help"));
        candidates
    }

    fn values_of_flag(&self, arg: &Arg, prefix: &str, current: &str) -> Vec<Candidate> {
        let possible = arg.get_possible_values();
        if !possible.is_empty() {
            let values = possible.iter().map(|value| {
                let help = value
                    .get_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                candidate(&format!("{prefix}{}", value.get_name()), &help)
            });
            return values.collect();
        }
        match arg.get_long() {
            Some("hosts") => self.hosts(prefix, current, false),
            Some("limit" | "exclude") => self.hosts(prefix, current, true),
            Some("roles") => self.listed(prefix, current, |name| role(name).to_owned()),
            Some("directory") => here(prefix, current, |_| false),
            Some("file") => here(prefix, current, |file| has_ending(file, &["rhai"])),
            Some("identity" | "docker-config") => here(prefix, current, |_| true),
            _ => Vec::new(),
        }
    }

    /// Completes names of servers from the last listing, and after a slash of containers. `roles`: and
    /// roles.
    fn hosts(&self, prefix: &str, current: &str, roles: bool) -> Vec<Candidate> {
        let last = current.rsplit(',').next().unwrap_or_default();
        if let Some((server, _)) = last.split_once('/') {
            let Some(project) = self.project() else {
                return Vec::new();
            };
            let containers = project.seen_containers(server);
            let containers = containers
                .into_iter()
                .map(|name| format!("{server}/{name}"));
            return in_list(prefix, current, containers.collect());
        }
        let mut hosts = self.listed(prefix, current, str::to_owned);
        if roles {
            hosts.extend(self.listed(prefix, current, |name| role(name).to_owned()));
            hosts.sort_by(|a, b| a.value.cmp(&b.value));
            hosts.dedup_by(|a, b| a.value == b.value);
        }
        hosts
    }

    fn listed(&self, prefix: &str, current: &str, of: impl Fn(&str) -> String) -> Vec<Candidate> {
        let names = self.project().map(|project| project.seen_servers());
        let names = names.unwrap_or_default();
        in_list(prefix, current, names.iter().map(|name| of(name)).collect())
    }

    /// The arguments of a subcommand other than `run` and `exec`.
    fn after_subcommand(
        &self,
        subcommand: &Command,
        words: &[String],
        current: &str,
    ) -> Vec<Candidate> {
        let all = words;
        let mut words = words;
        let mut positions = 0;
        while let Some(word) = words.first() {
            let len = match self.known.at(words) {
                _ if word == "--" => return Vec::new(),
                Some(found) if found.len > words.len() => {
                    return self.values_of_flag(found.arg, "", current);
                }
                Some(found) => found.len,
                None => {
                    positions += usize::from(!word.starts_with('-'));
                    1
                }
            };
            words = &words[len..];
        }
        if current.starts_with('-') {
            let own = subcommand.get_arguments().filter(|arg| !arg.is_hide_set());
            let own = own.filter_map(|arg| {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let flag = match (arg.get_long(), arg.get_short()) {
                    (Some(long), _) => format!("--{long}"),
                    (None, Some(short)) => format!("-{short}"),
                    (None, None) => return None,
                };
                Some(candidate(&flag, &help))
            });
            let own: Vec<Candidate> = own.collect();
            return own
                .into_iter()
                .chain(self.flags(current, |_| true))
                .collect();
        }
        if subcommand.get_name() == "test" {
            return match all.last().map(String::as_str) {
                Some("-k") => self.tests(),
                _ => self.test_files(all),
            };
        }
        if positions > 0 {
            return Vec::new();
        }
        let names = |names: Vec<String>| names.iter().map(|name| candidate(name, "")).collect();
        match subcommand.get_name() {
            "help" => {
                let subcommands = self.command.get_subcommands();
                let subcommands = subcommands.map(|sub| candidate(sub.get_name(), ""));
                let mut all: Vec<Candidate> = subcommands.chain(self.tasks()).collect();
                let namespaces = function_namespaces();
                let is_std = |name: &String| name.starts_with("std/");
                all.extend(namespaces.map(|name| {
                    let name = if is_std(&name) {
                        name
                    } else {
                        format!("{name}::")
                    };
                    candidate(&name, "script functions")
                }));
                all
            }
            "source" => {
                let modules = function_namespaces().filter(|name| name.starts_with("std/"));
                let mut all = self.tasks();
                all.extend(modules.map(|name| candidate(&name, "a module")));
                all
            }
            "eject" => names(built_in_namespaces().map(str::to_owned).collect()),
            "completions" => {
                let shell = subcommand.get_positionals().next();
                let values = shell.map(Arg::get_possible_values).unwrap_or_default();
                names(
                    values
                        .iter()
                        .map(|value| value.get_name().to_owned())
                        .collect(),
                )
            }
            "definitions" => here("", current, |_| false),
            _ => Vec::new(),
        }
    }

    /// The words after `run`, or a task and its words.
    fn after_task(&self, words: &[String], current: &str) -> Vec<Candidate> {
        let words = words
            .rsplit(|word| word == SEPARATOR)
            .next()
            .unwrap_or_default();
        let Some((name, words)) = words.split_first() else {
            return self.tasks();
        };
        let start = Start::new(self.hitcfile.as_deref(), &Events::silent());
        let task = start.and_then(|mut start| start.scripts.find(name));
        let Ok(task) = task else {
            return Vec::new();
        };
        self.of_task(&task, words, current)
    }

    fn of_task(&self, task: &Task, words: &[String], current: &str) -> Vec<Candidate> {
        let mut words = words;
        let mut given: Vec<String> = Vec::new();
        let mut manifest = String::new();
        let mut positions = 0;
        while let Some(word) = words.first() {
            let len = if word == "--" {
                // A command on a server.
                return Vec::new();
            } else if let Some(len) = task.flag_len(word) {
                let flag = word.trim_start_matches('-');
                let name = flag.split('=').next().unwrap_or(flag).replace('-', "_");
                if len > words.len() {
                    return self.values_of(task, &name, "", current, &manifest);
                }
                if name == MANIFEST {
                    let value = word.split_once('=').map(|(_, value)| value);
                    value.unwrap_or(&words[len - 1]).clone_into(&mut manifest);
                }
                given.push(name);
                len
            } else if let Some(found) = self.known.at(words) {
                if found.len > words.len() {
                    return self.values_of_flag(found.arg, "", current);
                }
                found.len
            } else {
                match word.split_once('=') {
                    Some((name, value)) if is_parameter(task, name) => {
                        if name == MANIFEST {
                            value.clone_into(&mut manifest);
                        }
                        given.push(name.replace('-', "_"));
                    }
                    _ => {
                        let param = task.params.get(positions);
                        if param.is_some_and(|param| param.name == MANIFEST) {
                            word.clone_into(&mut manifest);
                        }
                        given.extend(param.map(|param| param.name.clone()));
                        positions += 1;
                    }
                }
                1
            };
            words = &words[len..];
        }
        let is_given = |name: &str| given.iter().any(|given| given == name);
        if current.starts_with('-') {
            if let Some((flag, value)) = current.split_once('=')
                && task.flag_len(current).is_some()
            {
                let name = flag.trim_start_matches('-').replace('-', "_");
                return self.values_of(task, &name, &format!("{flag}="), value, &manifest);
            }
            let own = parameters(task).filter(|(name, _, _)| !is_given(name));
            let own =
                own.map(|(name, _, doc)| candidate(&format!("--{}", name.replace('_', "-")), doc));
            let own: Vec<Candidate> = own.collect();
            let is_free = |arg: &Arg| {
                let long = format!("--{}", arg.get_long().unwrap_or_default());
                let short = format!("-{}", arg.get_short().unwrap_or_default());
                !is_of_project(arg)
                    && !is_ambiguous(task, arg)
                    && task.flag_len(&long).is_none()
                    && task.flag_len(&short).is_none()
            };
            return own
                .into_iter()
                .chain(self.flags(current, is_free))
                .collect();
        }
        if let Some((name, value)) = current.split_once('=')
            && is_parameter(task, name)
        {
            let prefix = format!("{name}=");
            return self.values_of(task, &name.replace('-', "_"), &prefix, value, &manifest);
        }
        let next = task
            .params
            .get(positions)
            .filter(|param| !is_given(&param.name));
        let mut candidates = next.map_or_else(Vec::new, |param| {
            self.values_of(task, &param.name, "", current, &manifest)
        });
        for (name, kind, doc) in parameters(task).filter(|(name, _, _)| !is_given(name)) {
            match kind {
                Type::Bool => {
                    candidates.push(candidate(&format!("{name}=true"), doc));
                    candidates.push(candidate(&format!("{name}=false"), doc));
                }
                _ => candidates.push(candidate(&format!("{name}="), doc)),
            }
        }
        candidates
    }

    /// The values of a parameter. `prefix` stands before them in the same word; `manifest` is the one that
    /// is given before, if any.
    fn values_of(
        &self,
        task: &Task,
        name: &str,
        prefix: &str,
        current: &str,
        manifest: &str,
    ) -> Vec<Candidate> {
        let param = task.params.iter().find(|param| param.name == name);
        if param.is_some_and(|param| param.kind == Type::Bool) {
            let values = ["true", "false"].iter();
            return values
                .map(|value| candidate(&format!("{prefix}{value}"), ""))
                .collect();
        }
        let is_text = param.is_none_or(|param| matches!(param.kind, Type::Text | Type::List));
        let namespace = task.namespace.as_deref();
        let is_container =
            name == "container" || namespace == Some("docker") && ["name", "names"].contains(&name);
        let ends = |word: &str| name == word || name.ends_with(&format!("_{word}"));
        if name == MANIFEST {
            self.manifests(prefix, current)
        } else if namespace == Some("ensemble") && OF_MANIFEST.contains(&name) {
            in_list(prefix, current, self.names_in_manifest(manifest, name))
        } else if is_container {
            let project = self.project();
            let servers = project.iter().flat_map(Project::seen_servers);
            let project = project.as_ref();
            let containers = servers.flat_map(|server| {
                project.map_or_else(Vec::new, |project| project.seen_containers(&server))
            });
            in_list(prefix, current, containers.collect())
        } else if name == "provider" {
            self.providers(prefix)
        } else if is_text && (PATHS.iter().any(|word| ends(word)) || is_path(current)) {
            // As scripts see them.
            let root = self
                .project()
                .map_or_else(|| ".".into(), |project| project.root);
            paths(&root, prefix, current, |_| true)
        } else {
            Vec::new()
        }
    }

    /// Manifests without their ending, as `ensemble.up` takes them: relative to the current folder, or if
    /// there is none to the project's.
    fn manifests(&self, prefix: &str, current: &str) -> Vec<Candidate> {
        let here = manifests(Path::new("."), prefix, current);
        match self.project() {
            Some(project) if here.is_empty() => manifests(&project.root, prefix, current),
            _ => here,
        }
    }

    /// The servers of a manifest, and its containers as `SERVER.CONTAINER`, that the parameter `of` takes.
    /// Without a name, of the only manifest of the project.
    fn names_in_manifest(&self, manifest: &str, of: &str) -> Vec<String> {
        let Some(project) = self.project() else {
            return Vec::new();
        };
        let file = match manifest {
            "" => ensemble::find_only(&project),
            name => ensemble::find(Path::new(name))
                .or_else(|_| ensemble::find(&project.root.join(name))),
        };
        let text = file
            .ok()
            .and_then(|file| read_text(&file, USUAL_LIMIT).ok());
        let mut names = ensemble::names(&text.unwrap_or_default());
        match of {
            "replace" => names.retain(|name| !name.contains('.')),
            "adopt" => names.push("all".to_owned()),
            _ => {}
        }
        names
    }

    /// The files with the project's tests, except those that are named already.
    fn test_files(&self, given: &[String]) -> Vec<Candidate> {
        let project = self.project();
        let files = project.and_then(|project| test_files(&project).ok());
        let files = files.into_iter().flatten();
        let new = files.filter(|file| !given.contains(file));
        new.map(|file| candidate(&file, "")).collect()
    }

    /// The names of the project's tests.
    fn tests(&self) -> Vec<Candidate> {
        let tests = test_names(self.hitcfile.as_deref()).unwrap_or_default();
        tests.iter().map(|name| candidate(name, "")).collect()
    }

    fn providers(&self, prefix: &str) -> Vec<Candidate> {
        let mut names: Vec<String> = PROVIDERS.iter().map(|name| (*name).to_owned()).collect();
        if let Some(project) = self.project() {
            let own = fs::read_dir(project.root.join(PROVIDERS_FOLDER))
                .into_iter()
                .flatten();
            let own = own
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok());
            names.extend(own.filter_map(|name| Some(name.strip_suffix(".rhai")?.to_owned())));
        }
        names
            .iter()
            .map(|name| candidate(&format!("{prefix}{name}"), ""))
            .collect()
    }

    fn tasks(&self) -> Vec<Candidate> {
        let start = Start::new(self.hitcfile.as_deref(), &Events::silent());
        let tasks: Vec<Arc<Task>> = start
            .and_then(|mut start| start.scripts.list())
            .unwrap_or_default();
        let shown = tasks.iter().filter(|task| !task.hidden);
        shown
            .map(|task| candidate(&task.full_name(), &task.summary))
            .collect()
    }

    fn project(&self) -> Option<Project> {
        find_project(self.hitcfile.as_deref()).ok()
    }
}

fn is_parameter(task: &Task, name: &str) -> bool {
    let name = name.replace('-', "_");
    parameters(task).any(|(own, _, _)| own == name)
}

/// The parameters of a task, and the options that its documentation names.
fn parameters(task: &Task) -> impl Iterator<Item = (&str, Type, &str)> {
    let is_rest = |param: &&Param| param.name == "options" && task.takes_options();
    let own = task.params.iter().filter(move |param| !is_rest(param));
    let own = own.map(|param| (param.name.as_str(), param.kind, param.doc.as_str()));
    own.chain(task.documented_options().map(|name| (name, Type::Text, "")))
}

/// Candidates for the last item of a list with commas.
fn in_list(prefix: &str, current: &str, mut values: Vec<String>) -> Vec<Candidate> {
    let before = current.rfind(',').map_or("", |at| &current[..=at]);
    values.sort();
    values.dedup();
    let is_new = |value: &&String| !before.split(',').any(|given| given == **value);
    let values = values.iter().filter(is_new);
    values
        .map(|value| candidate(&format!("{prefix}{before}{value}"), ""))
        .collect()
}

/// Whether the user began to type a path.
fn is_path(text: &str) -> bool {
    text.contains('/') || text.starts_with('.') || text.starts_with('~')
}

fn manifests(folder: &Path, prefix: &str, current: &str) -> Vec<Candidate> {
    let mut found = paths(folder, prefix, current, |file| {
        has_ending(file, &["yml", "yaml"])
    });
    found.retain_mut(|candidate| {
        let path = candidate.value.strip_prefix(prefix).unwrap_or_default();
        if path.ends_with('/') {
            return true;
        }
        // Not the files of other programs.
        let text = read_text(&folder.join(path), USUAL_LIMIT).unwrap_or_default();
        let keys = ["provider:", "containers:", "firewall:"];
        if let Some(name) = path.strip_suffix(".yml") {
            candidate.value = format!("{prefix}{name}");
        }
        keys.iter().any(|key| text.contains(key))
    });
    found
}

/// Paths relative to the current folder.
fn here(prefix: &str, current: &str, accepts: impl Fn(&Path) -> bool) -> Vec<Candidate> {
    paths(Path::new("."), prefix, current, accepts)
}

/// Folders, and the files whose names are accepted. Relative paths are relative to `base`.
fn paths(
    base: &Path,
    prefix: &str,
    current: &str,
    accepts: impl Fn(&Path) -> bool,
) -> Vec<Candidate> {
    let (folder, last) = match current.rfind('/') {
        Some(at) => current.split_at(at + 1),
        None => ("", current),
    };
    let read = match folder.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().unwrap_or_default().join(rest),
        None => base.join(folder),
    };
    let entries = fs::read_dir(read).into_iter().flatten().flatten();
    let mut found: Vec<Candidate> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            if name.starts_with('.') && !last.starts_with('.') || !name.starts_with(last) {
                return None;
            }
            // Follows links.
            let is_folder = Path::is_dir(&entry.path());
            let end = if is_folder { "/" } else { "" };
            let shown = is_folder || accepts(name.as_ref());
            shown.then(|| candidate(&format!("{prefix}{folder}{name}{end}"), ""))
        })
        .collect();
    found.sort_by(|a, b| a.value.cmp(&b.value));
    found
}

fn has_ending(file: &Path, endings: &[&str]) -> bool {
    file.extension()
        .is_some_and(|own| endings.iter().any(|ending| own == *ending))
}

fn candidate(value: &str, help: &str) -> Candidate {
    Candidate {
        value: value.to_owned(),
        help: help.to_owned(),
    }
}
