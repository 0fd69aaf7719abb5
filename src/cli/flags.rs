//! The flags that every way of running takes, and where else they can be set.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::completions::{hosts, roles};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::Events,
    },
    fleet::{Portion, Rollout},
    inventory::Selection,
    project::Project,
    script::Config,
    session::Settings,
    ui::{Color, OutputStyle, Shown},
};

/// What the names of our servers at the providers begin with, unless set otherwise.
const NAME_PREFIX: &str = "HITC-";
/// The provider of servers that name none.
const PROVIDER: &str = "local";
/// On how many hosts a task runs at once.
const FORKS: usize = 32;

const SELECTION: &str = "Selection";
const RUNNING: &str = "Running";
const CONNECTION: &str = "Connection";
const OUTPUT: &str = "Output";

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

/// How the output of several servers is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// As it comes, each line with its server
    Prefix,
    /// That of each server in one piece, when it has ended
    Group,
    /// That of servers that wrote the same once, at the end
    Fold,
    /// As it comes, byte by byte
    Raw,
    /// Everything that happens, one JSON object a line
    Json,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(super) struct Flags {
    /// Run on these servers: names, addresses or globs [env: HITC_HOSTS]
    #[arg(short = 'H', long, global = true, value_name = "NAME", value_delimiter = ',', help_heading = SELECTION, add = ArgValueCompleter::new(hosts))]
    hosts: Vec<String>,
    /// Run on the servers with these roles: names without their number [env: HITC_ROLES]
    #[arg(short = 'R', long, global = true, value_name = "ROLE", value_delimiter = ',', help_heading = SELECTION, add = ArgValueCompleter::new(roles))]
    roles: Vec<String>,
    /// Run on all servers of this project
    #[arg(long, global = true, help_heading = SELECTION)]
    all: bool,
    /// Let --hosts name servers that other projects own. Globs, --roles and --all select only servers of this project
    #[arg(long, global = true, env = "HITC_ANY_OWNER", value_parser = clap::builder::FalseyValueParser::new(), help_heading = SELECTION)]
    any_owner: bool,
    /// Of these, only on those that are also named here: names, addresses, roles or globs
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',', help_heading = SELECTION, add = ArgValueCompleter::new(hosts))]
    limit: Vec<String>,
    /// Run on the servers on which the last run did not go well, or that it did not get to
    #[arg(long, global = true, help_heading = SELECTION, conflicts_with_all = ["hosts", "roles", "all"])]
    failed: bool,
    /// But not on these: names, addresses, roles or globs [env: HITC_EXCLUDE]
    #[arg(short = 'x', long, global = true, value_name = "NAME", value_delimiter = ',', help_heading = SELECTION, add = ArgValueCompleter::new(hosts))]
    exclude: Vec<String>,

    /// Run on so many servers at once
    #[arg(short = 'P', long, global = true, value_name = "N", env = "HITC_FORKS", value_parser = at_least_one::<usize>, help_heading = RUNNING)]
    forks: Option<usize>,
    /// Run on one server after the other
    #[arg(long, global = true, conflicts_with = "forks", help_heading = RUNNING)]
    serial: bool,
    /// Run on so many servers, then on so many more: 1,25%,100%. The last one is used again; after a failure no more are begun, unless --max-fail says otherwise
    #[arg(long, global = true, value_name = "N|P%", value_delimiter = ',', env = "HITC_BATCH", value_parser = portion, help_heading = RUNNING)]
    batch: Vec<Portion>,
    /// After a failure, begin no more
    #[arg(long, global = true, env = "HITC_FAIL_FAST", value_parser = clap::builder::FalseyValueParser::new(), help_heading = RUNNING)]
    fail_fast: bool,
    /// Begin no more after more failures than this; a server that cannot be reached is one
    #[arg(long, global = true, value_name = "N|P%", env = "HITC_MAX_FAIL", value_parser = Portion::from_str, help_heading = RUNNING)]
    max_fail: Option<Portion>,
    /// Give up on a command on a server that takes longer than so many seconds
    #[arg(short = 't', long, global = true, value_name = "SECONDS", env = "HITC_TIMEOUT", value_parser = at_least_one::<u64>, help_heading = RUNNING)]
    timeout: Option<u64>,
    /// Change nothing, say what would be done
    #[arg(short = 'n', long, global = true, help_heading = RUNNING)]
    dry_run: bool,
    /// With --dry-run: exit status 5 if something would be done
    #[arg(long, global = true, requires = "dry_run", help_heading = RUNNING)]
    pub exit_code: bool,
    /// Answer every question with yes
    #[arg(short = 'y', long, global = true, env = "HITC_YES", value_parser = clap::builder::FalseyValueParser::new(), help_heading = RUNNING)]
    pub yes: bool,

    /// Log in as this user
    #[arg(short = 'u', long, global = true, env = "HITC_USER", help_heading = CONNECTION)]
    user: Option<String>,
    /// Log in with this private key
    #[arg(short = 'i', long, global = true, value_name = "FILE", env = "HITC_IDENTITY", help_heading = CONNECTION)]
    identity: Option<PathBuf>,
    /// Go through these servers: [USER@]HOST[:PORT], the first one first; `none` for none
    #[arg(short = 'J', long, global = true, value_name = "HOST", env = "HITC_JUMP", help_heading = CONNECTION)]
    jump: Option<String>,
    /// Ask for the password that sudo wants on the servers, once
    #[arg(short = 'K', long, global = true, help_heading = CONNECTION)]
    ask_sudo_pass: bool,
    /// Let programs on the servers use your SSH agent
    #[arg(short = 'A', long, global = true, help_heading = CONNECTION)]
    forward_agent: bool,
    /// The SSH port
    #[arg(long, global = true, env = "HITC_PORT", help_heading = CONNECTION)]
    port: Option<u16>,
    /// What the names of our servers at the providers begin with [default: HITC-]
    #[arg(long, global = true, value_name = "TEXT", env = "HITC_NAME_PREFIX", help_heading = CONNECTION)]
    name_prefix: Option<String>,

    /// Show only data, output of commands and errors
    #[arg(short, long, global = true, help_heading = OUTPUT)]
    pub quiet: bool,
    /// Also say what was done on which server, and how long it took
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = OUTPUT)]
    verbose: bool,
    /// How the output of several servers is shown [default: prefix]
    #[arg(short, long, global = true, value_enum, value_name = "FORM", env = "HITC_OUTPUT", help_heading = OUTPUT)]
    output: Option<Output>,
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", env = "HITC_COLOR", help_heading = OUTPUT)]
    color: Option<When>,
}

fn portion(text: &str) -> Result<Portion, String> {
    match text.parse()? {
        Portion::Count(0) | Portion::Percent(0) => Err("at least one server".to_owned()),
        portion => Ok(portion),
    }
}

fn at_least_one<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number >= T::from(1) => Ok(number),
        _ => Err("a whole number from 1".to_owned()),
    }
}

impl Flags {
    /// What the user wants to see.
    pub fn shown(&self) -> Shown {
        Shown {
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

    /// What was selected by flag; where nothing was, in the environment.
    fn selection(&self) -> Selection {
        let list = |name: &str| -> Vec<String> {
            let text = std::env::var(name).unwrap_or_default();
            let words = text
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        // What is left out is left out, whoever selects the rest.
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

    /// What counts: the flag, else the environment (which clap reads), else the hitcfile.
    pub fn settings(&self, config: Config) -> Settings {
        let timeout = self.timeout.or(config.timeout);
        Settings {
            name_prefix: self
                .name_prefix
                .clone()
                .or(config.name_prefix)
                .unwrap_or_else(|| NAME_PREFIX.to_owned()),
            provider: config.provider.unwrap_or_else(|| PROVIDER.to_owned()),
            forks: if self.serial {
                1
            } else {
                self.forks.or(config.forks).unwrap_or(FORKS).max(1)
            },
            rollout: Rollout {
                batches: self.batch.clone(),
                fail_fast: self.fail_fast,
                max_fail: self.max_fail,
            },
            user: self.user.clone().or(config.user),
            identity: self.identity.clone().or(config.identity),
            port: self.port.or(config.port),
            timeout: timeout.map(Duration::from_secs),
            yes: self.yes,
            dry_run: self.dry_run,
            selection: self.selection(),
            jump: self.jump.clone().or(config.jump),
            forward_agent: self.forward_agent,
            sudo_password: None,
            shell: config.shell,
        }
    }

    /// The servers to run on, those of `--failed` too.
    pub fn select(&self, project: &Project) -> Result<Selection, Diagnostic> {
        if !self.failed {
            return Ok(self.selection());
        }
        let hosts = project.failed_servers();
        if hosts.is_empty() {
            let message = "the last run here failed on no server";
            return Err(Diagnostic::new(Kind::NotFound, message)
                .help("select servers with --hosts, --roles or --all".to_owned()));
        }
        Ok(Selection {
            hosts,
            ..self.selection()
        })
    }

    /// Asks for the password that sudo wants, if that was wished for.
    pub fn ask_sudo_password(&self, events: &Events) -> Result<Option<String>, Diagnostic> {
        if !self.ask_sudo_pass {
            return Ok(None);
        }
        let password = events.prompt("Password for sudo: ", true)?;
        events.hide(&password);
        Ok(Some(password))
    }
}
