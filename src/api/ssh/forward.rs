//! `ssh::forward_local` and `ssh::forward_remote`: port and socket forwarding.

use rhai::{Dynamic, FnPtr, ImmutableString};

use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
    },
    core::diagnostic::{Diagnostic, Kind},
    ssh::{Endpoint, Forward},
};

/// Adds the functions to the namespace.
pub(super) fn add(ssh: &mut Namespace) {
    ssh.change_method(
        "forward_local(host: Host, from: string, to: string)",
        "Forwards a port or socket of the local machine to an address that the server can reach.
         Runs until Ctrl-C. Addresses are `PORT`, `HOST:PORT` or the `/PATH` of a socket; the port
         0 is any free one.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            forward(call, &host, &from, &to, false, None).map(drop)
        },
    );
    ssh.change_method(
        "forward_local(host: Host, from: string, to: string, action: closure) -> ?",
        "Forwards a port or socket of the local machine while `action` runs. `action` gets the
         local address. Returns the value of `action`.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, action: FnPtr| {
            forward(call, &host, &from, &to, false, Some(&action))
        },
    );
    ssh.change_method(
        "forward_remote(host: Host, from: string, to: string)",
        "Forwards a port or socket of the server to an address that the local machine can reach.
         Runs until Ctrl-C.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            forward(call, &host, &from, &to, true, None).map(drop)
        },
    );
    ssh.change_method(
        "forward_remote(host: Host, from: string, to: string, action: closure) -> ?",
        "Forwards a port or socket of the server while `action` runs. `action` gets the address on
         the server. Returns the value of `action`.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, action: FnPtr| {
            forward(call, &host, &from, &to, true, Some(&action))
        },
    );
}

fn forward(
    call: &Call,
    host: &Host,
    from: &str,
    to: &str,
    is_remote: bool,
    action: Option<&FnPtr>,
) -> Answer<Dynamic> {
    let name = &host.0.name;
    let invalid = |text: String| call.fail(Diagnostic::new(Kind::Usage, text));
    let from: Endpoint = from.parse().map_err(invalid)?;
    let to: Endpoint = to.parse().map_err(invalid)?;
    let what = if is_remote {
        format!("{from} on {name} to {to} on the local machine")
    } else {
        format!("{from} on the local machine to {to} on {name}")
    };
    if call.would(|| format!("forward {what}")) {
        return match action {
            Some(action) if call.mock().is_some() => {
                action.call_within_context(call.script, (from.to_string(),))
            }
            _ => Ok(Dynamic::UNIT),
        };
    }
    let opened = call.wait(async {
        if let (Some(container), false) = (&host.0.container, is_remote) {
            let connection = call.inventory.connect(&container.server).await?;
            let inside = call.inventory.inside_of(&host.0).await?;
            let events = call.context.events.clone();
            let on_error = move |error: Diagnostic| events.warn(error.message);
            let forward = inside.tunnel(&from, &to, on_error).await?;
            return Ok((forward, connection));
        }
        let connection = call.inventory.connect(&host.0).await?;
        let events = call.context.events.clone();
        let on_error = move |message: String| events.warn(message);
        let forward = if is_remote {
            Forward::remote(&connection, &from, &to, on_error).await
        } else {
            Forward::local(&connection, &from, &to, on_error).await
        };
        Ok::<_, Diagnostic>((forward?, connection))
    });
    let (forward, connection) = opened?;
    // Dropping the forward spawns a task, which needs the runtime.
    let _entered = call.context.runtime.enter();
    if let Some(action) = action {
        let from = forward.from.to_string();
        return action.call_within_context(call.script, (from,));
    }
    call.context.events.note(format!(
        "forwarding {} to {to}; stop with Ctrl-C",
        forward.from
    ));
    call.wait(async {
        connection.closed().await;
        Err::<Dynamic, _>(connection.lost("forwarding"))
    })
}
