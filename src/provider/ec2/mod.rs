//! EC2's instances, by AWS's SDK.
//!
//! Tags, which the creating call sets, hold a server's name, prefix, owner, state and the image in the
//! user's words. A creating call carries an idempotency token. hitc keeps the token in a file until it
//! knows the outcome, so that a run after a crash asks for the same instance.

mod account;
mod address;
mod check;
mod client;
mod cost;
mod group;
mod image;
mod options;
mod order;
mod partition;
mod prices;
mod saved_image;
mod server_group;
mod spot;
mod state;
mod token;
mod volume;

use std::{collections::HashMap, env, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
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
use order::{Common, Order};
use partition::Partition;
use state::is_ended;
use token::Token;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    Address, CloudFirewall, Cost, Create, CreateImage, CreateVolume, Error, Finding, Node,
    NodeState, Prices, Provider, SavedImage, ServerChange, Volume, differences, look_again,
    refuse_duplicates, refuse_other_server, refuse_protected, tag as tags,
};
use crate::{
    core::{
        event::{Activity, Events},
        memo::Shared,
        owner::Owner,
        value::{Invalid, Value},
    },
    iptables::Firewall,
    project::Project,
    ssh::{KeyPair, Login},
};

/// The provider's name.
const NAME: &str = "ec2";

/// The tags of an instance.
const TAG_NAME: &str = "Name";
const TAG_PREFIX: &str = "hitc:prefix";
const TAG_STATE: &str = "hitc:state";
const TAG_PROJECT: &str = "hitc:project";
const TAG_MANIFEST: &str = "hitc:manifest";
const TAG_IMAGE: &str = "hitc:image";
const TAG_USER: &str = "hitc:user";
const TAG_PROTECT: &str = "hitc:protect";

/// The tag of what is not an instance. It tells a disk from the root disks of instances, which carry
/// their instance's tags.
const TAG_KIND: &str = "hitc:kind";

/// The code of the error that an instance does not exist.
const NO_INSTANCE: &str = "InvalidInstanceID.NotFound";

/// The user of an instance whose tag does not name one.
const USER: &str = "ec2-user";

/// The EC2 provider.
pub struct Ec2 {
    name: String,
    /// The region, if it is not the one of AWS's own settings.
    region: Option<String>,
    prefix: String,
    data: PathBuf,
    home: PathBuf,
    events: Events,
    /// The user's project, whose images its orders may name.
    project: Option<Project>,
    reached: OnceCell<Result<Arc<Reached>, Error>>,
    /// What orders of one run have in common.
    common: Common,
    /// The instances, for all who look for a name at the same time.
    listed: Shared<Vec<Instance>>,
}

/// The client and its settings.
struct Reached {
    settings: SdkConfig,
    client: Client,
}

impl Ec2 {
    /// The instances with this name prefix, in the region of AWS's own settings. hitc's key is in the
    /// folder `data`, AWS's configuration below `home`. Its credentials are masked in `events`.
    pub fn new(prefix: impl Into<String>, data: PathBuf, home: PathBuf, events: Events) -> Self {
        Ec2 {
            name: NAME.to_owned(),
            region: None,
            prefix: prefix.into(),
            data,
            home,
            events,
            project: None,
            reached: OnceCell::new(),
            common: Common::default(),
            listed: Shared::default(),
        }
    }

    /// The instances of a region: a provider of its own, `ec2:REGION`.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Ec2 {
            name: format!("{NAME}:{region}"),
            region: Some(region.to_owned()),
            project: self.project.clone(),
            ..Ec2::new(
                self.prefix.clone(),
                self.data.clone(),
                self.home.clone(),
                self.events.clone(),
            )
        }
    }

    /// The same for the servers of a project, which may be created from its images.
    #[must_use]
    pub fn of_project(self, project: Project) -> Self {
        let project = Some(project);
        Ec2 { project, ..self }
    }

    async fn reached(&self) -> Result<Arc<Reached>, Error> {
        let reach = || async {
            let settings = settings(&self.home, self.region.as_deref(), &self.events).await?;
            let client = client(&settings);
            Ok(Arc::new(Reached { settings, client }))
        };
        self.reached.get_or_init(reach).await.clone()
    }

    async fn client(&self) -> Result<Client, Error> {
        Ok(self.reached().await?.client.clone())
    }

    /// The partition of the region.
    async fn partition(&self) -> Result<Partition, Error> {
        let reached = self.reached().await?;
        let region = reached.settings.region();
        Ok(Partition::of(region.map_or("", |region| region.as_ref())))
    }

    /// The instances that match these filters, without terminated ones.
    async fn instances(&self, filters: Vec<Filter>) -> Result<Vec<Instance>, Error> {
        let client = self.client().await?;
        let mut tried = 1;
        loop {
            match Ec2::instances_once(&client, filters.clone()).await {
                // The SDK does not retry after a response that it cannot decode.
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

    /// The instance of this name, if it exists. Two of one name are an error.
    async fn named(&self, name: &str) -> Result<Option<Instance>, Error> {
        let full = format!("{}{name}", self.prefix);
        let filters = vec![by("tag:hitc:prefix", &self.prefix)];
        let all = self
            .listed
            .since(Instant::now(), || self.instances(filters))
            .await?;
        let mut found = all
            .iter()
            .filter(|found| tag(found, TAG_NAME) == Some(&full));
        let nodes: Vec<Node> = found.clone().filter_map(|found| self.node(found)).collect();
        refuse_duplicates(&nodes)?;
        Ok(found.next().cloned())
    }

    /// The instance with this id, also while it is being terminated and for about an hour after.
    async fn with_id(&self, id: &str) -> Result<Option<Instance>, Error> {
        let client = self.client().await?;
        let asked = client.describe_instances().instance_ids(id).send().await;
        let reservations = match asked {
            Ok(answer) => answer.reservations.unwrap_or_default(),
            Err(error) if code(&error) == NO_INSTANCE => Vec::new(),
            Err(error) => return Err(explain(&format!("looking at {id}"), &error)),
        };
        let mut instances = reservations.into_iter().filter_map(|found| found.instances);
        Ok(instances.next().and_then(|found| found.into_iter().next()))
    }

    fn node(&self, instance: &Instance) -> Option<Node> {
        let full = tag(instance, TAG_NAME)?;
        let name = tags::name_of(full, &self.prefix, tag(instance, TAG_PREFIX))?;
        let noted = |key: &str| tag(instance, key).map(str::to_owned);
        let settled = tag(instance, TAG_STATE);
        let state = instance.state().and_then(|state| state.name());
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let launched = instance.launch_time();
        let node = Node {
            provider: self.name.clone(),
            name: name.to_owned(),
            id: text(instance.instance_id()),
            size: text(instance.instance_type().map(InstanceType::as_str)),
            image: text(tag(instance, TAG_IMAGE).or(instance.image_id())),
            region: text(instance.placement().and_then(|p| p.availability_zone())),
            // An instance in a private subnet has no public address.
            ip: instance
                .public_ip_address()
                .or(instance.private_ip_address())
                .and_then(Address::parse_ip),
            internal_ip: instance.private_ip_address().and_then(Address::parse_ip),
            state: match (state, settled) {
                (Some(InstanceStateName::Running), Some("failed")) => NodeState::Failed,
                (Some(InstanceStateName::Running), Some("creating")) => NodeState::Unfinished,
                (Some(InstanceStateName::Running), _) => NodeState::Running,
                (Some(InstanceStateName::Pending), _) => NodeState::Creating,
                (Some(InstanceStateName::Stopping), _) => NodeState::Stopping,
                _ => NodeState::Stopped,
            },
            created: launched.and_then(|at| Timestamp::from_second(at.secs()).ok()),
            owner: tags::ownership(noted(TAG_PROJECT), noted(TAG_MANIFEST)),
            user: noted(TAG_USER),
            is_protected: tag(instance, TAG_PROTECT).is_some(),
            container: None,
        };
        Some(node.of_cloud())
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

    /// The instance type of this name.
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
}

#[async_trait]
impl Provider for Ec2 {
    fn name(&self) -> &str {
        &self.name
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        Options::decode(options).map(drop)
    }

    async fn quote(&self, name: &str, options: &Value) -> Result<Cost, Error> {
        let options = Options::decode(options)?;
        let order = Order::new(self, &options).await?;
        order.check().await?;
        if let Some(address) = &options.address {
            let existing = self.named(name).await?;
            let own = existing.as_ref().and_then(Instance::instance_id);
            self.check_address(address, own).await?;
        }
        self.cost(&order).await
    }

    async fn costs(&self, nodes: &[Node]) -> Result<Vec<Cost>, Error> {
        self.present_costs(nodes).await
    }

    async fn check_account(&self) -> Result<Vec<Finding>, Error> {
        self.try_account().await
    }

    async fn prices(&self, options: &Value) -> Result<Prices, Error> {
        // Any valid option of a server is accepted, though none changes the list.
        Options::decode(options)?;
        Box::pin(self.price_list()).await
    }

    async fn cache_key(&self) -> Option<String> {
        let reached = self.reached().await.ok()?;
        let settings = &reached.settings;
        let credentials = settings.credentials_provider()?;
        let credentials = credentials.provide_credentials().await.ok()?;
        let region = settings.region().map(ToString::to_string);
        Some(format!(
            "{}\n{}\n{}\n{}",
            self.prefix,
            settings.endpoint_url().unwrap_or_default(),
            region.unwrap_or_default(),
            credentials.access_key_id()
        ))
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let filters = vec![by("tag:hitc:prefix", &self.prefix)];
        let instances = self.instances(filters).await?;
        Ok(instances
            .iter()
            .filter_map(|found| self.node(found))
            .collect())
    }

    async fn find(&self, node: &Node) -> Result<Option<Node>, Error> {
        let found = self.with_id(&node.id).await?;
        let Some(instance) = found.filter(|instance| !is_ended(instance)) else {
            return Ok(None);
        };
        if let Some(found) = self.node(&instance) {
            return Ok(Some(found));
        }
        Err(node.unrecognized(match tag(&instance, TAG_NAME) {
            Some(full) => tags::no_name_cause(full, &self.prefix, tag(&instance, TAG_PREFIX)),
            None => format!("its tag `{TAG_NAME}` is missing"),
        }))
    }

    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error> {
        let options = Options::decode(&create.options)?;
        let found = match self.named(&create.name).await? {
            Some(found) => {
                Token::forget_of(self, &create.name);
                found
            }
            None => {
                activity.update("ordering");
                Order::new(self, &options).await?.place(create).await?
            }
        };
        let node = self.node(&found).ok_or_else(|| Error::Failed {
            provider: NAME.to_owned(),
            what: format!("creating `{}`", create.name),
            cause: "the provider created a different server than requested".to_owned(),
        })?;
        refuse_other_server(&node, create)?;
        if tag(&found, TAG_STATE) == Some("failed") {
            self.set_tag(&node.id, TAG_STATE, "creating").await?;
        }
        let Some(address) = &options.address else {
            return Ok(node);
        };
        activity.update(format!("waiting until it can have {address}"));
        self.associate(&node.id, address).await?;
        // It has another address now.
        look_again(self, &node).await
    }

    async fn settle(&self, node: &Node, is_ready: bool) -> Result<(), Error> {
        // Until now, a run that is killed may leave an instance that is not listed yet.
        Token::forget_of(self, &node.name);
        let state = if is_ready { "ready" } else { "failed" };
        self.set_tag(&node.id, TAG_STATE, state).await
    }

    async fn why_gone(&self, node: &Node) -> Option<String> {
        let instance = self.with_id(&node.id).await.ok()??;
        if !is_ended(&instance) {
            return None;
        }
        let reason = instance.state_reason().and_then(|reason| reason.message());
        Some(reason.unwrap_or("EC2 does not say why").to_owned())
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        let client = self.client().await?;
        match self.look_at_new(node).await {
            Ok(found) => {
                refuse_protected([&found])?;
                let ended = client
                    .terminate_instances()
                    .instance_ids(&node.id)
                    .send()
                    .await;
                match ended {
                    // A response that cannot be decoded still says that EC2 accepted the request.
                    Err(error) if code(&error) == NO_INSTANCE || is_garbled(&error) => {}
                    Err(error) => {
                        return Err(explain(&format!("terminating `{}`", node.name), &error));
                    }
                    Ok(_) => {}
                }
            }
            Err(Error::Gone { .. }) => {}
            Err(error) => return Err(error),
        }
        // The next order of this name is another one.
        Token::forget_of(self, &node.name);
        self.wait_until_gone(node).await?;
        self.delete_group(&node.id).await
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        if look_again(self, node).await?.state.is_off() {
            return self.start_instance(&node.id).await;
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

    async fn start(&self, node: &Node) -> Result<(), Error> {
        look_again(self, node).await?;
        // Does nothing to an instance that runs.
        self.start_instance(&node.id).await
    }

    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error> {
        look_again(self, node).await?;
        let full = format!("{}{name}", self.prefix);
        self.set_tag(&node.id, TAG_NAME, &full).await
    }

    async fn adopt(&self, node: &Node, owner: &Owner) -> Result<(), Error> {
        look_again(self, node).await?;
        let what = format!("tagging `{}`", node.name);
        let client = self.client().await?;
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        // Deletes it first: with the new project and the old manifest, another manifest of the
        // project would own it.
        if owner.manifest.is_none() && node.owner.manifest().is_some() {
            let deleted = client
                .delete_tags()
                .resources(&node.id)
                .tags(Tag::builder().key(TAG_MANIFEST).build())
                .send()
                .await;
            deleted.map_err(|error| explain(&what, &error))?;
        }
        let mut tags = vec![
            tag(TAG_PROJECT, &owner.project),
            tag(TAG_PREFIX, &self.prefix),
        ];
        tags.extend(
            owner
                .manifest
                .iter()
                .map(|manifest| tag(TAG_MANIFEST, manifest)),
        );
        let done = client
            .create_tags()
            .resources(&node.id)
            .set_tags(Some(tags))
            .send()
            .await;
        done.map(drop).map_err(|error| explain(&what, &error))
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        let wanted = Options::decode(options)?;
        // Without a placement, any zone is right.
        let zone = wanted.placement.unwrap_or_else(|| node.region.clone());
        Ok(differences([
            ("size", &node.size, &wanted.size, true),
            ("image", &node.image, &wanted.image, false),
            ("placement", &node.region, &zone, false),
        ]))
    }

    async fn check_resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        let size = Options::decode(options)?.size;
        let info = self.size(&size).await?;
        let found = self.with_id(&node.id).await?;
        let has = found.as_ref().and_then(|instance| instance.architecture());
        let fits = info.processor_info().is_none_or(|processor| {
            let mut known = processor.supported_architectures().iter();
            known.any(|known| has.is_none_or(|has| has.as_str() == known.as_str()))
        });
        if !fits {
            return Err(Error::invalid(
                format!(
                    "size `{size}` has another processor architecture than `{}`",
                    node.name
                ),
                Some("create a new server of that size".to_owned()),
            ));
        }
        Ok(())
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        look_again(self, node).await?;
        self.check_resize(node, options).await?;
        let size = Options::decode(options)?.size;
        let resized = async {
            self.stop(&node.id).await?;
            let client = self.client().await?;
            client
                .modify_instance_attribute()
                .instance_id(&node.id)
                .instance_type(AttributeValue::builder().value(&size).build())
                .send()
                .await
                .map(drop)
                .map_err(|error| explain(&format!("resizing `{}`", node.name), &error))
        }
        .await;
        // It runs again even if that failed.
        let Err(cause) = self.start_instance(&node.id).await else {
            return resized;
        };
        let first = resized
            .err()
            .map_or(String::new(), |error| format!("{error}; "));
        Err(Error::Failed {
            provider: NAME.to_owned(),
            what: format!("resizing `{}`", node.name),
            cause: format!(
                "{first}it could not be started: {cause}; `hitc run -H {} reboot` starts it",
                node.name
            ),
        })
    }

    fn has_firewalls(&self) -> bool {
        true
    }

    async fn firewalls(&self, nodes: &[Node]) -> Result<HashMap<String, CloudFirewall>, Error> {
        self.group_firewalls(nodes).await
    }

    async fn set_firewall(&self, node: &Node, wanted: &Firewall) -> Result<(), Error> {
        self.set_group(node, wanted).await
    }

    async fn images(&self) -> Result<Vec<SavedImage>, Error> {
        self.saved_images().await
    }

    async fn create_image(
        &self,
        create: &CreateImage,
        activity: &Activity,
    ) -> Result<SavedImage, Error> {
        if let Some(unfinished) = &create.unfinished {
            return Ok(unfinished.clone());
        }
        activity.update("ordering");
        self.make_image(create).await
    }

    async fn delete_image(&self, image: &SavedImage) -> Result<(), Error> {
        self.deregister(image).await
    }

    async fn console(&self, node: &Node) -> Result<String, Error> {
        self.console_output(node).await
    }

    async fn volumes(&self) -> Result<Vec<Volume>, Error> {
        self.list_volumes().await
    }

    async fn find_volume(&self, volume: &Volume) -> Result<Option<Volume>, Error> {
        self.volume_again(volume).await
    }

    async fn create_volume(&self, create: &CreateVolume) -> Result<Volume, Error> {
        self.order_volume(create).await
    }

    async fn attach_volume(&self, volume: &Volume, node: &Node) -> Result<Volume, Error> {
        self.attach_ebs(volume, node).await
    }

    async fn detach_volume(&self, volume: &Volume) -> Result<(), Error> {
        self.detach_ebs(volume).await
    }

    async fn grow_volume(&self, volume: &Volume, size: u32) -> Result<(), Error> {
        self.grow_ebs(volume, size).await
    }

    async fn delete_volume(&self, volume: &Volume) -> Result<(), Error> {
        self.delete_ebs(volume).await
    }

    fn adopt_volume_help(&self, volume: &Volume, owner: &Owner) -> String {
        format!(
            "run `aws ec2 create-tags --resources {} --tags Key={TAG_PROJECT},Value={}`",
            volume.id, owner.project
        )
    }

    async fn login(&self, node: &Node) -> Result<Login, Error> {
        let identity = match env::var_os("AWS_SSH_KEY_FILENAME") {
            Some(path) => PathBuf::from(path),
            None => self.key()?.path,
        };
        Ok(Login {
            name: node.name.clone(),
            address: node.ip_text(),
            user: node.user.clone().or_else(|| Some(USER.to_owned())),
            identity: Some(identity),
            // AWS reuses addresses, but never ids.
            host_key_alias: Some(format!("{NAME}-{}", node.id)),
            ..Login::default()
        })
    }

    async fn set_up(&self, activity: &Activity) -> Result<(), Error> {
        activity.update("listing instances");
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
