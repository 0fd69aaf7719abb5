//! The global flags, and their values in the environment and the hitcfile.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{Args, ValueEnum};

use crate::{
    context::{Mode, Settings},
    core::{
        diagnostic::{Diagnostic, Kind, plain},
        event::Events,
        units::duration,
        value::Value,
    },
    fleet::{Portion, Rollout, Selection},
    project::Project,
    script::Config,
    ui::{Color, OutputStyle, TerminalOptions},
};

/// The default prefix of server names at the providers.
const NAME_PREFIX: &str = "HITC-";
/// The default provider of new servers.
const PROVIDER: &str = "local";
/// The default number of hosts on which a task runs in parallel.
const FORKS: usize = 32;

pub(super) const SELECTION: &str = "Selection";
const RUNNING: &str = "Running";
pub(super) const CONNECTION: &str = "Connection";
const OUTPUT: &str = "Output";
pub(super) const PROJECT: &str = "Project";

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

/// How to show the output of several servers.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// Immediately, each line prefixed with its server
    Prefix,
    /// One block per server, when it has finished
    Group,
    /// One block for all servers with the same output, at the end
    Fold,
    /// Immediately and unchanged
    Raw,
    /// All events, one JSON object per line
    Json,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(super) struct Flags {
    /// Select servers by name, address or glob [env: HITC_HOSTS]
    #[arg(short = 'H', long, global = true, value_name = "NAME", value_delimiter = ',', help_heading = SELECTION)]
    hosts: Vec<String>,
    /// Select servers by role: the name without its number [env: HITC_ROLES]
    #[arg(short = 'R', long, global = true, value_name = "ROLE", value_delimiter = ',', help_heading = SELECTION)]
    roles: Vec<String>,
    /// Select all servers of this project
    #[arg(long, global = true, help_heading = SELECTION)]
    all: bool,
    /// Let --hosts name servers that other projects own. Globs, --roles and --all select only servers of this project
    #[arg(long, global = true, env = "HITC_ANY_OWNER", value_parser = switch, help_heading = SELECTION)]
    any_owner: bool,
    /// Keep only these of the selected servers: names, addresses, roles or globs
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',', help_heading = SELECTION)]
    limit: Vec<String>,
    /// Select the servers on which the last run failed, and those that it skipped
    #[arg(long, global = true, help_heading = SELECTION, conflicts_with_all = ["hosts", "roles", "all"])]
    failed: bool,
    /// Remove servers from the selection: names, addresses, roles or globs [env: HITC_EXCLUDE]
    #[arg(short = 'x', long, global = true, value_name = "NAME", value_delimiter = ',', help_heading = SELECTION)]
    exclude: Vec<String>,

    /// Maximum number of servers to run on in parallel [default: 32]
    #[arg(short = 'P', long, global = true, value_name = "N", env = "HITC_FORKS", value_parser = positive::<usize>, help_heading = RUNNING)]
    forks: Option<usize>,
    /// Run on one server at a time
    #[arg(long, global = true, conflicts_with = "forks", help_heading = RUNNING)]
    serial: bool,
    /// Batch sizes, as counts or percentages of the selection (for example 1,25%,100%). The last one repeats. No batch starts after a failure, unless --max-fail allows it
    #[arg(long, global = true, value_name = "N|P%", value_delimiter = ',', env = "HITC_BATCH", value_parser = portion, help_heading = RUNNING)]
    batch: Vec<Portion>,
    /// Start no further server after the first failure
    #[arg(long, global = true, env = "HITC_FAIL_FAST", value_parser = switch, help_heading = RUNNING)]
    fail_fast: bool,
    /// Number or percentage of failures to tolerate before no further server is started. An unreachable server counts as a failure
    #[arg(long, global = true, value_name = "N|P%", env = "HITC_MAX_FAIL", value_parser = Portion::from_str, help_heading = RUNNING)]
    max_fail: Option<Portion>,
    /// Timeout for each command on a server
    #[arg(short = 't', long, global = true, value_name = "SECONDS", env = "HITC_TIMEOUT", value_parser = positive::<u64>, help_heading = RUNNING)]
    timeout: Option<u64>,
    /// How long to wait (30s, 10m) for a server that another run is changing. By default, ensemble.up and
    /// ensemble.down do not wait; tasks that change containers or firewalls wait for a minute
    #[arg(long, global = true, value_name = "DURATION", env = "HITC_WAIT_LOCK", value_parser = wait, help_heading = RUNNING)]
    wait_lock: Option<Duration>,
    /// Show what would be done without doing it
    #[arg(short = 'n', long, global = true, help_heading = RUNNING)]
    dry_run: bool,
    /// With --dry-run or ensemble.plan, exit with status 5 if there are changes to make
    #[arg(long, global = true, help_heading = RUNNING)]
    pub exit_code: bool,
    /// Answer every question with yes
    #[arg(short = 'y', long, global = true, env = "HITC_YES", value_parser = switch, help_heading = RUNNING)]
    pub yes: bool,

    /// Log in as this user
    #[arg(short = 'u', long, global = true, env = "HITC_USER", help_heading = CONNECTION)]
    user: Option<String>,
    /// Log in with this private key file
    #[arg(short = 'i', long, global = true, value_name = "FILE", env = "HITC_IDENTITY", help_heading = CONNECTION)]
    identity: Option<PathBuf>,
    /// Connect through jump hosts: [USER@]HOST[:PORT], separated by commas, the first hop first. `none` disables the ones in ~/.ssh/config
    #[arg(short = 'J', long, global = true, value_name = "HOST", env = "HITC_JUMP", help_heading = CONNECTION)]
    jump: Option<String>,
    /// Prompt once for the sudo password of the servers
    #[arg(short = 'K', long, global = true, help_heading = CONNECTION)]
    ask_sudo_pass: bool,
    /// Forward the SSH agent to the servers
    #[arg(short = 'A', long, global = true, help_heading = CONNECTION)]
    forward_agent: bool,
    /// SSH port
    #[arg(long, global = true, env = "HITC_PORT", value_parser = positive::<u16>, help_heading = CONNECTION)]
    port: Option<u16>,
    /// Docker configuration with the credentials for registries: a file, or a folder with a config.json [default: ~/.docker]
    #[arg(long, global = true, value_name = "PATH", env = "HITC_DOCKER_CONFIG", help_heading = CONNECTION)]
    docker_config: Option<PathBuf>,
    /// Prefix of server names at the providers [default: HITC-]
    #[arg(long, global = true, value_name = "TEXT", env = "HITC_NAME_PREFIX", help_heading = CONNECTION)]
    name_prefix: Option<String>,

    /// Show only data, command output and errors
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    pub quiet: bool,
    /// Also show what was done on each server, and how long it took
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = OUTPUT)]
    verbose: bool,
    /// How to show the output of several servers [default: prefix]
    #[arg(short, long, global = true, value_enum, value_name = "FORM", env = "HITC_OUTPUT", help_heading = OUTPUT)]
    output: Option<Output>,
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", env = "HITC_COLOR", help_heading = OUTPUT)]
    color: Option<When>,

    /// Run as if hitc was started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR", help_heading = PROJECT)]
    directory: Option<PathBuf>,
    /// Use this hitcfile, and its folder as the project
    #[arg(short = 'f', long, global = true, value_name = "FILE", help_heading = PROJECT)]
    file: Option<PathBuf>,
}

fn portion(text: &str) -> Result<Portion, String> {
    match text.parse()? {
        Portion::Count(0) | Portion::Percent(0) => Err("must be at least 1".to_owned()),
        portion => Ok(portion),
    }
}

fn positive<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number >= T::from(1) => Ok(number),
        _ => Err("must be a whole number, at least 1".to_owned()),
    }
}

/// Parses the environment variable of a flag. Anything but a clear yes or no is an error: a typo in
/// `HITC_YES` must not confirm a question.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

impl Flags {
    /// Changes to the folder of `--directory`.
    pub fn change_directory(&self) -> Result<(), Diagnostic> {
        let Some(folder) = &self.directory else {
            return Ok(());
        };
        std::env::set_current_dir(folder).map_err(|error| {
            let message = format!("folder `{}`: {}", folder.display(), plain(error));
            Diagnostic::new(Kind::Usage, message)
        })
    }

    /// The hitcfile that `--file` names.
    pub fn hitcfile(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns how the terminal shows events.
    pub fn terminal_options(&self) -> TerminalOptions {
        TerminalOptions {
            color: match self.color {
                None | Some(When::Auto) => Color::Auto,
                Some(When::Always) => Color::Always,
                Some(When::Never) => Color::Never,
            },
            quiet: self.quiet,
            verbose: self.verbose,
            yes: self.yes,
            style: match self.output {
                None | Some(Output::Prefix) => OutputStyle::Prefix,
                Some(Output::Group) => OutputStyle::Group,
                Some(Output::Fold) => OutputStyle::Fold,
                Some(Output::Raw) => OutputStyle::Raw,
                Some(Output::Json) => OutputStyle::Json,
            },
        }
    }

    /// Returns the selection: that of the flags or, if they select nothing, that of the environment.
    fn selection(&self) -> Selection {
        let list = |name: &str| -> Vec<String> {
            let text = std::env::var(name).unwrap_or_default();
            let words = text
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        // HITC_EXCLUDE also applies to a selection by flags.
        let exclude = if self.exclude.is_empty() {
            list("HITC_EXCLUDE")
        } else {
            self.exclude.clone()
        };
        let is_given = self.all || self.failed || !self.hosts.is_empty() || !self.roles.is_empty();
        let (hosts, roles) = if is_given {
            (self.hosts.clone(), self.roles.clone())
        } else {
            (list("HITC_HOSTS"), list("HITC_ROLES"))
        };
        Selection {
            hosts,
            roles,
            all: self.all,
            limit: self.limit.clone(),
            exclude,
            any_owner: self.any_owner,
        }
    }

    /// Whether servers are selected, by flags or the environment.
    pub fn selects(&self) -> bool {
        self.failed || !self.selection().is_empty()
    }

    /// Returns the settings: a flag takes precedence over the environment (which clap reads), then
    /// the hitcfile.
    pub fn settings(&self, config: Config) -> Settings {
        let timeout = self.timeout.or(config.timeout);
        Settings {
            name_prefix: self
                .name_prefix
                .clone()
                .or(config.name_prefix)
                .unwrap_or_else(|| NAME_PREFIX.to_owned()),
            provider: config.provider.unwrap_or_else(|| PROVIDER.to_owned()),
            providers: config.providers,
            ec2_regions: config.ec2_regions,
            forks: if self.serial {
                1
            } else {
                self.forks.or(config.forks).unwrap_or(FORKS).max(1)
            },
            named_forks: if self.serial { Some(1) } else { self.forks },
            rollout: Rollout {
                batches: self.batch.clone(),
                fail_fast: self.fail_fast,
                max_fail: self.max_fail,
            },
            user: self.user.clone().or(config.user),
            identity: self.identity.clone().or(config.identity),
            port: self.port.or(config.port),
            timeout: timeout.map(Duration::from_secs),
            wait_lock: self.wait_lock,
            yes: self.yes,
            selection: self.selection(),
            // A flag is relative to the current folder.
            docker_config: self
                .docker_config
                .as_ref()
                .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
                .or(config.docker_config),
            jump: self.jump.clone().or(config.jump),
            forward_agent: self.forward_agent,
            sudo_password: None,
            shell: config.shell,
        }
    }

    /// Whether the run changes anything.
    pub fn mode(&self) -> Mode {
        if self.dry_run { Mode::Dry } else { Mode::Real }
    }

    /// Returns the selection, with `--failed` resolved to the names of the last run.
    pub fn select(&self, project: &Project) -> Result<Selection, Diagnostic> {
        if !self.failed {
            return Ok(self.selection());
        }
        let hosts = project.failed_servers();
        if hosts.is_empty() {
            let message = "no failed servers in the last run of this project";
            return Err(Diagnostic::new(Kind::NotFound, message)
                .help("select servers with --hosts, --roles or --all".to_owned()));
        }
        Ok(Selection {
            hosts,
            ..self.selection()
        })
    }

    /// Prompts for the sudo password, if `--ask-sudo-pass` is set.
    pub fn ask_sudo_password(&self, events: &Events) -> Result<Option<String>, Diagnostic> {
        if !self.ask_sudo_pass {
            return Ok(None);
        }
        events.prompt("sudo password:", true).map(Some)
    }
}

/// Reads a duration: `90`, `30s`, `10m`.
fn wait(text: &str) -> Result<Duration, String> {
    duration(&Value::text(text), "--wait-lock").map_err(|error| error.to_string())
}
