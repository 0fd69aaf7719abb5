//! Ports of containers on this machine.

use rhai::ImmutableString;

use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
    },
    core::diagnostic::{Diagnostic, Kind},
    ssh::Endpoint,
};

pub(super) fn register(docker: &mut Namespace) {
    docker.change(
        "tunnel(host: Host, name: string, from: string, port: int)",
        "Forwards a port or socket of the local machine (`PORT`, `HOST:PORT` or a `/PATH`) to a port
         of a container, through its server. Nothing is needed in the container, and the port need
         not be published. The port 0 is the same as that of the local machine. Follows the container
         when it is restarted. Runs until Ctrl-C.",
        |call: &Call, host: Host, name: ImmutableString, from: ImmutableString, port: i64| {
            tunnel(call, &host, &name, &from, port)
        },
    );
}

fn tunnel(call: &Call, host: &Host, name: &str, from: &str, port: i64) -> Answer<()> {
    let invalid = |text: String| call.fail(Diagnostic::new(Kind::Usage, text));
    let from: Endpoint = from.parse().map_err(invalid)?;
    let port = match &from {
        Endpoint::Tcp(_, same) if port == 0 => (*same).into(),
        _ => port,
    };
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| invalid(format!("invalid port {port}")))?;
    let server = &host.0.name;
    if call.would(|| format!("forward {from} to port {port} of container {name} on {server}")) {
        return Ok(());
    }
    call.wait(async {
        let node = call.inventory.container(&host.0, name).await?;
        let connection = call.inventory.connect(&host.0).await?;
        let inside = call.inventory.inside_of(&node).await?;
        let events = call.context.events.clone();
        let on_error = move |error: Diagnostic| events.warn(error.message);
        let to = Endpoint::Tcp("127.0.0.1".to_owned(), port);
        let forward = inside.tunnel(&from, &to, on_error).await?;
        let text = format!(
            "forwarding {} to port {port} of {}; stop with Ctrl-C",
            forward.from, node.name
        );
        call.context.events.note(text);
        connection.closed().await;
        Err::<(), _>(Diagnostic::from(connection.lost("forwarding")))
    })
}
