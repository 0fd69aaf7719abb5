//! The flags that every way of running takes, and where else they can be set.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::completions::{hosts, roles};
use crate::{
    diagnostic::Diagnostic, event::Events, script::Config, selection::Selection, session::Settings,
    ui::Color,
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

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(super) struct Flags {
    /// Run on these servers: names, addresses or globs [env: HITC_HOSTS]
    #[arg(short = 'H', long, global = true, value_name = "NAME", value_delimiter = ',', help_heading = SELECTION, add = ArgValueCompleter::new(hosts))]
    hosts: Vec<String>,
    /// Run on the servers with these roles: names without their number [env: HITC_ROLES]
    #[arg(short = 'R', long, global = true, value_name = "ROLE", value_delimiter = ',', help_heading = SELECTION, add = ArgValueCompleter::new(roles))]
    roles: Vec<String>,
    /// Run on all servers
    #[arg(long, global = true, help_heading = SELECTION)]
    all: bool,
    /// But not on these: names, addresses, roles or globs [env: HITC_EXCLUDE]
    #[arg(short = 'x', long, global = true, value_name = "NAME", value_delimiter = ',', help_heading = SELECTION, add = ArgValueCompleter::new(hosts))]
    exclude: Vec<String>,

    /// Run on so many servers at once
    #[arg(short = 'P', long, global = true, value_name = "N", env = "HITC_FORKS", value_parser = at_least_one::<usize>, help_heading = RUNNING)]
    forks: Option<usize>,
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
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", env = "HITC_COLOR", help_heading = OUTPUT)]
    color: Option<When>,
}

fn at_least_one<T: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number >= T::from(1) => Ok(number),
        _ => Err("a whole number from 1".to_owned()),
    }
}

impl Flags {
    pub fn color(&self) -> Color {
        match self.color {
            None | Some(When::Auto) => Color::Auto,
            Some(When::Always) => Color::Always,
            Some(When::Never) => Color::Never,
        }
    }

    /// What was selected by flag; where nothing was, in the environment.
    fn selection(&self) -> Selection {
        let selection = Selection {
            hosts: self.hosts.clone(),
            roles: self.roles.clone(),
            all: self.all,
            exclude: self.exclude.clone(),
        };
        if selection != Selection::default() {
            return selection;
        }
        let list = |name: &str| {
            let text = std::env::var(name).unwrap_or_default();
            let words = text
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        Selection {
            hosts: list("HITC_HOSTS"),
            roles: list("HITC_ROLES"),
            all: false,
            exclude: list("HITC_EXCLUDE"),
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
            forks: self.forks.or(config.forks).unwrap_or(FORKS).max(1),
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
