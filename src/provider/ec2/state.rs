//! The states of instances: starts, stops, and waits for them.

use std::time::Duration;

use aws_sdk_ec2::types::{Instance, InstanceStateName};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    Ec2, NAME, by,
    client::{STATE_PAUSE, STATE_PAUSE_MOST, VISIBLE_TIMEOUT, explain},
};
use crate::provider::{Error, Node, Provider, look_again};

/// How long an instance may take to stop, start or terminate.
const STATE_TIMEOUT: Duration = Duration::from_mins(10);

/// How long an id is new, so that EC2 may not know it everywhere.
const NEW: Duration = Duration::from_mins(5);

impl Ec2 {
    /// Waits until an instance is in this state.
    pub(super) async fn wait_until(
        &self,
        id: &str,
        wanted: &InstanceStateName,
    ) -> Result<(), Error> {
        let (end, mut pause) = (Instant::now() + STATE_TIMEOUT, STATE_PAUSE);
        loop {
            let found = self.instances(vec![by("instance-id", id)]).await?;
            let state = found.first().and_then(|found| found.state()?.name());
            if state == Some(wanted) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Failed {
                    provider: NAME.to_owned(),
                    what: format!("waiting until {id} is {}", wanted.as_str()),
                    cause: format!("timed out after {} s", STATE_TIMEOUT.as_secs()),
                });
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(STATE_PAUSE_MOST);
        }
    }

    /// Waits until an instance is terminated. Until then it keeps its volumes and counts for quotas.
    pub(super) async fn wait_until_gone(&self, node: &Node) -> Result<(), Error> {
        let (end, mut pause) = (Instant::now() + STATE_TIMEOUT, STATE_PAUSE);
        loop {
            let found = self.with_id(&node.id).await?;
            let state = found.as_ref().and_then(|found| found.state()?.name());
            if matches!(state, None | Some(InstanceStateName::Terminated)) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Failed {
                    provider: NAME.to_owned(),
                    what: format!("terminating `{}`", node.name),
                    cause: format!("not done after {} s", STATE_TIMEOUT.as_secs()),
                });
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(STATE_PAUSE_MOST);
        }
    }

    pub(super) async fn start_instance(&self, id: &str) -> Result<(), Error> {
        let client = self.client().await?;
        let started = client.start_instances().instance_ids(id).send().await;
        started.map_err(|error| explain(&format!("starting {id}"), &error))?;
        self.wait_until(id, &InstanceStateName::Running).await
    }

    pub(super) async fn stop(&self, id: &str) -> Result<(), Error> {
        let client = self.client().await?;
        let stopped = client.stop_instances().instance_ids(id).send().await;
        stopped.map_err(|error| explain(&format!("stopping {id}"), &error))?;
        self.wait_until(id, &InstanceStateName::Stopped).await
    }
    /// Looks at an instance again. One that was just created is looked for a while: EC2 may not know
    /// its own id yet.
    pub(super) async fn look_at_new(&self, node: &Node) -> Result<Node, Error> {
        let (begun, mut pause) = (Instant::now(), STATE_PAUSE);
        let age = node.created.map(|at| Timestamp::now().duration_since(at));
        let is_new = age.is_some_and(|age| age.as_secs() < NEW.as_secs().cast_signed());
        loop {
            match look_again(self, node).await {
                Err(Error::Gone { .. }) if is_new && begun.elapsed() < VISIBLE_TIMEOUT => {
                    if self.why_gone(node).await.is_some() {
                        return Err(node.gone());
                    }
                }
                found => return found,
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(STATE_PAUSE_MOST);
        }
    }
}

/// Whether an instance is terminated, or on its way there.
pub(super) fn is_ended(instance: &Instance) -> bool {
    let state = instance.state().and_then(|state| state.name());
    matches!(
        state,
        Some(InstanceStateName::Terminated | InstanceStateName::ShuttingDown)
    )
}
