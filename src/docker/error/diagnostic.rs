//! Errors as the user sees them: message, help and notes.

use super::{Error, HERE};
use crate::{
    core::diagnostic::{Diagnostic, Kind},
    http::RegistryError,
    machine,
};

impl Error {
    /// What the user can do, if that is known.
    fn help(&self) -> Option<String> {
        if self.is_disk_full() {
            return Some("free disk space on the server, or use a larger one".to_owned());
        }
        if self.reserved_port().is_some() {
            return Some(
                "restart the Docker Engine there with `sudo systemctl restart docker`".to_owned(),
            );
        }
        Some(match self {
            Error::NoEngine { host, .. } if host == HERE => {
                "install and start Docker with `hitc run local.setup`".to_owned()
            }
            Error::NoEngine { host, .. } => {
                format!("install and start it with `hitc run -H {host} docker.setup`")
            }
            Error::Unanswered { host, .. } => format!(
                "check sudo and the engine on the server; `hitc run -H {host} docker.setup` starts it"
            ),
            Error::Broken { host, .. } if host == HERE => {
                "check the engine with `docker info`, and run this again".to_owned()
            }
            Error::Broken { host, .. } => format!(
                "start the engine with `hitc run -H {host} docker.setup`, and run this again"
            ),
            // The next run finishes what was interrupted.
            Error::NotRestored { error, back, .. } => return error.help().or_else(|| back.help()),
            Error::NoImage { host, .. } if host == HERE => {
                "check the name; `docker images` lists the images of this machine".to_owned()
            }
            Error::Pull {
                registry, cause, ..
            } if ["unauthorized", "denied", "no basic auth"]
                .iter()
                .any(|word| cause.contains(word)) =>
            {
                format!("check the name, or log in with `hitc run docker.login {registry}`")
            }
            Error::NoImage { host, image, .. } | Error::Pull { host, image, .. } => format!(
                "check the name, or send it from this machine with `hitc run -H {host} docker.push {image}`"
            ),
            Error::Platform { wanted, .. } => format!(
                "build it for the server with `docker build --platform {wanted} …`, or let hitc build it with `build: FOLDER`"
            ),
            Error::Registry(RegistryError {
                registry,
                status: Some(401 | 403),
                ..
            })
            | Error::NoLogin { registry } => {
                format!("log in with `hitc run docker.login {registry}`")
            }
            Error::Helper { .. } => {
                "install it, or remove it from `credHelpers` or `credsStore` in your Docker configuration".to_owned()
            }
            Error::NameTaken { name, .. } => name_taken(name),
            Error::NotOwned { .. } => {
                "take it over with `adopt=true`, or rename or remove it on the server".to_owned()
            }
            Error::InTheWay { name, .. } => format!(
                "rename or remove it on the server, for example with `docker rename {name} NEW_NAME`"
            ),
            Error::PortInUse { port, .. } => format!(
                "publish another port, or stop that program (`ss -lnp | grep :{port}` names it)"
            ),
            Error::Incomplete { .. } => {
                "a file may have changed meanwhile; copy again, or stop the container first"
                    .to_owned()
            }
            Error::TooManyStreams { .. } => {
                "name fewer containers; with access to the socket of the engine (group `docker`), more are possible"
                    .to_owned()
            }
            Error::PortTaken { .. } => "publish another port, or remove that container".to_owned(),
            Error::NotRunning { host, name } if host != HERE => {
                format!("start it with `hitc run -H {host} docker.start {name}`")
            }
            Error::NoTerminal { .. } => {
                "run a command with `docker.exec` or `hitc exec`".to_owned()
            }
            Error::NoSshd { host } => format!(
                "start sshd in the container, or copy files with `hitc run -H {host} upload` and `download`"
            ),
            Error::BuildSecret { id, .. } => how_to_give(id),
            Error::WithoutShell { help, .. } => (*help).to_owned(),
            Error::NoShell { host, .. } => format!(
                "run a program without shell syntax: `hitc exec -H {host} -- /PROGRAM ARGUMENT`"
            ),
            Error::NoContainer {
                near: Some(near), ..
            }
            | Error::NoneNamed {
                near: Some(near), ..
            } => format!("did you mean `{near}`?"),
            Error::NoContainer { .. } | Error::NoneNamed { .. } => {
                "list the containers with `hitc run docker.ps all=true`".to_owned()
            }
            _ => return None,
        })
    }
}

/// How a secret is given to a build.
fn how_to_give(id: &str) -> String {
    format!(
        "give it with `docker::build(FOLDER, #{{ secrets: #{{ \"{id}\": secret::env(\"NAME\") }} }})`; a manifest names the image that this returns"
    )
}

/// What to do about a name that a container has.
fn name_taken(name: &str) -> String {
    match name.rsplit_once('.') {
        // A run that replaces the container may need it again.
        Some((_, "old" | "new")) => format!(
            "another run may be replacing the container: wait until it is done, and try again; if there is \
             none, remove it with `docker.kill {name}`"
        ),
        _ => format!("replace it with `replace=true`, or remove it with `docker.kill {name}`"),
    }
}

impl From<Error> for machine::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Machine(error) => error,
            other => Diagnostic::from(other).into(),
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        if let Error::Machine(error) = error {
            return error.into();
        }
        let mut diagnostic = Diagnostic::new(Kind::Failed, error.to_string()).help(error.help());
        if let Some(host) = error.host() {
            diagnostic = diagnostic.on(host);
        }
        if let Error::NotStarted { is_missing, .. } = &error {
            // As a shell exits (POSIX, 2.8.2).
            diagnostic.code = Some(if *is_missing { 127 } else { 126 });
        }
        if let Error::NotReady { now, .. } = &error
            && !now.is_empty()
        {
            diagnostic = diagnostic.note(now.as_str());
        }
        match error {
            Error::NotReady { log, .. } | Error::Build { log, .. } | Error::Setup { log, .. }
                if !log.is_empty() =>
            {
                diagnostic.note(format!("the last lines of its output:\n{log}"))
            }
            _ => diagnostic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_another_run_may_need_is_not_to_be_removed() {
        for (name, begins) in [
            ("shop", "replace it with `replace=true`"),
            (
                "shop.old",
                "another run may be replacing the container: wait",
            ),
            (
                "shop.new",
                "another run may be replacing the container: wait",
            ),
        ] {
            assert!(name_taken(name).starts_with(begins), "{name}");
        }
    }
}
