//! The user's SSH configuration: `~/.ssh/config` and `/etc/ssh/ssh_config`, as OpenSSH reads them.
//!
//! Queries OpenSSH (`ssh -G`), once for all hosts that share their settings. If OpenSSH is not
//! installed, `Host`, `Include` and plain values are parsed here, and `Match` is an error.

mod query;
mod scan;
mod settings;
mod tokens;

use std::{
    collections::HashMap,
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use query::{QueryError, query_openssh};
use scan::{Scan, words};
use settings::Settings;
use tokens::Tokens;
use tokio::sync::OnceCell;

use super::{
    Address, Cause, Connection, Error, HostKey, Identity, KnownHosts, Login, OpenSsh, Route,
    Target, known_hosts::KnownHostsOptions,
};
use crate::core::{diagnostic::plain, sync::lock};

/// The default of `ConnectTimeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The default of `ServerAliveInterval`. The connection is lost after three unanswered messages.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The maximum number of jump hosts.
const MAX_HOPS: usize = 8;
/// The system-wide configuration.
const SYSTEM_CONFIG: &str = "/etc/ssh/ssh_config";
/// The default key files of OpenSSH (`IdentityFile` in ssh_config(5)).
const DEFAULT_IDENTITIES: [&str; 3] = ["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519"];

/// The default known_hosts files (`UserKnownHostsFile` in ssh_config(5)).
const DEFAULT_KNOWN_HOSTS: [&str; 2] = [".ssh/known_hosts", ".ssh/known_hosts2"];

/// The result of a query, which all hosts with the same settings share.
type Slot = Arc<OnceCell<Result<Arc<Settings>, String>>>;

/// The user's SSH configuration. Query results are cached for the run.
#[derive(Debug)]
pub struct Config {
    home: PathBuf,
    scan: OnceCell<Arc<Scan>>,
    queries: Mutex<HashMap<String, Slot>>,
    known_hosts: Mutex<HashMap<String, Arc<KnownHosts>>>,
}

/// Reads a configuration as if OpenSSH were not installed, and as what `ssh -G` prints.
pub fn read_config(path: &Path) {
    if let Ok(scan) = Scan::read(&[path.to_owned()], Path::new("/nowhere")) {
        scan.matching_blocks("web");
        if let Ok(settings) = scan.settings("web") {
            expand(&settings, scan.has_hostname("web"));
        }
    }
    if let Ok(text) = fs::read_to_string(path) {
        expand(&Settings::parse(&text), true);
    }
}

fn expand(settings: &Settings, has_hostname: bool) {
    let login = Login {
        address: "web".to_owned(),
        ..Login::default()
    };
    let tokens = Tokens::new(Path::new("/nowhere"), &login, settings, has_hostname);
    for keyword in [
        "proxycommand",
        "identityfile",
        "userknownhostsfile",
        "proxyjump",
    ] {
        for value in settings.all(keyword) {
            tokens.expand(value);
            tokens.path(value);
            words(value);
        }
    }
}

impl Config {
    /// Creates the configuration of the user with this home folder. Files are read when needed.
    pub fn new(home: &Path) -> Self {
        Config {
            home: home.to_owned(),
            scan: OnceCell::new(),
            queries: Mutex::default(),
            known_hosts: Mutex::default(),
        }
    }

    /// Completes a login by the configuration.
    pub async fn target(&self, login: &Login) -> Result<Target, Error> {
        login.check()?;
        self.hop(login, 0).await
    }

    /// Prepares the `ssh` program with the settings of a connection.
    pub fn openssh(&self, connection: &Connection) -> Result<OpenSsh, Error> {
        let mut target = connection.target().clone();
        // `ssh` must accept exactly the key that hitc has accepted.
        if let Some(key) = connection.state.host_key() {
            target.host_key = HostKey::Pinned(key);
        }
        let files = self.files();
        let files: &[PathBuf] = if target.unconfigured { &[] } else { &files };
        OpenSsh::new(&target, files)
    }

    fn files(&self) -> [PathBuf; 2] {
        [self.home.join(".ssh/config"), PathBuf::from(SYSTEM_CONFIG)]
    }

    /// Completes a login that is behind `depth` other jump hosts.
    async fn hop(&self, login: &Login, depth: usize) -> Result<Target, Error> {
        let (settings, has_hostname) = self.settings(login).await?;
        let tokens = Tokens::new(&self.home, login, &settings, has_hostname);
        let route = if depth < MAX_HOPS {
            self.route(login, &settings, &tokens, depth).await?
        } else {
            return Err(config_error(
                login,
                format!("more than {MAX_HOPS} jump hosts (ProxyJump)"),
            ));
        };
        let seconds = |keyword: &str, default: Duration| {
            let set = settings.get(keyword).and_then(|text| text.parse().ok());
            set.filter(|seconds| *seconds > 0)
                .map_or(default, Duration::from_secs)
        };
        let host_key = match &login.host_key {
            Some(key) => HostKey::Pinned(key.clone()),
            None => HostKey::KnownHosts {
                hosts: self.known_hosts(&settings, &tokens),
                alias: settings
                    .get_set("hostkeyalias")
                    .map(|text| tokens.expand(text))
                    .or_else(|| login.host_key_alias.clone()),
            },
        };
        Ok(Target {
            name: login.name.clone(),
            identities: self.identities(login, &settings, &tokens),
            certificates: if login.unconfigured {
                Vec::new()
            } else {
                let files = settings.all("certificatefile").iter();
                files.map(|text| tokens.path(text)).collect()
            },
            agent: if login.unconfigured && !login.forward_agent {
                None
            } else {
                agent(&settings, &tokens)
            },
            identities_only: login.unconfigured || settings.is_yes("identitiesonly"),
            host_key,
            route,
            connect_timeout: seconds("connecttimeout", CONNECT_TIMEOUT),
            keepalive: seconds("serveraliveinterval", KEEPALIVE),
            forward_agent: login.forward_agent || settings.is_yes("forwardagent"),
            unconfigured: login.unconfigured,
            alias: tokens.alias,
            address: tokens.address,
            port: tokens.port,
            user: tokens.user,
        })
    }

    fn identities(&self, login: &Login, settings: &Settings, tokens: &Tokens) -> Vec<Identity> {
        let required = |path| Identity {
            path,
            is_required: true,
        };
        let optional = |path| Identity {
            path,
            is_required: false,
        };
        let mut identities: Vec<Identity> =
            login.identity.clone().map(required).into_iter().collect();
        if login.unconfigured {
            return identities;
        }
        let configured = settings.all("identityfile");
        // Without an IdentityFile, `ssh -G` prints the default files.
        let is_default = configured.is_empty()
            || DEFAULT_IDENTITIES
                .iter()
                .all(|path| configured.iter().any(|c| c == path));
        if is_default && login.identity.is_none() {
            identities.extend(
                DEFAULT_IDENTITIES
                    .iter()
                    .map(|path| optional(self.home.join(&path[2..]))),
            );
        } else if !is_default {
            let configured = configured.iter().filter(|text| *text != "none");
            identities.extend(configured.map(|text| optional(tokens.path(text))));
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
        settings: &Settings,
        tokens: &Tokens,
        depth: usize,
    ) -> Result<Route, Error> {
        let jump = match &login.jump {
            Some(jump) if jump.eq_ignore_ascii_case("none") => return Ok(Route::Direct),
            Some(jump) => Some(jump.clone()),
            None => settings
                .get_set("proxyjump")
                .map(|text| tokens.expand(text)),
        };
        let Some(jump) = jump else {
            let command = settings.get_set("proxycommand");
            return Ok(command.map_or(Route::Direct, |text| {
                Route::ProxyCommand(tokens.expand(text))
            }));
        };
        // The last jump host connects to the server, and is itself reached through those before it.
        // The route to the first one is configured.
        let (before, last) = match jump.rsplit_once(',') {
            Some((before, last)) => (Some(before.to_owned()), last.trim()),
            None => (None, jump.trim()),
        };
        let address = last.strip_prefix("ssh://").unwrap_or(last);
        let address: Address = address
            .parse()
            .map_err(|cause| config_error(login, format!("ProxyJump: {cause}")))?;
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

    /// The known hosts for a host, shared by all hosts with the same files and options.
    fn known_hosts(&self, settings: &Settings, tokens: &Tokens) -> Arc<KnownHosts> {
        let (mut files, mut record_in) = (Vec::new(), None);
        for keyword in ["userknownhostsfile", "globalknownhostsfile"] {
            let named = settings.get(keyword).map(words).unwrap_or_default();
            let named = named.iter().filter(|text| *text != "none");
            // In the default, OpenSSH prints the home folder of the user database, not `HOME`.
            let is_default = |text: &&String| text.ends_with("/.ssh/known_hosts2");
            if keyword == "userknownhostsfile" && named.clone().any(|text| is_default(&text)) {
                files.extend(DEFAULT_KNOWN_HOSTS.map(|name| self.home.join(name)));
                record_in = record_in.or_else(|| files.first().cloned());
                continue;
            }
            files.extend(named.map(|text| tokens.path(text)));
            if keyword == "userknownhostsfile" {
                record_in = record_in.or_else(|| files.first().cloned());
            }
        }
        if settings.get("userknownhostsfile").is_none() {
            files.extend(DEFAULT_KNOWN_HOSTS.map(|name| self.home.join(name)));
            record_in = files.first().cloned();
        }
        let revoked = settings
            .get_set("revokedhostkeys")
            .map(|text| tokens.path(text));
        let strict = settings.is_yes("stricthostkeychecking");
        let hash = settings.is_yes("hashknownhosts");
        let key = format!("{files:?} {record_in:?} {revoked:?} {strict} {hash}");
        lock(&self.known_hosts)
            .entry(key)
            .or_insert_with(|| {
                Arc::new(KnownHosts::new(KnownHostsOptions {
                    files,
                    record_in,
                    revoked,
                    strict,
                    hash,
                }))
            })
            .clone()
    }

    /// Returns the settings of a host, and whether they include its own address. The settings may be
    /// shared with other hosts.
    async fn settings(&self, login: &Login) -> Result<(Arc<Settings>, bool), Error> {
        if login.unconfigured {
            return Ok((Arc::default(), false));
        }
        let fail = |cause: String| config_error(login, cause);
        let files = self.files();
        let scan = self.scan.get_or_try_init(|| async {
            // As OpenSSH: a user who can write the file could run any program (ProxyCommand).
            reject_writable(&files[0])?;
            Scan::read(&files, &self.home).map(Arc::new)
        });
        let scan = scan.await.map_err(fail)?;
        let host = &login.address;
        let matching = scan.matching_blocks(host);
        let key = format!(
            "{:?} {:?} {}",
            login.user,
            login.port,
            match &matching {
                Some(blocks) => format!("{blocks:?}"),
                None => host.clone(),
            }
        );
        let slot = lock(&self.queries).entry(key).or_default().clone();
        let settings = slot.get_or_init(|| async {
            match query_openssh(login, &files).await {
                Ok(settings) => Ok(Arc::new(settings)),
                Err(QueryError::NotInstalled) => {
                    scan.settings(host).map(Arc::new).map_err(|cause| {
                        format!("{cause}, which is not installed (package openssh-client)")
                    })
                }
                Err(QueryError::Failed(cause)) => Err(cause),
            }
        });
        let settings = settings.await.clone().map_err(fail)?;
        Ok((settings, matching.is_none() || scan.has_hostname(host)))
    }
}

/// The socket of the SSH agent, by the configuration and the environment.
fn agent(settings: &Settings, tokens: &Tokens) -> Option<PathBuf> {
    let default = || env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    match settings.get("identityagent") {
        Some(text) if text.eq_ignore_ascii_case("none") => None,
        Some("SSH_AUTH_SOCK") | None => default(),
        Some(text) => match text.strip_prefix('$') {
            Some(name) => env::var_os(name.trim_matches(['{', '}'])).map(PathBuf::from),
            None => Some(tokens.path(text)),
        },
    }
}

fn config_error(login: &Login, cause: String) -> Error {
    Error::on_host(&login.name, Cause::Config { cause })
}

fn reject_writable(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.mode() & 0o022 != 0 => Err(format!(
            "{0}: other users can write it; run `chmod go-w {0}`",
            path.display()
        )),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {}", path.display(), plain(error))),
    }
}
