//! Creates a server and waits until it is ready: running, reachable by SSH, cloud-init finished.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::Activity,
        process::Exit,
    },
    inventory::Access,
    machine::Machine,
    provider::{Create, Node, NodeState, Provider},
    ssh::Command,
};

/// The timeout until a server runs and has an address.
const START_TIMEOUT: Duration = Duration::from_mins(10);
/// The timeout of cloud-init.
const INIT_TIMEOUT: Duration = Duration::from_mins(15);

/// The pause between two listings of a provider: at first, and at most.
const POLL: Duration = Duration::from_millis(500);
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// Waits for cloud-init if it is installed. Status 0 is success, 2 success with warnings, and 1 an
/// error (cloud-init 23.4 and later; before, every status but 0 was an error).
const CLOUD_INIT: &str = "if command -v cloud-init >/dev/null 2>&1; then
    cloud-init status --wait >/dev/null; status=$?
    [ $status = 0 ] || cloud-init status --long
    exit $status
fi";

/// Creates a server and waits until it is ready. A server that does not become ready is kept, and
/// marked as failed at its provider.
pub async fn bring_up(
    access: &dyn Access,
    provider: &dyn Provider,
    create: &Create,
    activity: &Activity,
) -> Result<Node, Diagnostic> {
    access.flush();
    create.check_unfinished(provider).await?;
    let node = provider.create(create, activity).await?;
    let ready = wait(access, provider, node.clone(), activity).await;
    access.flush();
    match ready {
        Ok(node) => Ok(node),
        Err(error) => match provider.settle(&node, false).await {
            Ok(()) => Err(kept(error, &node)),
            // The server is probably gone. The cause of the failure is more important.
            Err(unnoted) => Err(error.note(unnoted.to_string())),
        },
    }
}

fn kept(error: Diagnostic, node: &Node) -> Diagnostic {
    let Node { name, id, .. } = node;
    error.note(format!(
        "the server `{name}` ({id}) is kept for inspection: `hitc run create name={name}` waits for it \
         again, `hitc run -H {name} terminate` terminates it"
    ))
}

async fn wait(
    access: &dyn Access,
    provider: &dyn Provider,
    node: Node,
    activity: &Activity,
) -> Result<Node, Diagnostic> {
    // A server that runs already was created earlier, or is a local one.
    let is_new = node.state != NodeState::Running;
    let mut node = if is_new || node.ip.is_none() {
        activity.update("waiting until it runs");
        running(access, provider, &node).await?
    } else {
        node
    };
    activity.update("waiting for SSH");
    let machine = access.wait_until_reachable(&node).await?;
    if is_new {
        wait_for_cloud_init(access, machine.as_ref(), &node, activity).await?;
        provider.settle(&node, true).await?;
        node.state = NodeState::Running;
    }
    Ok(node)
}

/// Waits until the server runs and has an address.
async fn running(
    access: &dyn Access,
    provider: &dyn Provider,
    ordered: &Node,
) -> Result<Node, Diagnostic> {
    let name = &ordered.name;
    let (end, mut pause) = (Instant::now() + START_TIMEOUT, POLL);
    let (mut since, mut was_seen) = (Instant::now(), false);
    loop {
        let nodes = access.poll().since(since, provider).await?;
        let found = nodes.iter().find(|node| node.id == ordered.id);
        let state = match found {
            Some(node) if node.state.is_up() && node.ip.is_some() => return Ok(node.clone()),
            Some(node) => {
                was_seen = true;
                node.state.to_string()
            }
            None => {
                // A new server may not be listed at once.
                let why = provider.why_gone(ordered).await;
                if was_seen || why.is_some() {
                    let text = format!(
                        "server `{name}` was terminated by {} while it was starting",
                        provider.name()
                    );
                    let error = Diagnostic::new(Kind::Failed, text);
                    return Err(why.into_iter().fold(error, Diagnostic::note));
                }
                "not listed".to_owned()
            }
        };
        if Instant::now() > end {
            let text = format!(
                "server `{name}` is {state} after {} s",
                START_TIMEOUT.as_secs()
            );
            return Err(Diagnostic::new(Kind::Timeout, text));
        }
        // Concurrent callers share one listing, at about the time of the first of them.
        since = Instant::now() + pause / 2;
        sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_POLL);
    }
}

async fn wait_for_cloud_init(
    access: &dyn Access,
    machine: &dyn Machine,
    node: &Node,
    activity: &Activity,
) -> Result<(), Diagnostic> {
    activity.update("waiting for cloud-init");
    let command = Command {
        timeout: Some(INIT_TIMEOUT),
        ..Command::new(CLOUD_INIT)
    };
    let output = machine.run(&command).await?;
    match output.exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(2) => {
            let text = output.text();
            access.events().warn(format!(
                "{}: cloud-init finished with warnings: {text}",
                node.name
            ));
            Ok(())
        }
        _ => {
            let text = format!("server `{}`: cloud-init failed", node.name);
            Err(Diagnostic::new(Kind::Failed, text).note(output.text()))
        }
    }
}
