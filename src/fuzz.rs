//! Everything that reads what others wrote, for fuzzing: none of it may panic, hang, or take much memory.
//!
//! `fuzz/` throws mutated texts at these functions (`hitc run fuzz`); the tests run its corpus and a few
//! mutations of it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    thread,
};

use crate::{
    core::{
        diagnostic::{Diagnostic, Source},
        environment,
        event::Events,
        units,
    },
    docker, ensemble, files, http,
    inventory::Providers,
    iptables, provider, script, ssh, ui,
};

/// A function under fuzzing, and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("script", |data| text(data, script)),
    ("doc-comment", |data| text(data, doc_comment)),
    ("arguments", |data| text(data, arguments)),
    ("manifest", |data| text(data, manifest)),
    ("variable", |data| text(data, variable)),
    ("ssh-config", |data| text(data, ssh_config)),
    ("known-hosts", |data| text(data, known_hosts)),
    ("iptables", |data| text(data, iptables)),
    ("nft", |data| text(data, nft)),
    ("firewall", |data| text(data, firewall)),
    ("engine", docker::read_answers),
    ("archive", docker::read_archive),
    ("binding", |data| text(data, docker::read_bindings)),
    ("dotenv", |data| text(data, dotenv)),
    ("env-file", |data| in_file(data, env_file)),
    ("servers", |data| in_file(data, servers)),
    ("digests", files::read_digests),
    ("challenge", |data| text(data, http::read_challenge)),
    ("values", |data| text(data, values)),
];

/// Only texts: what is not UTF-8 is refused before.
fn text(data: &[u8], read: impl Fn(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
}

/// A file with this content. Each thread has one.
fn in_file(data: &[u8], read: impl Fn(&Path)) {
    let name = format!("hitc-fuzz-{}-{:?}", process::id(), thread::current().id());
    let path = env::temp_dir().join(name);
    if fs::write(&path, data).is_ok() {
        read(&path);
    }
}

/// Errors quote what was read.
fn show<'a>(errors: impl IntoIterator<Item = &'a Diagnostic>) {
    for error in errors {
        let shown = ui::render(error, false);
        // A tab is no attack, and stays as it is in notes and help.
        let is_raw = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(!shown.contains(is_raw), "a control character: {shown:?}");
    }
}

fn script(text: &str) {
    show(&script::audit_text(text));
}

fn doc_comment(text: &str) {
    let comment: String = text.lines().map(|line| format!("/// {line}\n")).collect();
    script(&format!("{comment}fn it(hosts, first, second) {{}}\n"));
}

/// One word a line.
fn arguments(text: &str) {
    const TASK: &str = "/// It.\n/// @param name the name\n/// @param count = 1\n/// @param dry = false\n\
        /// @param list = []\n/// @param options\nfn it(name, count, dry, list, options) {}\n";
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Err(error) = script::bind_words(TASK, &words) {
        show([&error]);
    }
}

fn manifest(text: &str) {
    // What these name is read: folders and files of this machine.
    if text.contains("build") || text.contains("env_file") {
        return;
    }
    let local = provider::Unmanaged::new(PathBuf::new());
    let providers = Providers::new(vec![Arc::new(local)]);
    match ensemble::read(
        "it",
        Source::new("it.yml", text),
        PathBuf::new(),
        &providers,
        &Events::silent(),
    ) {
        Ok(manifest) => drop(ensemble::warnings(&manifest)),
        Err(failure) => show(&failure.0),
    }
}

fn variable(text: &str) {
    ensemble::read_variables(text);
}

fn ssh_config(text: &str) {
    // What an `Include` names is read.
    if !text.to_ascii_lowercase().contains("include") {
        in_file(text.as_bytes(), ssh::read_config);
    }
}

fn known_hosts(text: &str) {
    in_file(text.as_bytes(), ssh::read_known_hosts);
}

fn iptables(text: &str) {
    for family in [iptables::Family::V4, iptables::Family::V6] {
        let _ = iptables::parse(family, text);
    }
    if let Ok((firewall, bridges)) = iptables::parse_chains(text, None) {
        let v4 = iptables::render_iptables(&firewall, &bridges, iptables::Family::V4);
        let again = iptables::parse_chains(&v4, None);
        assert_eq!(again, Ok((firewall, bridges)));
    }
}

fn nft(text: &str) {
    if let Ok(listed) = iptables::parse_nft(text) {
        let rendered = iptables::render_nft(&listed.firewall, &listed.bridges);
        let again = iptables::parse_nft(&rendered).map(|listed| (listed.firewall, listed.bridges));
        assert_eq!(again, Ok((listed.firewall, listed.bridges)));
    }
}

fn firewall(text: &str) {
    if let Ok(firewall) = iptables::Firewall::from_lines(text) {
        let again = iptables::Firewall::from_lines(&firewall.to_lines());
        assert_eq!(again, Ok(firewall));
    }
    let _ = iptables::parse_answer(text);
}

fn dotenv(text: &str) {
    if let Err(error) = environment::parse(text) {
        show([&error]);
    }
}

fn env_file(path: &Path) {
    let _ = docker::read_env_file(path);
}

fn servers(path: &Path) {
    for error in provider::read_servers(path).1 {
        show([&error.into()]);
    }
}

/// Short values: one a line.
fn values(text: &str) {
    for line in text.lines() {
        units::parse_bytes(line);
        units::parse_cpus(line);
        let _ = line.parse::<docker::Port>();
        let _ = line.parse::<ssh::Address>();
        let _ = line.parse::<ssh::Endpoint>();
        let _ = iptables::Ports::parse(line);
        docker::Platform::parse(line);
    }
}
