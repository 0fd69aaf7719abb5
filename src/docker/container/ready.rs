//! The check that tells when a container is ready.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::words;
use crate::core::{
    units::duration,
    value::{Fields, Invalid, Value},
};

/// The timeout of a check, unless the user sets one.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A check and its timeout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The check.
    pub probe: Probe,
    /// How long it may take until the check succeeds.
    pub timeout: Duration,
}

/// A check. The server executes it, so that the port does not have to be public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// The image's own health check; without one, that the container keeps running.
    Running,
    /// Something listens on a port of the container.
    Tcp(u16),
    /// A GET request to a port of the container is answered with a status below 400.
    Http {
        /// The path.
        path: String,
        /// The port.
        port: u16,
    },
    /// A command in the container ends with status 0.
    Exec(Vec<String>),
}

impl Default for Ready {
    fn default() -> Self {
        Ready {
            probe: Probe::Running,
            timeout: TIMEOUT,
        }
    }
}

impl Ready {
    /// Decodes `{http: PATH, port: N}`, `{tcp: N}` or `{exec: COMMAND}`, each with an optional
    /// `timeout`.
    pub fn decode(value: &Value, what: &str) -> Result<Self, Invalid> {
        let mut fields = Fields::new(value, what)?;
        let port = |value: &Value, what: &str| {
            value
                .to_integer(what, 1..65536)
                .map(|port| u16::try_from(port).unwrap_or(u16::MAX))
        };
        let http = fields.decode("http", Value::to_text)?;
        let port_value = fields.take("port");
        let http_port = port_value.as_ref().map(|value| port(value, "port"));
        let http_port = http_port.transpose()?;
        let tcp = fields.decode("tcp", port)?;
        let exec = fields.take("exec");
        let timeout = fields.decode("timeout", duration)?.unwrap_or(TIMEOUT);
        fields.finish()?;
        if http.is_none()
            && let Some(value) = port_value
        {
            let error = Invalid::new(&value, format!("{what}: `port` is the port of `http`"));
            return Err(error.help("write `{http: /, port: …}`, or `{tcp: …}`".to_owned()));
        }
        let probe = match (http, tcp, exec) {
            (Some(path), None, None) => Probe::Http {
                path: format!("/{}", path.trim_start_matches('/')),
                port: http_port.unwrap_or(80),
            },
            (None, Some(port), None) => Probe::Tcp(port),
            // Without a shell: a variable in it, such as one of the environment, must not become code.
            (None, None, Some(command)) => {
                let words = words(&command, "exec")?;
                if words.is_empty() {
                    return Err(Invalid::new(&command, format!("{what}: `exec` is empty")));
                }
                Probe::Exec(words)
            }
            (None, None, None) => Probe::Running,
            _ => {
                return Err(Invalid::new(
                    value,
                    format!("{what}: `http`, `tcp` and `exec` cannot be used together"),
                ));
            }
        };
        Ok(Ready { probe, timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_run_without_a_shell() {
        let probe = |command: &str| {
            let value = Value::map([("exec", Value::text(command))]);
            Ready::decode(&value, "ready").map(|ready| ready.probe)
        };
        let words = |words: &[&str]| Probe::Exec(words.iter().map(|w| (*w).to_owned()).collect());
        assert_eq!(
            probe("test -e '/a b'").unwrap(),
            words(&["test", "-e", "/a b"])
        );
        // As a variable of the environment may be.
        assert_eq!(
            probe("curl $(touch /x);touch /y").unwrap(),
            words(&["curl", "$(touch", "/x);touch", "/y"])
        );
        assert!(probe("").is_err() && probe("'x").is_err());
    }
}
