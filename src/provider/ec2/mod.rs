//! EC2's instances, by AWS's own library.
//!
//! What a server is, is in its tags, which the creating call sets: its name, our prefix, that it is
//! being made, its manifest, the image in the user's words. A creating call carries a token, kept
//! in a file until it is known what came of it, so that who died after it asks for the same
//! instance again.

mod client;
mod image;
mod options;
mod order;
mod prices;
mod spot;
mod volume;

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ec2::{
    Client,
    error::SdkError,
    operation::describe_instances::DescribeInstancesError,
    types::{
        AttributeValue, Filter, Instance, InstanceStateName, InstanceType, InstanceTypeInfo, Tag,
    },
};
use client::{TRIES, client, code, explain, is_garbled, settings};
use jiff::Timestamp;
use options::Options;
use order::{Order, Token};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};
pub use volume::Volume;

use super::{Cost, Create, Error, Node, NodeState, Prices, Provider, ServerChange, differences};
use crate::{
    core::{
        event::Activity,
        value::{Invalid, Value},
    },
    ssh::{KeyPair, Login},
};

/// The provider's name.
const NAME: &str = "ec2";

/// The tags of an instance.
const TAG_NAME: &str = "Name";
const TAG_PREFIX: &str = "hitc:prefix";
const TAG_STATE: &str = "hitc:state";
const TAG_MANIFEST: &str = "hitc:manifest";
const TAG_IMAGE: &str = "hitc:image";
const TAG_USER: &str = "hitc:user";
const TAG_PROTECT: &str = "hitc:protect";

/// How long an instance may take to stop or to start.
const STATE_TIMEOUT: Duration = Duration::from_mins(10);
const STATE_PAUSE: Duration = Duration::from_millis(500);
const STATE_PAUSE_MOST: Duration = Duration::from_secs(5);

/// The EC2 provider.
pub struct Ec2 {
    prefix: String,
    data: PathBuf,
    home: PathBuf,
    reached: OnceCell<Result<Arc<Reached>, Error>>,
}

/// What it takes to ask.
struct Reached {
    settings: SdkConfig,
    client: Client,
}

impl Ec2 {
    /// Instances whose names begin with `prefix`. hitc's key is in `data`, AWS's configuration below
    /// `home`.
    pub fn new(prefix: impl Into<String>, data: PathBuf, home: PathBuf) -> Self {
        Ec2 {
            prefix: prefix.into(),
            data,
            home,
            reached: OnceCell::new(),
        }
    }

    async fn reached(&self) -> Result<Arc<Reached>, Error> {
        let reach = || async {
            let settings = settings(&self.home).await?;
            let client = client(&settings);
            Ok(Arc::new(Reached { settings, client }))
        };
        self.reached.get_or_init(reach).await.clone()
    }

    async fn client(&self) -> Result<Client, Error> {
        Ok(self.reached().await?.client.clone())
    }

    /// The instances that these filters let through, without those that were ended.
    async fn instances(&self, filters: Vec<Filter>) -> Result<Vec<Instance>, Error> {
        let client = self.client().await?;
        let mut tried = 1;
        loop {
            match Ec2::instances_once(&client, filters.clone()).await {
                // An answer that cannot be read, which the library does not ask for again.
                Err(error) if is_garbled(&error) && tried < TRIES => tried += 1,
                Err(error) => return Err(explain("listing instances", &error)),
                Ok(instances) => return Ok(instances),
            }
        }
    }

    async fn instances_once(
        client: &Client,
        filters: Vec<Filter>,
    ) -> Result<Vec<Instance>, SdkError<DescribeInstancesError>> {
        let alive = ["pending", "running", "stopping", "stopped"].map(str::to_owned);
        let mut pages = client
            .describe_instances()
            .set_filters(Some(filters))
            .filters(
                Filter::builder()
                    .name("instance-state-name")
                    .set_values(Some(alive.to_vec()))
                    .build(),
            )
            .max_results(1000)
            .into_paginator()
            .send();
        let mut instances = Vec::new();
        while let Some(page) = pages.next().await {
            for reservation in page?.reservations.unwrap_or_default() {
                instances.extend(reservation.instances.unwrap_or_default());
            }
        }
        Ok(instances)
    }

    /// Our instance of this name, if there is one.
    async fn find(&self, name: &str) -> Result<Option<Instance>, Error> {
        let full = format!("{}{name}", self.prefix);
        let filters = vec![by("tag:Name", &full), by("tag:hitc:prefix", &self.prefix)];
        Ok(self.instances(filters).await?.into_iter().next())
    }

    fn node(&self, instance: &Instance) -> Option<Node> {
        let name = tag(instance, TAG_NAME)?.strip_prefix(&self.prefix)?;
        let settled = tag(instance, TAG_STATE);
        let state = instance.state().and_then(|state| state.name());
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let launched = instance.launch_time();
        Some(Node {
            provider: NAME.to_owned(),
            name: name.to_owned(),
            id: text(instance.instance_id()),
            size: text(instance.instance_type().map(InstanceType::as_str)),
            image: text(tag(instance, TAG_IMAGE).or(instance.image_id())),
            region: text(instance.placement().and_then(|p| p.availability_zone())),
            // In a network of its own an instance has no other.
            ip: text(
                instance
                    .public_ip_address()
                    .or(instance.private_ip_address()),
            ),
            internal_ip: text(instance.private_ip_address()),
            state: match (state, settled) {
                (Some(InstanceStateName::Running), Some("failed")) => NodeState::Failed,
                (Some(InstanceStateName::Running), Some("creating")) => NodeState::Unfinished,
                (Some(InstanceStateName::Running), _) => NodeState::Running,
                (Some(InstanceStateName::Pending), _) => NodeState::Creating,
                _ => NodeState::Stopped,
            },
            created: launched.and_then(|at| Timestamp::from_second(at.secs()).ok()),
            manifest: tag(instance, TAG_MANIFEST).map(str::to_owned),
            is_protected: tag(instance, TAG_PROTECT).is_some(),
        })
    }

    async fn set_tag(&self, id: &str, key: &str, value: &str) -> Result<(), Error> {
        let done = self
            .client()
            .await?
            .create_tags()
            .resources(id)
            .tags(Tag::builder().key(key).value(value).build())
            .send()
            .await;
        done.map(drop)
            .map_err(|error| explain(&format!("tagging {id}"), &error))
    }

    /// The type of instance of that name.
    async fn size(&self, name: &str) -> Result<InstanceTypeInfo, Error> {
        let client = self.client().await?;
        let asked = client
            .describe_instance_types()
            .instance_types(name.into())
            .send()
            .await;
        let found = match asked {
            Ok(answer) => answer.instance_types.unwrap_or_default(),
            Err(error) if code(&error).starts_with("InvalidInstanceType") => Vec::new(),
            Err(error) => return Err(explain("looking for the size", &error)),
        };
        match found.into_iter().next() {
            Some(size) => Ok(size),
            None => {
                let all = self.sizes().await?;
                let known = all
                    .iter()
                    .filter_map(|size| Some(size.instance_type()?.as_str()));
                let list = "`hitc run pricing provider=ec2` lists the sizes";
                Err(Error::missing("size", name, known, Some(list)))
            }
        }
    }

    async fn sizes(&self) -> Result<Vec<InstanceTypeInfo>, Error> {
        let mut items = self
            .client()
            .await?
            .describe_instance_types()
            .max_results(100)
            .into_paginator()
            .items()
            .send();
        let mut sizes = Vec::new();
        while let Some(size) = items.next().await {
            sizes.push(size.map_err(|error| explain("listing the sizes", &error))?);
        }
        Ok(sizes)
    }

    /// Waits until an instance is in this state.
    async fn wait_until(&self, id: &str, wanted: &InstanceStateName) -> Result<(), Error> {
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
                    cause: format!("it is not after {} s", STATE_TIMEOUT.as_secs()),
                });
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(STATE_PAUSE_MOST);
        }
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        let client = self.client().await?;
        let started = client.start_instances().instance_ids(id).send().await;
        started.map_err(|error| explain(&format!("starting {id}"), &error))?;
        self.wait_until(id, &InstanceStateName::Running).await
    }

    async fn stop(&self, id: &str) -> Result<(), Error> {
        let client = self.client().await?;
        let stopped = client.stop_instances().instance_ids(id).send().await;
        stopped.map_err(|error| explain(&format!("stopping {id}"), &error))?;
        self.wait_until(id, &InstanceStateName::Stopped).await
    }

    /// Who is let in to an instance.
    async fn user(&self, id: &str) -> Result<String, Error> {
        let found = self.instances(vec![by("instance-id", id)]).await?;
        let user = found.first().and_then(|found| tag(found, TAG_USER));
        Ok(user.unwrap_or("ec2-user").to_owned())
    }
}

#[async_trait]
impl Provider for Ec2 {
    fn name(&self) -> &str {
        NAME
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        Options::decode(options).map(drop)
    }

    async fn quote(&self, _: &str, options: &Value) -> Result<Cost, Error> {
        let options = Options::decode(options)?;
        let order = Order::new(self, &options).await?;
        order.check().await?;
        self.cost(&options).await
    }

    async fn prices(&self, options: &Value) -> Result<Prices, Error> {
        // What could be said of a server is no error here.
        Options::decode(options)?;
        Box::pin(self.price_list()).await
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let filters = vec![by("tag:hitc:prefix", &self.prefix)];
        let instances = self.instances(filters).await?;
        Ok(instances
            .iter()
            .filter_map(|found| self.node(found))
            .collect())
    }

    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error> {
        let options = Options::decode(&create.options)?;
        let found = match self.find(&create.name).await? {
            Some(found) => {
                Token::forget_of(self, &create.name);
                if tag(&found, TAG_STATE) == Some("failed") {
                    let id = found.instance_id().unwrap_or_default();
                    self.set_tag(id, TAG_STATE, "creating").await?;
                }
                found
            }
            None => {
                activity.update("ordering");
                Order::new(self, &options).await?.place(create).await?
            }
        };
        self.node(&found).ok_or_else(|| Error::Failed {
            provider: NAME.to_owned(),
            what: format!("creating `{}`", create.name),
            cause: "what came is not what was ordered".to_owned(),
        })
    }

    async fn settle(&self, node: &Node, is_ready: bool) -> Result<(), Error> {
        let state = if is_ready { "ready" } else { "failed" };
        self.set_tag(&node.id, TAG_STATE, state).await
    }

    async fn why_gone(&self, node: &Node) -> Option<String> {
        let client = self.client().await.ok()?;
        let answer = client
            .describe_instances()
            .instance_ids(&node.id)
            .send()
            .await;
        let reservations = answer.ok()?.reservations.unwrap_or_default();
        let instance = reservations.first()?.instances().first()?.clone();
        match instance.state()?.name()? {
            InstanceStateName::Terminated | InstanceStateName::ShuttingDown => {
                let reason = instance.state_reason().and_then(|reason| reason.message());
                Some(reason.unwrap_or("EC2 does not say why").to_owned())
            }
            _ => None,
        }
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        let client = self.client().await?;
        Token::forget_of(self, &node.name);
        let ended = client
            .terminate_instances()
            .instance_ids(&node.id)
            .send()
            .await;
        match ended {
            Err(error) if code(&error) == "InvalidInstanceID.NotFound" => Ok(()),
            Err(error) => Err(explain(&format!("terminating `{}`", node.name), &error)),
            Ok(_) => Ok(()),
        }
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        if node.state == NodeState::Stopped {
            return self.start(&node.id).await;
        }
        let client = self.client().await?;
        let begun = client
            .reboot_instances()
            .instance_ids(&node.id)
            .send()
            .await;
        begun
            .map(drop)
            .map_err(|error| explain(&format!("rebooting `{}`", node.name), &error))
    }

    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error> {
        let full = format!("{}{name}", self.prefix);
        self.set_tag(&node.id, TAG_NAME, &full).await
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        let wanted = Options::decode(options)?;
        // Where nobody said, it may be anywhere.
        let zone = wanted.placement.unwrap_or_else(|| node.region.clone());
        Ok(differences([
            ("size", &node.size, &wanted.size, true),
            ("image", &node.image, &wanted.image, false),
            ("placement", &node.region, &zone, false),
        ]))
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        let size = Options::decode(options)?.size;
        let info = self.size(&size).await?;
        let found = self.instances(vec![by("instance-id", &node.id)]).await?;
        let has = found.first().and_then(|instance| instance.architecture());
        let fits = info.processor_info().is_none_or(|processor| {
            let mut known = processor.supported_architectures().iter();
            known.any(|known| has.is_none_or(|has| has.as_str() == known.as_str()))
        });
        if !fits {
            return Err(Error::invalid(
                format!(
                    "size: `{size}` has another kind of processor than `{}`",
                    node.name
                ),
                Some("make a new server of that size".to_owned()),
            ));
        }
        self.stop(&node.id).await?;
        let client = self.client().await?;
        let resized = client
            .modify_instance_attribute()
            .instance_id(&node.id)
            .instance_type(AttributeValue::builder().value(&size).build())
            .send()
            .await;
        // Whatever came of it, it runs again.
        self.start(&node.id).await?;
        resized
            .map(drop)
            .map_err(|error| explain(&format!("resizing `{}`", node.name), &error))
    }

    async fn login(&self, node: &Node) -> Result<Login, Error> {
        let identity = match env::var_os("AWS_SSH_KEY_FILENAME") {
            Some(path) => PathBuf::from(path),
            None => self.key()?.path,
        };
        Ok(Login {
            name: node.name.clone(),
            address: node.ip.clone(),
            user: Some(self.user(&node.id).await?),
            identity: Some(identity),
            // Addresses are given to others when an instance is gone; its id never is.
            host_key_alias: Some(format!("{NAME}-{}", node.id)),
            ..Login::default()
        })
    }

    async fn set_up(&self, activity: &Activity) -> Result<(), Error> {
        activity.update("asking EC2 what it has");
        self.list().await.map(drop)
    }
}

impl Ec2 {
    /// hitc's own key pair.
    fn key(&self) -> Result<KeyPair, Error> {
        Ok(KeyPair::ensure(&self.data.join("id_ed25519"))?)
    }
}

fn by(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn tag<'a>(instance: &'a Instance, key: &str) -> Option<&'a str> {
    let mut tags = instance.tags().iter();
    tags.find(|tag| tag.key() == Some(key))?.value()
}
