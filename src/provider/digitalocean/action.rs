//! Actions on droplets: they take from seconds to hours, and a droplet has one at a time.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    DigitalOcean,
    client::gone_is_fine,
    failed,
    wire::{Action, Droplet},
};
use crate::{
    http::ApiRequest,
    provider::{Error, Node},
};

/// How long an action may take. A resize copies the disk: it is not given up, because the droplet is off
/// meanwhile.
const ACTION_TIMEOUT: Duration = Duration::from_hours(24);

/// How long another action may keep a droplet from being changed.
const PENDING_TIMEOUT: Duration = Duration::from_mins(15);

/// How long the API may be out of order while an action is waited for.
const OUTAGE_TIMEOUT: Duration = Duration::from_mins(15);

/// How long a droplet that is gone may be listed.
const LISTED_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a droplet may take to shut down before it is powered off: the action, which may first wait for
/// another one, and afterwards the droplet.
const SHUTDOWN_ACTION_TIMEOUT: Duration = Duration::from_mins(20);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_mins(1);

/// Pauses between polls: short ones at first.
pub(super) struct Polls {
    end: Instant,
    pause: Duration,
}

impl Polls {
    pub fn new(timeout: Duration) -> Self {
        Polls {
            end: Instant::now() + timeout,
            pause: Duration::from_millis(200),
        }
    }

    /// Waits for the next poll. Returns whether there is time left for it.
    pub async fn next(&mut self) -> bool {
        if Instant::now() > self.end {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 3 / 2).min(Duration::from_secs(5));
        true
    }
}

impl DigitalOcean {
    /// Starts an action on a droplet and waits until it completes.
    pub(super) async fn act(&self, node: &Node, body: Json) -> Result<(), Error> {
        let path = format!("/v2/droplets/{}/actions", node.id);
        let what = body["type"].as_str().unwrap_or_default();
        let what = format!("{what} of `{}`", node.name);
        self.act_at(&path, body, &path, &what).await
    }

    /// Starts an action by a request to `path`, and waits until it completes. Its state is below `state`.
    pub(super) async fn act_at(
        &self,
        path: &str,
        body: Json,
        state: &str,
        what: &str,
    ) -> Result<(), Error> {
        let request = ApiRequest::post(path, body);
        let mut polls = Polls::new(PENDING_TIMEOUT);
        let action: Action = loop {
            match self.read(request.clone(), "action").await {
                Err(error) if is_pending(&error) && polls.next().await => {}
                answer => break answer?,
            }
        };
        self.watch(action, state, what).await
    }

    /// Waits until an action completes. Its state is below `state`.
    pub(super) async fn watch(
        &self,
        mut action: Action,
        state: &str,
        what: &str,
    ) -> Result<(), Error> {
        let path = format!("{state}/{}", action.id);
        let mut polls = Polls::new(ACTION_TIMEOUT);
        let mut last_answer = Instant::now();
        loop {
            match action.status.as_str() {
                "completed" => return Ok(()),
                "in-progress" if polls.next().await => {}
                "in-progress" => {
                    let cause = format!("not done after {} s", ACTION_TIMEOUT.as_secs());
                    return Err(failed(what, &cause));
                }
                other => return Err(failed(what, &format!("its status is `{other}`"))),
            }
            match self.read(ApiRequest::get(&path), "action").await {
                Ok(now) => (action, last_answer) = (now, Instant::now()),
                Err(error) if is_outage(&error) && last_answer.elapsed() < OUTAGE_TIMEOUT => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn droplet(&self, node: &Node) -> Result<Droplet, Error> {
        self.with_id(&node.id).await?.ok_or_else(|| node.gone())
    }

    /// The droplet with this id. None if it does not exist any more.
    pub(super) async fn with_id(&self, id: &str) -> Result<Option<Droplet>, Error> {
        let path = format!("/v2/droplets/{id}");
        match self.read(ApiRequest::get(path), "droplet").await {
            Err(Error::Api(error, _)) if error.status() == Some(404) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Deletes a droplet, and waits until it is gone and no longer listed: an answer 204 to DELETE only means
    /// that the request was accepted (terraform-provider-digitalocean #283).
    pub(super) async fn destroy(&self, node: &Node) -> Result<(), Error> {
        let path = format!("/v2/droplets/{}", node.id);
        let mut polls = Polls::new(PENDING_TIMEOUT);
        loop {
            match self.ask(ApiRequest::delete(&path)).await {
                // Another run may be deleting it: then it will be gone.
                Err(error) if is_pending(&error) && polls.next().await => {}
                answer => {
                    gone_is_fine(answer)?;
                    break;
                }
            }
        }
        self.wait_until_gone(&node.id, &node.name).await?;
        let mut polls = Polls::new(LISTED_TIMEOUT);
        let is_it = |droplet: &Droplet| droplet.id.to_string() == node.id;
        loop {
            // It is gone in any case.
            let Ok(listed) = self.listed.since(Instant::now(), || self.droplets()).await else {
                return Ok(());
            };
            if !listed.iter().any(is_it) || !polls.next().await {
                return Ok(());
            }
        }
    }

    /// Waits until a droplet that is being deleted is gone.
    pub(super) async fn wait_until_gone(&self, id: &str, name: &str) -> Result<(), Error> {
        let mut polls = Polls::new(PENDING_TIMEOUT);
        while self.with_id(id).await?.is_some() {
            if !polls.next().await {
                let cause = format!("not done after {} s", PENDING_TIMEOUT.as_secs());
                return Err(failed(&format!("terminating `{name}`"), &cause));
            }
        }
        Ok(())
    }

    /// Whether a droplet is being deleted. Its status does not say so.
    pub(super) async fn is_dying(&self, droplet: &Droplet) -> Result<bool, Error> {
        if !droplet.locked {
            return Ok(false);
        }
        let path = format!("/v2/droplets/{}/actions?", droplet.id);
        let actions: Vec<Action> = self.all(&path, "actions").await?;
        Ok(actions
            .iter()
            .any(|action| action.kind == "destroy" && action.status == "in-progress"))
    }

    /// Shuts a droplet down, and powers it off if that takes too long.
    async fn stop(&self, node: &Node) -> Result<(), Error> {
        if self.droplet(node).await?.status == "off" {
            return Ok(());
        }
        // If that fails or takes too long, the droplet is powered off below.
        let shutdown = self.act(node, json!({"type": "shutdown"}));
        let _ = timeout(SHUTDOWN_ACTION_TIMEOUT, shutdown).await;
        let mut polls = Polls::new(SHUTDOWN_TIMEOUT);
        loop {
            if self.droplet(node).await?.status == "off" {
                return Ok(());
            }
            if !polls.next().await {
                return self.act(node, json!({"type": "power_off"})).await;
            }
        }
    }

    /// Stops a droplet, changes its size, and starts it again, whatever comes of it.
    pub(super) async fn resize_stopped(&self, node: &Node, size: &str) -> Result<(), Error> {
        let resized = async {
            self.stop(node).await?;
            // Without its disk, so that it can become smaller again.
            let resize = json!({"type": "resize", "size": size, "disk": false});
            self.act(node, resize).await
        }
        .await;
        let started = async {
            if self.droplet(node).await?.status == "active" {
                return Ok(());
            }
            self.act(node, json!({"type": "power_on"})).await
        }
        .await;
        let Err(cause) = started else {
            return match resized {
                // A response was lost, and DigitalOcean changed the size.
                Err(error) if is_outage(&error) && self.droplet(node).await?.size_slug == size => {
                    Ok(())
                }
                resized => resized,
            };
        };
        let first = resized
            .err()
            .map_or(String::new(), |error| format!("{error}; "));
        let cause = format!(
            "{first}it could not be started: {cause}; `hitc run -H {} reboot` starts it",
            node.name
        );
        Err(failed(&format!("resizing `{}`", node.name), &cause))
    }
}

/// Whether another action keeps a droplet from being changed. The request was not executed
/// (terraform-provider-digitalocean #361).
fn is_pending(error: &Error) -> bool {
    matches!(error, Error::Api(error, _)
        if error.status() == Some(422) && error.to_string().contains("pending event"))
}

/// Whether an error may pass.
fn is_outage(error: &Error) -> bool {
    let Error::Api(error, _) = error else {
        return false;
    };
    error
        .status()
        .is_none_or(|status| status >= 500 || status == 429)
}
