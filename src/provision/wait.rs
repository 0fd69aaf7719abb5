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
    // A server that runs already was created earlier, or is a local one.
    let is_new = node.state != NodeState::Running;
    let ready = match running(access, provider, &node, activity).await {
        Ok(Running {
            older: Some(older), ..
        }) if create.unfinished.is_none() && exists(provider, &older).await => {
            access.flush();
            return Err(give_way(provider, &node, &older).await);
        }
        Ok(running) => wait(access, provider, running.node, is_new, activity).await,
        Err(error) => Err(error),
    };
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
    mut node: Node,
    is_new: bool,
    activity: &Activity,
) -> Result<Node, Diagnostic> {
    activity.update("waiting for SSH");
    let machine = access.wait_until_reachable(&node).await?;
    if is_new {
        wait_for_cloud_init(access, machine.as_ref(), &node, activity).await?;
        provider.settle(&node, true).await?;
        node.state = NodeState::Running;
    }
    Ok(node)
}

/// A server that runs.
struct Running {
    node: Node,
    /// An older server of the same name, which another run ordered at the same time: names are not unique at
    /// every cloud. Both runs agree which one is older.
    older: Option<Node>,
}

impl Running {
    fn find(nodes: &[Node], own: &Node) -> Self {
        let age = |node: &Node| (node.created, node.id.clone());
        let older = nodes.iter().find(|node| {
            node.name == own.name && node.provider == own.provider && age(node) < age(own)
        });
        Running {
            node: own.clone(),
            older: older.cloned(),
        }
    }
}

/// Whether a listed server is certain to exist: a list can lag behind. What is unknown is no reason to
/// terminate another server.
async fn exists(provider: &dyn Provider, node: &Node) -> bool {
    matches!(provider.find(node).await, Ok(Some(_)))
}

/// Terminates a server that was just ordered, because there is an older one.
async fn give_way(provider: &dyn Provider, ordered: &Node, older: &Node) -> Diagnostic {
    let (name, id) = (&ordered.name, &ordered.id);
    let message = format!(
        "another run created server `{name}` ({}) at the same time",
        older.id
    );
    let error = Diagnostic::new(Kind::Failed, message);
    match provider.terminate(ordered).await {
        Ok(()) => error.note(format!("the one of this run ({id}) was terminated")),
        Err(cause) => error
            .note(format!(
                "the one of this run ({id}) could not be terminated: {cause}"
            ))
            .help(format!("terminate it with `hitc run -H {id} terminate`")),
    }
}

/// Waits until the server runs and has an address.
async fn running(
    access: &dyn Access,
    provider: &dyn Provider,
    ordered: &Node,
    activity: &Activity,
) -> Result<Running, Diagnostic> {
    if ordered.state == NodeState::Running && ordered.ip.is_some() {
        return Ok(Running {
            node: ordered.clone(),
            older: None,
        });
    }
    activity.update("waiting until it runs");
    let name = &ordered.name;
    let (end, mut pause) = (Instant::now() + START_TIMEOUT, POLL);
    let (mut since, mut was_seen) = (Instant::now(), false);
    loop {
        let nodes = access.poll().since(since, provider).await?;
        let found = nodes.iter().find(|node| node.id == ordered.id);
        let state = match found {
            Some(node) if node.state.is_up() && node.ip.is_some() => {
                return Ok(Running::find(&nodes, node));
            }
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
