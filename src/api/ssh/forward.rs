//! Ports and sockets of one machine that lead to the other.

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
        "Lets a port or socket of this machine lead to what the server can reach, until Ctrl-C.
         Each is `PORT`, `HOST:PORT` or the `/PATH` of a socket; the port 0 is any.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            forward(call, &host, &from, &to, false, None).map(drop)
        },
    );
    ssh.change_method(
        "forward_local(host: Host, from: string, to: string, action: closure) -> ?",
        "The same while `action` runs, which is given where it begins, and whose value is
         returned.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString, action: FnPtr| {
            forward(call, &host, &from, &to, false, Some(&action))
        },
    );
    ssh.change_method(
        "forward_remote(host: Host, from: string, to: string)",
        "Lets a port or socket of the server lead to what this machine can reach, until Ctrl-C.",
        |call: &Call, host: Host, from: ImmutableString, to: ImmutableString| {
            forward(call, &host, &from, &to, true, None).map(drop)
        },
    );
    ssh.change_method(
        "forward_remote(host: Host, from: string, to: string, action: closure) -> ?",
        "The same while `action` runs, which is given where it begins, and whose value is
         returned.",
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
    let wrong = |text: String| call.fail(Diagnostic::new(Kind::Usage, text));
    let from: Endpoint = from.parse().map_err(wrong)?;
    let to: Endpoint = to.parse().map_err(wrong)?;
    let what = if is_remote {
        format!("{from} of {name} to {to} of this machine")
    } else {
        format!("{from} of this machine to {to} of {name}")
    };
    if call.would(|| format!("lead {what}")) {
        return Ok(Dynamic::UNIT);
    }
    let opened = call.wait(async {
        let connection = call.inventory.connect(&host.0).await?;
        let forward = if is_remote {
            Forward::remote(&connection, &from, &to).await
        } else {
            Forward::local(&connection, &from, &to).await
        };
        Ok::<_, Diagnostic>((forward?, connection))
    });
    let (forward, connection) = opened?;
    // It ends where futures are driven.
    let _entered = call.context.runtime.enter();
    if let Some(action) = action {
        let from = forward.from.to_string();
        return action.call_within_context(call.script, (from,));
    }
    call.context
        .events
        .note(format!("{} leads to {to}; Ctrl-C ends it", forward.from));
    call.wait(async {
        connection.closed().await;
        Err::<Dynamic, _>(connection.lost("forwarding"))
    })
}
