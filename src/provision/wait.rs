//! A new server, from the order to the moment in which it can be used.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::Activity,
        process::Exit,
    },
    inventory::Inventory,
    provider::{Create, Node, NodeState, Provider},
    ssh::{self, Command},
};

/// How long a server may take to run and to have an address.
const START_TIMEOUT: Duration = Duration::from_mins(10);
/// How long it may take to answer on SSH then.
const SSH_TIMEOUT: Duration = Duration::from_mins(5);
/// How long it may refuse our key, which many images admit after they have begun to answer.
const KEY_TIMEOUT: Duration = Duration::from_secs(90);
const KEY_RETRY: Duration = Duration::from_secs(1);
/// How long cloud-init may take.
const INIT_TIMEOUT: Duration = Duration::from_mins(15);

/// How long a provider is left alone between two looks: at first, and at most.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_MOST: Duration = Duration::from_secs(5);

/// Waits for cloud-init where there is one: 0 is fine, 2 fine with complaints, and 1 an error
/// (cloud-init 23.4 and later; before, any other status than 0 was an error).
const CLOUD_INIT: &str = "if command -v cloud-init >/dev/null 2>&1; then
    cloud-init status --wait >/dev/null; status=$?
    [ $status = 0 ] || cloud-init status --long
    exit $status
fi";

/// Creates a server, and waits until it can be used. One that does not come up is left as it is,
/// and its provider told so.
pub async fn bring_up(
    inventory: &Inventory,
    provider: &dyn Provider,
    create: &Create,
    activity: &Activity,
) -> Result<Node, Diagnostic> {
    inventory.cache.flush();
    let node = provider.create(create, activity).await?;
    let ready = wait(inventory, provider, node.clone(), activity).await;
    inventory.cache.flush();
    match ready {
        Ok(node) => Ok(node),
        Err(error) => match provider.settle(&node, false).await {
            Ok(()) => Err(left_behind(error, &node)),
            // Probably it is gone; why it failed is more important.
            Err(unnoted) => Err(error.note(unnoted.to_string())),
        },
    }
}

fn left_behind(error: Diagnostic, node: &Node) -> Diagnostic {
    let Node { name, id, .. } = node;
    error.note(format!(
        "the server `{name}` ({id}) is left as it is, to be looked at: `hitc run create name={name}` \
         goes on with it, `hitc run -H {name} terminate` ends it"
    ))
}

async fn wait(
    inventory: &Inventory,
    provider: &dyn Provider,
    node: Node,
    activity: &Activity,
) -> Result<Node, Diagnostic> {
    // One that runs already was not made by us just now, or on this machine.
    let is_new = node.state != NodeState::Running;
    let mut node = if is_new || node.ip.is_empty() {
        activity.update("waiting until it runs");
        running(inventory, provider, &node).await?
    } else {
        node
    };
    activity.update("waiting for SSH");
    answering(inventory, &node).await?;
    if is_new {
        initialized(inventory, &node, activity).await?;
        provider.settle(&node, true).await?;
        node.state = NodeState::Running;
    }
    Ok(node)
}

/// The server when it runs and has an address.
async fn running(
    inventory: &Inventory,
    provider: &dyn Provider,
    ordered: &Node,
) -> Result<Node, Diagnostic> {
    let name = &ordered.name;
    let (end, mut pause) = (Instant::now() + START_TIMEOUT, LOOK);
    let (mut since, mut was_seen) = (Instant::now(), false);
    loop {
        let nodes = inventory.poll.since(since, provider).await?;
        let found = nodes.iter().find(|node| node.name == *name);
        let state = match found {
            Some(node) if node.state.is_up() && !node.ip.is_empty() => return Ok(node.clone()),
            Some(node) => {
                was_seen = true;
                node.state.to_string()
            }
            None => {
                // It may take a moment until it is listed.
                let why = provider.why_gone(ordered).await;
                if was_seen || why.is_some() {
                    let text = format!("server `{name}`: {} has ended it again", provider.name());
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
        // Those who wait look together, at about the time of the first of them.
        since = Instant::now() + pause / 2;
        sleep(pause).await;
        pause = (pause * 3 / 2).min(LOOK_MOST);
    }
}

/// Waits until it lets us in.
async fn answering(inventory: &Inventory, node: &Node) -> Result<(), Diagnostic> {
    let target = inventory.target(node).await?;
    let begun = Instant::now();
    let end = begun + KEY_TIMEOUT;
    loop {
        match inventory.wait_for_target(&target, SSH_TIMEOUT).await {
            Ok(_) => return Ok(()),
            Err(ssh::Error::Auth { .. }) if !node.state.is_made() && Instant::now() < end => {
                sleep(KEY_RETRY).await;
            }
            Err(error) => {
                let seconds = begun.elapsed().as_secs();
                let tried = format!("it was tried for {seconds} s");
                return Err(Diagnostic::from(error).note(tried));
            }
        }
    }
}

async fn initialized(
    inventory: &Inventory,
    node: &Node,
    activity: &Activity,
) -> Result<(), Diagnostic> {
    activity.update("waiting for cloud-init");
    let command = Command {
        timeout: Some(INIT_TIMEOUT),
        ..Command::new(CLOUD_INIT)
    };
    let target = inventory.target(node).await?;
    let connection = inventory.connect_to(&target).await?;
    let output = connection.run(&command).await?;
    match output.exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(2) => {
            let text = output.text();
            inventory
                .context
                .events
                .warn(format!("{}: cloud-init complains: {text}", node.name));
            Ok(())
        }
        _ => {
            let text = format!("server `{}`: cloud-init failed", node.name);
            Err(Diagnostic::new(Kind::Failed, text).note(output.text()))
        }
    }
}
