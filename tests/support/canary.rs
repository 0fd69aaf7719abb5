//! Secrets that are looked for in everything that a run leaves: as they are, and encoded.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use data_encoding::{BASE64, HEXLOWER};

/// A secret without special characters.
pub const PLAIN: &str = "Kanarienvogel-4711-Xq7";
/// The characters that encodings change.
pub const ODD: &str = "Kan\"arie\\vogel $HOME %41 süß'q";
/// Two lines of them.
pub const LINES: &str = "Kan\"arie\\vogel $HOME %41 süß'q\nzweite Zeile & <Rest> 4712";

/// A form of a secret, and its name.
type Form = (String, Vec<u8>);

/// All forms that must not occur.
fn forms() -> BTreeSet<Form> {
    let mut forms = BTreeSet::new();
    for secret in [PLAIN].into_iter().chain(LINES.lines()) {
        let json = serde_json::to_string(secret).unwrap();
        let ascii: String = json
            .chars()
            .map(|c| match c {
                c if c.is_ascii() => c.to_string(),
                c => format!("\\u{:04x}", u32::from(c)),
            })
            .collect();
        let percent: String = secret
            .bytes()
            .map(|byte| match byte {
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte if b"-._~".contains(&byte) => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        forms.insert(("as it is".to_owned(), secret.into()));
        forms.insert(("JSON".to_owned(), json.trim_matches('"').into()));
        forms.insert(("ASCII JSON".to_owned(), ascii.trim_matches('"').into()));
        forms.insert(("percent".to_owned(), percent.into()));
        let hex = HEXLOWER.encode(secret.as_bytes());
        forms.insert(("hex".to_owned(), hex.into()));
        for offset in 0..3 {
            // Without the digits that depend on what is around it, and without those that may be on
            // another line, where too few are left to be recognized.
            let encoded = BASE64.encode(&[&b"xx"[..offset], secret.as_bytes()].concat());
            let within = encoded.trim_end_matches('=');
            let within = &within[offset + 1..within.len() - 1];
            forms.insert((format!("base64 at {offset}"), within.into()));
            let inner = &within[8..within.len() - 8];
            forms.insert((format!("wrapped base64 at {offset}"), inner.into()));
        }
    }
    forms
}

/// The name of the first form of a secret that a text has, also over the ends of lines.
pub fn found_in(text: &[u8]) -> Option<String> {
    let joined: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !b"\r\n".contains(byte))
        .collect();
    let has = |text: &[u8], form: &[u8]| text.windows(form.len()).any(|window| window == form);
    let mut forms = forms().into_iter();
    let found =
        forms.find(|(name, form)| has(text, form) || name.contains("base64") && has(&joined, form));
    found.map(|(name, form)| format!("{name}: {}", String::from_utf8_lossy(&form)))
}

/// Fails if a text has a secret.
#[track_caller]
pub fn assert_absent(what: &str, text: &[u8]) {
    if let Some(found) = found_in(text) {
        panic!("{what}: {found}\n{}", String::from_utf8_lossy(text));
    }
}

/// Fails if a file below a folder has a secret, other than these.
pub fn assert_absent_below(folder: &Path, except: &[&str]) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            assert_absent_below(&path, except);
        } else if metadata.is_file() && !except.contains(&name.as_str()) {
            assert_absent(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

/// Reads the command lines of all processes of this machine, also those in containers, again and again.
pub struct Watcher {
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<(usize, BTreeSet<String>)>,
}

impl Watcher {
    pub fn start() -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = is_stopped.clone();
        let thread = std::thread::spawn(move || {
            let (mut rounds, mut seen) = (0, BTreeSet::new());
            while !stopped.load(Ordering::Relaxed) {
                rounds += 1;
                for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
                    // A process may have ended.
                    let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    if !line.is_empty() {
                        seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
                    }
                }
            }
            (rounds, seen)
        });
        Watcher { is_stopped, thread }
    }

    /// Ends it, and returns how often it read, and all command lines.
    pub fn stop(self) -> (usize, BTreeSet<String>) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
