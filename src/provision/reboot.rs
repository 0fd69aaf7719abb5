//! Reboots a server and waits until it has started again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    core::diagnostic::{Diagnostic, Kind},
    inventory::Access,
    provider::{Node, Provider},
    ssh::Command,
};

/// Prints what differs after each start: the kernel's boot id, and when the first process started,
/// for servers that share a kernel.
const BOOT: &str = "cat /proc/sys/kernel/random/boot_id; cut -d' ' -f22 /proc/1/stat";

/// The timeout until a server has started again, and the pause between two checks.
const TIMEOUT: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(500);

/// Reboots a server and waits until it has started again and answers on SSH.
pub async fn reboot(
    access: &dyn Access,
    provider: &dyn Provider,
    node: &Node,
) -> Result<(), Diagnostic> {
    // A server that does not answer now may answer afterwards.
    let before = if node.state.is_up() {
        boot(access, node).await.ok()
    } else {
        None
    };
    let activity = access.events().start(node.name.as_str(), "reboot");
    provider.reboot(node).await?;
    access.forget(node);
    activity.update("waiting for the reboot");
    let end = Instant::now() + TIMEOUT;
    loop {
        let node = wait_for(access, provider, node).await?;
        // It may still be shutting down.
        match boot(access, &node).await {
            Ok(now) if before.as_ref() != Some(&now) => break,
            Err(error) if Instant::now() > end => return Err(error),
            Ok(_) if Instant::now() > end => {
                let seconds = TIMEOUT.as_secs();
                let text = format!("host `{}`: did not reboot within {seconds} s", node.name);
                return Err(Diagnostic::new(Kind::Timeout, text)
                    .help("check the server at its provider".to_owned())
                    .on(&node.name));
            }
            Ok(_) | Err(_) => {
                access.forget(&node);
                sleep(PAUSE).await;
            }
        }
    }
    activity.done("reboot: done");
    Ok(())
}

async fn boot(access: &dyn Access, node: &Node) -> Result<String, Diagnostic> {
    let machine = access.machine(node).await?;
    Ok(machine.run(&Command::new(BOOT)).await?.text())
}

/// Waits until a server has an address and answers on SSH.
pub async fn wait_for(
    access: &dyn Access,
    provider: &dyn Provider,
    node: &Node,
) -> Result<Node, Diagnostic> {
    let nodes = provider.list().await?;
    let node = nodes
        .into_iter()
        .find(|found| found.id == node.id)
        .ok_or_else(|| {
            Diagnostic::new(
                Kind::Failed,
                format!("server `{}` no longer exists", node.name),
            )
        })?;
    access.wait_until_reachable(&node).await?;
    Ok(node)
}
