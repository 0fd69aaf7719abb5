//! `~/.ssh/config` and `/etc/ssh/ssh_config`, with OpenSSH's own meaning.
//!
//! OpenSSH itself is asked what they say of a host (`ssh -G`), once for all hosts of which they
//! say the same. On a machine without it, `Host`, `Include` and plain values are read by
//! ourselves, and `Match` is an error.

mod answer;
mod ask;
mod scan;
mod tokens;

use std::{
    collections::HashMap,
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use answer::Answer;
use ask::{Refusal, ask_openssh};
use scan::{Scan, words};
use tokens::Tokens;
use tokio::sync::OnceCell;

use super::{
    Address, Connection, Error, HostKey, Identity, KnownHosts, Login, OpenSsh, Route, Target,
    known_hosts::Sources,
};
use crate::core::diagnostic::plain;

/// How long a server may be silent while a connection is made, unless the configuration says it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, unless the configuration says it. Three times that, and the
/// connection counts as lost.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How many servers may stand between us and another.
const HOPS: usize = 8;
/// The configuration of the machine.
const SYSTEM: &str = "/etc/ssh/ssh_config";
/// The keys that OpenSSH offers unless others are named (`IdentityFile` in ssh_config(5)).
const IDENTITIES: [&str; 3] = ["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519"];

/// Where the user's known hosts are, unless other files are named.
const DEFAULT_HOSTS: [&str; 2] = [".ssh/known_hosts", ".ssh/known_hosts2"];

/// What came of asking: whoever has the same question gets the same.
type Known = Arc<OnceCell<Result<Arc<Answer>, String>>>;

/// The user's configuration of SSH. What it says is kept for the run.
#[derive(Debug)]
pub struct Config {
    home: PathBuf,
    scan: OnceCell<Arc<Scan>>,
    answers: Mutex<HashMap<String, Known>>,
    known_hosts: Mutex<HashMap<String, Arc<KnownHosts>>>,
}

impl Config {
    /// The configuration of the user with this home folder.
    pub fn new(home: &Path) -> Self {
        Config {
            home: home.to_owned(),
            scan: OnceCell::new(),
            answers: Mutex::default(),
            known_hosts: Mutex::default(),
        }
    }

    /// How to reach a server: what is known of it, completed by the configuration.
    pub async fn target(&self, login: &Login) -> Result<Target, Error> {
        self.hop(login, 0).await
    }

    /// The system's own SSH client with the settings of a server that we have reached.
    pub fn openssh(&self, connection: &Connection) -> Result<OpenSsh, Error> {
        let mut target = connection.target().clone();
        // What we have accepted it is to accept, wherever that is on record.
        if let Some(key) = connection.noted.shown() {
            target.host_key = HostKey::Pinned(key);
        }
        let files = self.files();
        let files: &[PathBuf] = if target.unconfigured { &[] } else { &files };
        OpenSsh::new(&target, files)
    }

    fn files(&self) -> [PathBuf; 2] {
        [self.home.join(".ssh/config"), PathBuf::from(SYSTEM)]
    }

    async fn hop(&self, login: &Login, depth: usize) -> Result<Target, Error> {
        let (answer, renamed) = self.ask(login).await?;
        let tokens = Tokens::new(&self.home, login, &answer, renamed);
        let route = if depth < HOPS {
            self.route(login, &answer, &tokens, depth).await?
        } else {
            return Err(Error::Config {
                host: login.name.clone(),
                cause: format!("more than {HOPS} servers stand in between (ProxyJump)"),
            });
        };
        let seconds = |keyword: &str, default: Duration| {
            let set = answer.get(keyword).and_then(|text| text.parse().ok());
            set.filter(|seconds| *seconds > 0)
                .map_or(default, Duration::from_secs)
        };
        let host_key = match &login.host_key {
            Some(key) => HostKey::Pinned(key.clone()),
            None => HostKey::KnownHosts {
                hosts: self.hosts(&answer, &tokens),
                alias: answer
                    .some("hostkeyalias")
                    .map(|text| tokens.fill(text))
                    .or_else(|| login.host_key_alias.clone()),
            },
        };
        Ok(Target {
            name: login.name.clone(),
            identities: self.identities(login, &answer, &tokens),
            certificates: if login.unconfigured {
                Vec::new()
            } else {
                let files = answer.all("certificatefile").iter();
                files.map(|text| tokens.path(text)).collect()
            },
            agent: if login.unconfigured && !login.forward_agent {
                None
            } else {
                agent(&answer, &tokens)
            },
            identities_only: login.unconfigured || answer.yes("identitiesonly"),
            host_key,
            route,
            connect_timeout: seconds("connecttimeout", CONNECT_TIMEOUT),
            keepalive: seconds("serveraliveinterval", KEEPALIVE),
            forward_agent: login.forward_agent || answer.yes("forwardagent"),
            unconfigured: login.unconfigured,
            alias: tokens.alias,
            address: tokens.address,
            port: tokens.port,
            user: tokens.user,
        })
    }

    fn identities(&self, login: &Login, answer: &Answer, tokens: &Tokens) -> Vec<Identity> {
        let given = |path| Identity { path, named: true };
        let configured_as = |path| Identity { path, named: false };
        let mut identities: Vec<Identity> = login.identity.clone().map(given).into_iter().collect();
        if login.unconfigured {
            return identities;
        }
        let configured = answer.all("identityfile");
        // What `ssh -G` prints when nobody named any.
        let is_default = configured.is_empty()
            || IDENTITIES
                .iter()
                .all(|path| configured.iter().any(|c| c == path));
        if is_default && login.identity.is_none() {
            identities.extend(IDENTITIES.iter().map(|path| Identity {
                path: self.home.join(&path[2..]),
                named: false,
            }));
        } else if !is_default {
            let configured = configured.iter().filter(|text| *text != "none");
            identities.extend(configured.map(|text| configured_as(tokens.path(text))));
        }
        let mut seen = Vec::new();
        identities.retain(|identity| {
            let is_new = !seen.contains(&identity.path);
            seen.push(identity.path.clone());
            is_new
        });
        identities
    }

    async fn route(
        &self,
        login: &Login,
        answer: &Answer,
        tokens: &Tokens,
        depth: usize,
    ) -> Result<Route, Error> {
        let jump = match &login.jump {
            Some(jump) if jump.eq_ignore_ascii_case("none") => return Ok(Route::Direct),
            Some(jump) => Some(jump.clone()),
            None => answer.some("proxyjump").map(|text| tokens.fill(text)),
        };
        let Some(jump) = jump else {
            let command = answer.some("proxycommand");
            return Ok(command.map_or(Route::Direct, |text| Route::ProxyCommand(tokens.fill(text))));
        };
        // The last one is next to the server; it is reached through those before it, the first
        // one as the configuration says.
        let (before, last) = match jump.rsplit_once(',') {
            Some((before, last)) => (Some(before.to_owned()), last.trim()),
            None => (None, jump.trim()),
        };
        let address = last.strip_prefix("ssh://").unwrap_or(last);
        let address: Address = address.parse().map_err(|cause| Error::Config {
            host: login.name.clone(),
            cause: format!("ProxyJump: {cause}"),
        })?;
        let hop = Login {
            name: address.host.clone(),
            address: address.host,
            user: address.user,
            port: address.port,
            jump: before,
            ..Login::default()
        };
        let hop = Box::pin(self.hop(&hop, depth + 1)).await?;
        Ok(Route::Jump(Arc::new(hop)))
    }

    /// The known_hosts files of a host: those with the same settings are read once.
    fn hosts(&self, answer: &Answer, tokens: &Tokens) -> Arc<KnownHosts> {
        let (mut files, mut own) = (Vec::new(), None);
        for keyword in ["userknownhostsfile", "globalknownhostsfile"] {
            let named = answer.get(keyword).map(words).unwrap_or_default();
            let named = named.iter().filter(|text| *text != "none");
            // OpenSSH prints its default with the home folder that it found by itself.
            let is_default = |text: &&String| text.ends_with("/.ssh/known_hosts2");
            if keyword == "userknownhostsfile" && named.clone().any(|text| is_default(&text)) {
                files.extend(DEFAULT_HOSTS.map(|name| self.home.join(name)));
                own = own.or_else(|| files.first().cloned());
                continue;
            }
            files.extend(named.map(|text| tokens.path(text)));
            if keyword == "userknownhostsfile" {
                own = own.or_else(|| files.first().cloned());
            }
        }
        if answer.get("userknownhostsfile").is_none() {
            files.extend(DEFAULT_HOSTS.map(|name| self.home.join(name)));
            own = files.first().cloned();
        }
        let revoked = answer.some("revokedhostkeys").map(|text| tokens.path(text));
        let strict = answer.yes("stricthostkeychecking");
        let hash = answer.yes("hashknownhosts");
        let key = format!("{files:?} {own:?} {revoked:?} {strict} {hash}");
        let mut known = self
            .known_hosts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known
            .entry(key)
            .or_insert_with(|| {
                Arc::new(KnownHosts::new(Sources {
                    files,
                    own,
                    revoked,
                    strict,
                    hash,
                }))
            })
            .clone()
    }

    /// What the configuration says of a host, and whether that includes its address. The same answer
    /// may serve hosts that differ in nothing else.
    async fn ask(&self, login: &Login) -> Result<(Arc<Answer>, bool), Error> {
        if login.unconfigured {
            return Ok((Arc::default(), false));
        }
        let fail = |cause: String| Error::Config {
            host: login.name.clone(),
            cause,
        };
        let files = self.files();
        let scan = self.scan.get_or_try_init(|| async {
            // As OpenSSH: whoever can write it could make us run a program.
            refuse_writable(&files[0])?;
            Scan::read(&files, &self.home).map(Arc::new)
        });
        let scan = scan.await.map_err(fail)?;
        let host = &login.address;
        let alike = scan.alike(host);
        let key = format!(
            "{:?} {:?} {}",
            login.user,
            login.port,
            match &alike {
                Some(blocks) => format!("{blocks:?}"),
                None => host.clone(),
            }
        );
        let slot = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_default()
            .clone();
        let answer = slot.get_or_init(|| async {
            match ask_openssh(login, &files).await {
                Ok(answer) => Ok(Arc::new(answer)),
                Err(Refusal::NoOpenSsh) => scan
                    .answer(host)
                    .map(Arc::new)
                    .map_err(|cause| format!("{cause}; install OpenSSH's client (openssh-client)")),
                Err(Refusal::Said(cause)) => Err(cause),
            }
        });
        let answer = answer.await.clone().map_err(fail)?;
        Ok((answer, alike.is_none() || scan.renames(host)))
    }
}

/// Where our agent listens, by the configuration and the environment.
fn agent(answer: &Answer, tokens: &Tokens) -> Option<PathBuf> {
    let ours = || env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    match answer.get("identityagent") {
        Some(text) if text.eq_ignore_ascii_case("none") => None,
        Some("SSH_AUTH_SOCK") | None => ours(),
        Some(text) => match text.strip_prefix('$') {
            Some(name) => env::var_os(name.trim_matches(['{', '}'])).map(PathBuf::from),
            None => Some(tokens.path(text)),
        },
    }
}

fn refuse_writable(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.mode() & 0o022 != 0 => Err(format!(
            "{0}: others can write it; take that from them with `chmod go-w {0}`",
            path.display()
        )),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {}", path.display(), plain(error))),
    }
}
