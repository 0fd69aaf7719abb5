//! `ssh::ping`, `ssh::facts` and `ssh::wait_for_port`: the state of a server.

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

/// The pause between two attempts to connect to a port.
const RETRY: Duration = Duration::from_millis(100);
/// The longest timeout: one year. `Instant` overflows with longer ones.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// The default timeout of `wait_for_port`, in seconds.
const PORT_TIMEOUT: i64 = 60;

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.query_method(
        "ping(host: Host) -> map",
        "Measures how long it takes to connect and to run a command. Returns `#{connect, command}`,
         in milliseconds. Throws if the server cannot be reached.",
        |call: &Call, host: Host| {
            let elapsed =
                |since: Instant| i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
            let pinging = async {
                let started = Instant::now();
                call.inventory.machine(&host.0).await?;
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
    ssh.query_method(
        "facts(host: Host) -> map",
        "Returns facts about a server:
         `#{hostname, os, version, kernel, architecture, cpus, memory}`, with the memory in bytes.",
        |call: &Call, host: Host| facts(call, &host),
    );
    ssh.change_method(
        "wait_for_port(host: Host, port: int)",
        "Waits until a port of the server accepts connections, for at most one minute.",
        |call: &Call, host: Host, port: i64| wait_for_port(call, &host, port, PORT_TIMEOUT),
    );
    ssh.change_method(
        "wait_for_port(host: Host, port: int, seconds: int)",
        "Waits until a port of the server accepts connections, for at most this number of seconds.",
        |call: &Call, host: Host, port: i64, seconds: i64| {
            wait_for_port(call, &host, port, seconds)
        },
    );
}

/// Prints the facts, one per line.
///
/// Containers may lack these programs and files.
const FACTS: &str = "cat /proc/sys/kernel/hostname
[ ! -r /etc/os-release ] || . /etc/os-release; echo \"$ID\"; echo \"$VERSION_ID\"
cat /proc/sys/kernel/osrelease; uname -m 2>/dev/null || echo
nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo
while read -r key value unit; do [ \"$key\" != MemTotal: ] || echo $((value * 1024)); done </proc/meminfo";

fn facts(call: &Call, host: &Host) -> Answer<Map> {
    let name = &host.0.name;
    // The command is read-only, and also runs in a dry run.
    let output = call.wait(execute(&call.inventory, host, &Command::new(FACTS), false))?;
    call.check(check(&output, "reading its facts", Some(name)))?;
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
        .map_err(|_| call.fail(fail(Kind::Usage, format!("invalid port {port}"))))?;
    let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST);
    let waiting = async {
        let end = Instant::now() + limit;
        let address = match &node.container {
            None => {
                let target = call.inventory.target(node).await?;
                let is_direct = matches!(target.route, Route::Direct);
                is_direct.then_some(target.address)
            }
            Some(_) => None,
        };
        let open = async {
            loop {
                let is_open = match &address {
                    Some(address) => TcpStream::connect((address.as_str(), number)).await.is_ok(),
                    // A host that is reached through another machine connects to its port itself.
                    None => {
                        let machine = call.inventory.machine(node).await?;
                        let local = Endpoint::Tcp("127.0.0.1".to_owned(), number);
                        machine.dial(&local).await.is_ok()
                    }
                };
                if is_open {
                    return Ok::<_, Diagnostic>(());
                }
                sleep(RETRY).await;
            }
        };
        timeout_at(end, open).await.unwrap_or_else(|_| {
            let text = format!("timed out after {seconds} s waiting for port {port}");
            Err(fail(Kind::Timeout, text))
        })
    };
    call.change(|| format!("wait for port {port} of {}", node.name), waiting)
        .map(drop)
}
