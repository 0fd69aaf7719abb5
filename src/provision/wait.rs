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

/// The timeout until a server runs and has an address. Servers without a hypervisor take over 20 minutes.
const START_TIMEOUT: Duration = Duration::from_mins(40);
/// The timeout of cloud-init, and of a login that only says that the server is not ready.
const INIT_TIMEOUT: Duration = Duration::from_mins(30);
/// How long the provider may fail to list its servers.
const LIST_TIMEOUT: Duration = Duration::from_mins(5);
/// The pause before another login to a server that did not run a command.
const LOGIN_PAUSE: Duration = Duration::from_secs(3);

/// The pause between two listings of a provider: at first, and at most.
const POLL: Duration = Duration::from_millis(500);
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// Waits for cloud-init if it is installed. Status 0 is success, 2 success with warnings, and 1 an
/// error (cloud-init 23.4 and later; before, every status but 0 was an error).
///
/// Some images answer every command with a message and status 0 until they are ready, by `ForceCommand`: the
/// first line shows that the command ran.
const CLOUD_INIT: &str = "echo hitc-ran
if command -v cloud-init >/dev/null 2>&1; then
    cloud-init status --wait >/dev/null; status=$?
    [ $status = 0 ] || cloud-init status --long
    exit $status
fi";

/// The line that [`CLOUD_INIT`] prints first.
const RAN: &str = "hitc-ran";

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

/// Whether a server is certain not to exist any more.
async fn is_gone(provider: &dyn Provider, node: &Node) -> bool {
    matches!(provider.find(node).await, Ok(None))
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

/// What is shown while a server is starting.
const WAITING: &str = "waiting until it runs";

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
    activity.update(WAITING);
    let name = &ordered.name;
    let (end, mut pause) = (Instant::now() + START_TIMEOUT, POLL);
    let (mut since, mut was_seen) = (Instant::now(), false);
    let mut failing: Option<Instant> = None;
    loop {
        let listed = access.poll().since(since, provider).await;
        let nodes = match listed.map_err(Diagnostic::from) {
            Ok(nodes) => {
                if failing.take().is_some() {
                    activity.update(WAITING);
                }
                nodes
            }
            // The server is ordered, and starts meanwhile.
            Err(error) if error.kind != Kind::Usage => {
                let failing = *failing.get_or_insert_with(Instant::now);
                if failing.elapsed() > LIST_TIMEOUT {
                    return Err(error);
                }
                activity.update(format!(
                    "waiting until it runs; trying again after: {error}"
                ));
                since = Instant::now();
                sleep(LONGEST_POLL).await;
                continue;
            }
            Err(error) => return Err(error),
        };
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
                // A new server may not be listed at once, and one list may lag behind another.
                let why = provider.why_gone(ordered).await;
                if why.is_some() || was_seen && is_gone(provider, ordered).await {
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
    let end = Instant::now() + INIT_TIMEOUT;
    let mut reached = None;
    let (exit, text) = loop {
        let output = reached.as_deref().unwrap_or(machine).run(&command).await?;
        let shown = output.text();
        let mut lines = shown.lines();
        if lines.any(|line| line == RAN) {
            break (output.exit, lines.collect::<Vec<_>>().join("\n"));
        }
        if output.exit != Exit::Code(0) || Instant::now() > end {
            let message = format!("server `{}` does not run commands", node.name);
            return Err(Diagnostic::new(Kind::Failed, message)
                .note(format!("it answers: {shown}{}", output.error_text()))
                .help("if it expects another user, name that with `user=NAME`".to_owned()));
        }
        activity.update("waiting until it runs commands");
        sleep(LOGIN_PAUSE).await;
        // What a login does is decided when its connection is opened.
        access.forget(node);
        reached = Some(access.wait_until_reachable(node).await?);
    };
    match exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(2) => {
            access.events().warn(format!(
                "{}: cloud-init finished with warnings: {text}",
                node.name
            ));
            Ok(())
        }
        _ => {
            let message = format!("server `{}`: cloud-init failed", node.name);
            Err(Diagnostic::new(Kind::Failed, message).note(text))
        }
    }
}
