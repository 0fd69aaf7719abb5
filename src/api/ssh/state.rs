//! What a server is, and whether it is ready.

use std::time::Duration;

use rhai::Map;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use super::command::{check, execute};
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
        value::text_map,
    },
    core::diagnostic::{Diagnostic, Kind},
    ssh::{Command, Endpoint, Route},
};

/// How often a port is tried.
const RETRY: Duration = Duration::from_millis(100);
/// A year: who wants to wait longer means for ever.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// How long `wait_for_port` waits unless told otherwise, in seconds.
const PORT_TIMEOUT: i64 = 60;

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.method(
        "ping(host: Host) -> map",
        "How long it takes to connect, and to run a command: `#{connect, command}`, in milliseconds.
         Throws if the server cannot be reached.",
        |call: &Call, host: Host| {
            let elapsed = |since: Instant| {
                i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)
            };
            let pinging = async {
                let started = Instant::now();
                call.inventory.connect(&host.0).await?;
                let connect = elapsed(started);
                let started = Instant::now();
                let output = execute(&call.inventory, &host, &Command::new("true"), false).await?;
                check(&output, "true", Some(&host.0.name))?;
                Ok::<_, Diagnostic>([("connect", connect), ("command", elapsed(started))])
            };
            let took = call.wait(pinging)?;
            Ok(took
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect::<Map>())
        },
    );
    ssh.method(
        "facts(host: Host) -> map",
        "What a server is: `#{hostname, os, version, kernel, architecture, cpus, memory}`; memory in
         bytes.",
        |call: &Call, host: Host| facts(call, &host),
    );
    ssh.change_method(
        "wait_for_port(host: Host, port: int)",
        "Waits until something listens on a port of the server, a minute at most.",
        |call: &Call, host: Host, port: i64| wait_for_port(call, &host, port, PORT_TIMEOUT),
    );
    ssh.change_method(
        "wait_for_port(host: Host, port: int, seconds: int)",
        "The same, for so many seconds at most.",
        |call: &Call, host: Host, port: i64, seconds: i64| {
            wait_for_port(call, &host, port, seconds)
        },
    );
}

/// Prints what [`facts`] gives, a line each.
const FACTS: &str = "hostname; . /etc/os-release; echo \"$ID\"; echo \"$VERSION_ID\"; uname -r; uname -m; \
                     nproc; awk '/MemTotal/ {print $2 * 1024}' /proc/meminfo";

fn facts(call: &Call, host: &Host) -> Answer<Map> {
    let name = &host.0.name;
    let output = match call.mock() {
        Some(stage) => stage.run(name, "facts"),
        // It changes nothing, and runs in a dry run too.
        None => call.wait(execute(&call.inventory, host, &Command::new(FACTS), false))?,
    };
    call.check(check(&output, "looking at what it is", Some(name)))?;
    let text = output.text();
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let mut map = text_map([
        ("hostname", next()),
        ("os", next()),
        ("version", next()),
        ("kernel", next()),
        ("architecture", next()),
    ]);
    for key in ["cpus", "memory"] {
        let number = next().parse::<f64>().unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "memory fits, and has no fraction"
        )]
        map.insert(key.into(), (number as i64).into());
    }
    Ok(map)
}

fn wait_for_port(call: &Call, host: &Host, port: i64, seconds: i64) -> Answer<()> {
    let node = &host.0;
    let fail = |kind, text: String| {
        Diagnostic::new(kind, format!("host `{}`: {text}", node.name)).on(&node.name)
    };
    let number = u16::try_from(port)
        .map_err(|_| call.fail(fail(Kind::Usage, format!("{port} is no port number"))))?;
    let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST);
    let waiting = async {
        let end = Instant::now() + limit;
        let target = call.inventory.target(node).await?;
        let listens = async {
            loop {
                // Where only SSH leads, the server itself is asked to look.
                let is_there = match &target.route {
                    Route::Direct => TcpStream::connect((target.address.as_str(), number))
                        .await
                        .is_ok(),
                    Route::Jump(_) | Route::ProxyCommand(_) => {
                        let connection = call.inventory.connect(node).await?;
                        let local = Endpoint::Tcp("127.0.0.1".to_owned(), number);
                        connection.dial(&local).await.is_ok()
                    }
                };
                if is_there {
                    return Ok::<_, Diagnostic>(());
                }
                sleep(RETRY).await;
            }
        };
        timeout_at(end, listens).await.unwrap_or_else(|_| {
            let text = format!("nothing listens on port {port} after {seconds} s");
            Err(fail(Kind::Timeout, text))
        })
    };
    call.change(|| format!("wait for port {port} of {}", node.name), waiting)
        .map(drop)
}
