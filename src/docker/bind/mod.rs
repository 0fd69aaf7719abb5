//! Ports that are published while the container runs.
//!
//! The engine cannot publish a port of a container that exists. A service of the server does, which
//! follows the container through its restarts: see `bind.sh`.

use bytes::Bytes;

use super::{Containers, Engine, Error, Listed, Port, State};
use crate::{
    core::owner::Owner,
    machine::{self, Machine},
    ssh::{Command, Input},
};

/// The program of the server. Run as root.
const SCRIPT: &str = include_str!("bind.sh");

/// Installs the program if it is not there in this version, and runs it.
const INSTALL: &str = "set -e; d=/usr/local/lib/hitc; mkdir -p $d; cat >$d/bind.new; \
    chmod 755 $d/bind.new; mv $d/bind.new $d/bind; exec $d/bind";

/// Prints each binding as `PUBLIC-PROTOCOL:CONTAINER_ID PORT`.
const LIST: &str = "cd /var/lib/hitc/binds 2>/dev/null && grep -H . -- *-* || :";

/// A port of a container that was published while it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The container's full id.
    pub container: String,
    /// The port.
    pub port: Port,
}

/// Publishes a port of a running container on all addresses of the server. Does nothing if it is
/// published already. Unless `adopt` is set, the container must belong to the project of `owner`.
///
/// # Errors
/// [`Error::PortTaken`] if another container has the port, [`Error::PortInUse`] if another program
/// has it. Nothing was changed then.
pub async fn bind(
    engine: &Engine,
    name: &str,
    port: Port,
    owner: &Owner,
    adopt: bool,
) -> Result<(), Error> {
    let container = engine.owned(name, owner, adopt).await?;
    let fail = |cause: &str| failed(engine, name, port, cause);
    if container.state != State::Running {
        return Err(fail("the container does not run"));
    }
    match container.options.networks() {
        [network] if network == "host" => {
            return Err(fail(
                "the container uses the network of the server: its ports are public",
            ));
        }
        [network] if network == "none" => return Err(fail("the container has no network")),
        _ => {}
    }
    let bound_ports = bindings(engine.machine()).await?;
    let bound = Binding {
        container: container.id.clone(),
        port,
    };
    if bound_ports.contains(&bound) || container.ports().contains(&port) {
        return Ok(());
    }
    if let Some(holder) = holder(engine, &bound_ports, port).await? {
        return Err(Error::PortTaken {
            host: engine.host().to_owned(),
            name: name.to_owned(),
            port: port.public,
            holder,
        });
    }
    let Port {
        container: inner,
        public,
        protocol,
        ..
    } = port;
    let id = &container.id;
    let line = format!("{INSTALL} add {public} {protocol} {id} {inner}");
    let cause = match execute(engine, line).await? {
        Ok(()) => return Ok(()),
        Err(cause) => cause,
    };
    if cause.contains("address already in use") {
        return Err(Error::PortInUse {
            host: engine.host().to_owned(),
            name: name.to_owned(),
            port: public,
        });
    }
    Err(fail(&cause))
}

/// Withdraws a port that was published while the container ran. Unless `adopt` is set, the container
/// must belong to the project of `owner`.
pub async fn unbind(
    engine: &Engine,
    name: &str,
    port: Port,
    owner: &Owner,
    adopt: bool,
) -> Result<(), Error> {
    let container = engine.owned(name, owner, adopt).await?;
    let bound = Binding {
        container: container.id,
        port,
    };
    if !bindings(engine.machine()).await?.contains(&bound) {
        return Err(failed(engine, name, port, "it is not bound"));
    }
    let line = format!("{INSTALL} remove {} {}", port.public, port.protocol);
    let done = execute(engine, line).await?;
    done.map_err(|cause| failed(engine, name, port, &cause))
}

/// The ports of a machine's containers that were published while they ran.
pub async fn bindings(machine: &dyn Machine) -> Result<Vec<Binding>, Error> {
    let output = machine.run(&Command::new(LIST)).await?;
    let text = output.text();
    let bindings: Option<Vec<Binding>> = text.lines().map(parse).collect();
    bindings.ok_or_else(|| Error::Api {
        host: machine.name().to_owned(),
        what: "reading the bound ports".to_owned(),
        cause: "invalid file in /var/lib/hitc/binds".to_owned(),
    })
}

impl Listed {
    /// Adds the ports that were published while the container ran.
    pub fn add_bindings(&mut self, bindings: &[Binding]) {
        for bound in bindings.iter().filter(|bound| bound.container == self.id) {
            self.exposed
                .remove(&(bound.port.container, bound.port.protocol));
            self.ports.insert(bound.port);
        }
    }
}

fn failed(engine: &Engine, name: &str, port: Port, cause: &str) -> Error {
    Error::Bind {
        host: engine.host().to_owned(),
        name: name.to_owned(),
        port: port.public,
        cause: cause.to_owned(),
    }
}

/// The container that has published a port; none if it is free.
async fn holder(
    engine: &Engine,
    bindings: &[Binding],
    port: Port,
) -> Result<Option<String>, Error> {
    let running = engine.list(false).await?;
    let bound = bindings.iter().find(|held| held.port.conflicts_with(&port));
    let holder = running.iter().find(|listed| {
        listed.ports.iter().any(|held| held.conflicts_with(&port))
            || bound.is_some_and(|bound| bound.container == listed.id)
    });
    // A container that is stopped at the moment keeps its bindings.
    let stopped = bound.map(|bound| bound.container.chars().take(12).collect());
    Ok(holder.map(|listed| listed.name.clone()).or(stopped))
}

/// Runs the program on the server. The inner error is what it printed.
async fn execute(engine: &Engine, line: String) -> Result<Result<(), String>, machine::Error> {
    let command = Command {
        stdin: Input::Bytes(Bytes::from_static(SCRIPT.as_bytes())),
        ..Command::root(line)
    };
    let output = engine.machine().run(&command).await?;
    if output.ok() {
        return Ok(Ok(()));
    }
    let cause = output.tail(3);
    Ok(Err(if cause.is_empty() {
        output.exit.to_string()
    } else {
        cause
    }))
}

/// Reads a list of bindings.
pub fn read_bindings(text: &str) {
    let bindings: Vec<Binding> = text.lines().filter_map(parse).collect();
    drop(bindings);
}

/// Parses `PUBLIC-PROTOCOL:CONTAINER_ID PORT`.
fn parse(line: &str) -> Option<Binding> {
    let (key, rest) = line.split_once(':')?;
    let (public, protocol) = key.split_once('-')?;
    let (container, port) = rest.split_once(' ')?;
    Some(Binding {
        container: container.to_owned(),
        port: Port {
            container: port.parse().ok()?,
            public: public.parse().ok()?,
            protocol: protocol.parse().ok()?,
            address: None,
        },
    })
}
