//! Servers that are containers of this machine's Docker Engine.
//!
//! Each has sshd, sudo, iptables and room for an engine of its own. They run without
//! `--privileged`, which some machines refuse. All state is the engine's: a server's name is its
//! container's, the rest is in labels.

mod image;

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    net::Ipv4Addr,
    path::PathBuf,
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    errors::Error as BollardError,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody, EndpointIpamConfig,
        EndpointSettings, HostConfig, Ipam, IpamConfig, NetworkCreateRequest, NetworkingConfig,
        RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
        InspectContainerOptions, InspectNetworkOptions, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
        RestartContainerOptionsBuilder, StartContainerOptions,
    },
};
use futures_util::TryStreamExt;
use image::{IMAGES, Image};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{Create, Error, Node, NodeState, Provider, ServerChange};
use crate::{
    diagnostic::did_you_mean,
    docker::{self, Change, Engine, format_bytes, parse_bytes},
    event::Activity,
    project::make_private_folder,
    ssh::{HostKey, KeyPair, PublicKey, Target},
    value::{Fields, Invalid, Value},
};

/// The provider's name.
const NAME: &str = "local";

/// The network of all local servers. Addresses on it are given out by us, so that a server keeps
/// its address over a reboot.
const NETWORK: &str = "hitc";

/// Marks a container as a local server and says with which prefix its name begins.
const LABEL_PREFIX: &str = "hitc.server.prefix";
/// The name of the image that a server was made from.
const LABEL_IMAGE: &str = "hitc.server.image";
/// The manifest that a server was made for.
const LABEL_MANIFEST: &str = "hitc.server.manifest";

const DEFAULT_IMAGE: &str = "debian-13";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

/// How long a server may take to make its host key, at its first boot.
const BOOT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the SSH connection to a server on this machine may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server has to stop, in seconds.
const STOP_TIMEOUT: i32 = 5;
const RETRY: Duration = Duration::from_millis(30);
/// How many addresses are tried for a server.
const ADDRESS_TRIES: usize = 20;

/// The local provider.
pub struct Local {
    prefix: String,
    data: PathBuf,
}

/// A server's size: processors and memory, `2x512m`. Without one there are no limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    nano_cpus: u64,
    memory: u64,
}

struct Options {
    size: Size,
    image: Image,
}

impl Local {
    /// Servers whose containers' names begin with `prefix`. Keys and locks are kept in `data`.
    pub fn new(prefix: impl Into<String>, data: PathBuf) -> Self {
        Local {
            prefix: prefix.into(),
            data,
        }
    }

    async fn engine(&self) -> Result<Engine, Error> {
        Engine::here().await.map_err(|error| Error::NotConfigured {
            provider: NAME,
            cause: error.to_string(),
            help: "`hitc run local.setup` installs and starts Docker on this machine".to_owned(),
        })
    }

    /// The key pair that all local servers admit.
    fn key(&self) -> Result<KeyPair, Error> {
        Ok(KeyPair::ensure(&self.data.join("id_ed25519"))?)
    }

    fn container_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Held while addresses are given out or images are made, so that two runs do not do the same
    /// thing twice.
    async fn lock(&self) -> Result<File, Error> {
        let path = self.data.join("local.lock");
        let folder = self.data.clone();
        tokio::task::spawn_blocking(move || {
            make_private_folder(&folder)?;
            let file = File::create(path)?;
            file.lock()?;
            Ok(file)
        })
        .await
        .map_err(std::io::Error::other)
        .and_then(|result| result)
        .map_err(|error| failed("taking the lock", error))
    }

    async fn inspect(
        &self,
        engine: &Engine,
        name: &str,
    ) -> Result<Option<ContainerInspectResponse>, Error> {
        match engine
            .api()
            .inspect_container(name, None::<InspectContainerOptions>)
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(BollardError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(None),
            Err(error) => Err(refusal(&format!("inspecting `{name}`"), &error)),
        }
    }

    /// Removes a container with its volumes; one that is gone already is fine.
    async fn remove(&self, engine: &Engine, name: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        match engine.api().remove_container(name, Some(options)).await {
            Ok(())
            | Err(BollardError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(()),
            Err(error) => Err(refusal(&format!("removing `{name}`"), &error)),
        }
    }

    /// All local servers of this machine, whatever their prefix.
    async fn all(&self, engine: &Engine) -> Result<Vec<ContainerInspectResponse>, Error> {
        let filters = HashMap::from([("label", vec![LABEL_PREFIX])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let listed = engine
            .api()
            .list_containers(Some(options))
            .await
            .map_err(|error| refusal("listing its servers", &error))?;
        let mut servers = Vec::new();
        for id in listed.into_iter().filter_map(|one| one.id) {
            servers.extend(self.inspect(engine, &id).await?);
        }
        Ok(servers)
    }

    fn node(&self, found: &ContainerInspectResponse) -> Option<Node> {
        let labels = found.config.as_ref()?.labels.as_ref()?;
        if labels.get(LABEL_PREFIX)? != &self.prefix {
            return None;
        }
        let name = found.name.as_ref()?.trim_start_matches('/');
        let host_config = found.host_config.as_ref()?;
        let unsigned = |n: Option<i64>| u64::try_from(n.unwrap_or_default()).unwrap_or(0);
        let size = Size {
            nano_cpus: unsigned(host_config.nano_cpus),
            memory: unsigned(host_config.memory),
        };
        let ip = address(found).map(|ip| ip.to_string()).unwrap_or_default();
        let status = found.state.as_ref()?.status?.to_string();
        Some(Node {
            provider: NAME,
            name: name.strip_prefix(&self.prefix)?.to_owned(),
            id: found.id.as_ref()?.chars().take(12).collect(),
            size: size.to_string(),
            image: labels.get(LABEL_IMAGE).cloned().unwrap_or_default(),
            internal_ip: ip.clone(),
            ip,
            state: match status.as_str() {
                "created" => NodeState::Creating,
                "running" | "restarting" => NodeState::Running,
                _ => NodeState::Stopped,
            },
            created: found
                .created
                .as_ref()
                .and_then(|created| created.parse::<Timestamp>().ok()),
            manifest: labels.get(LABEL_MANIFEST).cloned(),
        })
    }

    /// Makes a container, without starting it, with an address that is not in `refused`. In one
    /// call: it has its name, its labels and its address from the first moment, or it is not there.
    async fn make(
        &self,
        engine: &Engine,
        create: &Create,
        options: &Options,
        image: &str,
        refused: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), Error> {
        let (subnet, gateway) = ensure_network(engine).await?;
        let mut taken: BTreeSet<Ipv4Addr> =
            self.all(engine).await?.iter().filter_map(address).collect();
        taken.extend(refused);
        let ip = free_address(subnet, gateway, &taken, &create.name)
            .ok_or_else(|| failed("finding an address", format!("network `{NETWORK}` is full")))?;
        let name = self.container_name(&create.name);
        let mut body = body(
            &self.prefix,
            create,
            options,
            image,
            ip,
            &self.key()?.public,
        );
        let query = CreateContainerOptionsBuilder::new().name(&name).build();
        let mut made = engine
            .api()
            .create_container(Some(query.clone()), body.clone())
            .await;
        // A machine without SYS_RESOURCE: an engine before 26 would add it with ALL, and fail to
        // start the container, unless it is dropped; a later one knows that it has none to drop.
        if made
            .as_ref()
            .is_err_and(|error| error.to_string().contains("CapDrop"))
        {
            let host_config = body.host_config.get_or_insert_default();
            host_config.cap_drop = None;
            made = engine.api().create_container(Some(query), body).await;
        }
        match made {
            Ok(_)
            // Somebody was faster.
            | Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            Err(error) => Err(refusal(&format!("making `{name}`"), &error)),
        }
    }
}

fn body(
    prefix: &str,
    create: &Create,
    options: &Options,
    image: &str,
    ip: Ipv4Addr,
    key: &str,
) -> ContainerCreateBody {
    let mut labels = HashMap::from([
        (LABEL_PREFIX.to_owned(), prefix.to_owned()),
        (LABEL_IMAGE.to_owned(), options.image.name.to_owned()),
    ]);
    for (name, value) in &create.tags {
        labels.insert(format!("hitc.server.{name}"), value.clone());
    }
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(ip.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    let text = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
    let (memory, nano_cpus) = options.size.limits();
    ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some(create.name.clone()),
        env: Some(vec![format!("HITC_AUTHORIZED_KEY={key}")]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            // What an engine inside needs, short of `--privileged`: that also asks for
            // SYS_RESOURCE, which the machine may not have itself.
            cap_add: text(&["ALL"]),
            cap_drop: text(&["SYS_RESOURCE"]),
            security_opt: text(&["seccomp=unconfined", "apparmor=unconfined"]),
            // `systempaths=unconfined` is the command's word for these two.
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            device_cgroup_rules: text(&["a *:* rwm"]),
            network_mode: Some(NETWORK.to_owned()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            memory,
            nano_cpus,
            ..HostConfig::default()
        }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(NETWORK.to_owned(), endpoint)])),
        }),
        ..ContainerCreateBody::default()
    }
}

/// The address that a server was given, also while it is stopped.
fn address(found: &ContainerInspectResponse) -> Option<Ipv4Addr> {
    let networks = found.network_settings.as_ref()?.networks.as_ref()?;
    let config = networks.get(NETWORK)?.ipam_config.as_ref()?;
    config.ipv4_address.as_ref()?.parse().ok()
}

/// The subnet (its first address and the length of its prefix) and the gateway of our network,
/// which is made if it is not there.
async fn ensure_network(engine: &Engine) -> Result<((Ipv4Addr, u32), Ipv4Addr), Error> {
    if let Some(found) = network(engine).await? {
        return Ok(found);
    }
    // The engine knows which subnets are free, but gives out fixed addresses only on a network
    // whose subnet was asked for: so it is asked twice.
    make_network(engine, None).await?;
    let ((first, length), gateway) = network(engine).await?.ok_or_else(no_subnet)?;
    engine
        .api()
        .remove_network(NETWORK)
        .await
        .map_err(|error| refusal("making its network", &error))?;
    let config = IpamConfig {
        subnet: Some(format!("{first}/{length}")),
        gateway: Some(gateway.to_string()),
        ..IpamConfig::default()
    };
    make_network(engine, Some(config)).await?;
    Ok(((first, length), gateway))
}

async fn make_network(engine: &Engine, config: Option<IpamConfig>) -> Result<(), Error> {
    let request = NetworkCreateRequest {
        name: NETWORK.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: config.map(|config| Ipam {
            config: Some(vec![config]),
            ..Ipam::default()
        }),
        ..NetworkCreateRequest::default()
    };
    engine
        .api()
        .create_network(request)
        .await
        .map(drop)
        .map_err(|error| refusal("making its network", &error))
}

async fn network(engine: &Engine) -> Result<Option<((Ipv4Addr, u32), Ipv4Addr)>, Error> {
    let found = match engine
        .api()
        .inspect_network(NETWORK, None::<InspectNetworkOptions>)
        .await
    {
        Ok(found) => found,
        Err(BollardError::DockerResponseServerError {
            status_code: 404, ..
        }) => return Ok(None),
        Err(error) => return Err(refusal("inspecting its network", &error)),
    };
    let parse = || {
        let config = found.ipam?.config?.into_iter().next()?;
        let subnet = config.subnet?;
        let (first, length) = subnet.split_once('/')?;
        let first: Ipv4Addr = first.parse().ok()?;
        let gateway = match config.gateway {
            Some(gateway) => gateway.parse().ok()?,
            None => Ipv4Addr::from(u32::from(first) + 1),
        };
        Some(((first, length.parse().ok()?), gateway))
    };
    parse().map(Some).ok_or_else(no_subnet)
}

fn is_address_taken(error: &BollardError) -> bool {
    matches!(
        error,
        BollardError::DockerResponseServerError { message, .. }
            if message.contains("Address already in use")
    )
}

fn no_subnet() -> Error {
    failed(
        "reading its network",
        format!("`{NETWORK}` has no IPv4 subnet"),
    )
}

/// A free address of a subnet. It begins to look at a place that depends on the name, so that a
/// server that is made again mostly gets the address it had.
fn free_address(
    (first, length): (Ipv4Addr, u32),
    gateway: Ipv4Addr,
    taken: &BTreeSet<Ipv4Addr>,
    name: &str,
) -> Option<Ipv4Addr> {
    // Without the network's own address and the broadcast address; the last octet will do.
    let count = (1_u32 << (32_u32.checked_sub(length)?).min(8)).checked_sub(2)?;
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    let start = u32::try_from(hash.finish() % u64::from(count)).ok()?;
    (0..count)
        .map(|step| Ipv4Addr::from(u32::from(first) + 1 + (start + step) % count))
        .find(|ip| *ip != gateway && !taken.contains(ip))
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let (cpus, memory) = text.split_once('x')?;
        Some(Size {
            nano_cpus: docker::Spec::parse_cpus(cpus)?,
            memory: parse_bytes(memory).filter(|bytes| *bytes > 0)?,
        })
    }

    /// Memory and processor limits as the engine wants them.
    fn limits(self) -> (Option<i64>, Option<i64>) {
        let limit = |n: u64| i64::try_from(n).ok().filter(|n| *n > 0);
        (limit(self.memory), limit(self.nano_cpus))
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Size::default() {
            return f.write_str("unlimited");
        }
        let cpus = docker::Spec::format_cpus(self.nano_cpus);
        write!(f, "{cpus}x{}", format_bytes(self.memory))
    }
}

impl Options {
    fn decode(options: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(options, "provider `local`")?;
        let size = fields.decode("size", |value, what| {
            let text = value.to_text(what)?;
            if text == "unlimited" {
                return Ok(Size::default());
            }
            Size::parse(&text).ok_or_else(|| {
                Invalid::new(value, format!("size: `{text}` is no size"))
                    .help("write PROCESSORSxMEMORY, such as 1x512m or 0.5x2g".to_owned())
            })
        })?;
        let image = fields.decode("image", |value, what| {
            let text = value.to_text(what)?;
            Image::find(&text).ok_or_else(|| {
                let names = IMAGES.map(|image| image.name);
                Invalid::new(value, format!("image: there is no `{text}`")).help(
                    did_you_mean(&text, names)
                        .or_else(|| Some(format!("there is {}", names.join(", ")))),
                )
            })
        })?;
        fields.finish()?;
        let default = || Image::find(DEFAULT_IMAGE).unwrap_or(IMAGES[0]);
        Ok(Options {
            size: size.unwrap_or_default(),
            image: image.unwrap_or_else(default),
        })
    }
}

#[async_trait]
impl Provider for Local {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        Options::decode(options).map(drop)
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let engine = self.engine().await?;
        let all = self.all(&engine).await?;
        Ok(all.iter().filter_map(|found| self.node(found)).collect())
    }

    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error> {
        let options = Options::decode(&create.options)
            .map_err(|error| failed("reading its options", error))?;
        let engine = self.engine().await?;
        let name = self.container_name(&create.name);
        let what = format!("starting `{name}`");
        let mut refused = BTreeSet::new();
        loop {
            {
                let _lock = self.lock().await?;
                if self.inspect(&engine, &name).await?.is_none() {
                    let progress = |text| activity.update(text);
                    let image = options.image.ensure(&engine, &progress).await?;
                    self.make(&engine, create, &options, &image, &refused)
                        .await?;
                }
            }
            activity.update("starting");
            let start = engine
                .api()
                .start_container(&name, None::<StartContainerOptions>);
            let started = start.await;
            let found = self.inspect(&engine, &name).await?;
            let found = found.ok_or_else(|| failed(&what, "it is gone"))?;
            match started {
                Ok(()) => return self.node(&found).ok_or_else(|| failed(&what, "it is gone")),
                // Another user's run was faster with the address: the engine decides.
                Err(error) if is_address_taken(&error) && refused.len() < ADDRESS_TRIES => {
                    refused.extend(address(&found));
                    self.remove(&engine, &name).await?;
                }
                Err(error) => return Err(refusal(&what, &error)),
            }
        }
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        self.remove(&self.engine().await?, &node.id).await
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        let engine = self.engine().await?;
        let options = RestartContainerOptionsBuilder::new()
            .t(STOP_TIMEOUT)
            .build();
        engine
            .api()
            .restart_container(&node.id, Some(options))
            .await
            .map_err(|error| refusal(&format!("rebooting `{}`", node.name), &error))
    }

    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error> {
        let engine = self.engine().await?;
        let options = RenameContainerOptionsBuilder::new()
            .name(&self.container_name(name))
            .build();
        engine
            .api()
            .rename_container(&node.id, options)
            .await
            .map_err(|error| refusal(&format!("renaming `{}`", node.name), &error))
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        let wanted = Options::decode(options)?;
        let mut changes = Vec::new();
        let mut differ = |field: &str, old: &str, new: String, in_place: bool| {
            if old != new {
                let change = Change {
                    field: field.to_owned(),
                    old: Some(old.to_owned()),
                    new: Some(new),
                };
                changes.push(ServerChange { change, in_place });
            }
        };
        // The engine cannot take a limit away from a container.
        let can_resize = wanted.size != Size::default();
        differ("size", &node.size, wanted.size.to_string(), can_resize);
        differ("image", &node.image, wanted.image.name.to_owned(), false);
        Ok(changes)
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        let size = Options::decode(options)
            .map_err(|error| failed("reading its options", error))?
            .size;
        let (memory, nano_cpus) = size.limits();
        let body = ContainerUpdateBody {
            memory,
            memory_swap: memory.map(|memory| memory.saturating_mul(2)),
            nano_cpus,
            ..ContainerUpdateBody::default()
        };
        let engine = self.engine().await?;
        engine
            .api()
            .update_container(&node.id, body)
            .await
            .map(drop)
            .map_err(|error| refusal(&format!("resizing `{}`", node.name), &error))
    }

    async fn target(&self, node: &Node) -> Result<Target, Error> {
        let engine = self.engine().await?;
        Ok(Target {
            name: node.name.clone(),
            address: node.ip.clone(),
            port: 22,
            user: "root".to_owned(),
            identities: vec![self.key()?.path],
            host_key: HostKey::Pinned(host_key(&engine, node).await?),
            connect_timeout: CONNECT_TIMEOUT,
        })
    }

    async fn set_up(&self, activity: &Activity) -> Result<(), Error> {
        activity.update("setting up Docker on this machine");
        let progress = |text| activity.update(text);
        docker::set_up_here(&progress).await?;
        let engine = self.engine().await?;
        let _lock = self.lock().await?;
        IMAGES[0].ensure(&engine, &progress).await?;
        ensure_network(&engine).await?;
        self.key()?;
        Ok(())
    }
}

/// Reads a server's host key through the engine, which cannot be impersonated. Waits for a server
/// that has not made it yet.
async fn host_key(engine: &Engine, node: &Node) -> Result<PublicKey, Error> {
    let what = format!("reading the host key of `{}`", node.name);
    let end = Instant::now() + BOOT_TIMEOUT;
    loop {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(HOST_KEY)
            .build();
        let archive: Result<Vec<_>, _> = engine
            .api()
            .download_from_container(&node.id, Some(options))
            .try_collect()
            .await;
        match archive {
            Ok(chunks) => {
                if let Some(key) = read_key(&chunks.concat()) {
                    return Ok(key);
                }
            }
            Err(BollardError::DockerResponseServerError {
                status_code: 404, ..
            }) => {}
            Err(error) => return Err(refusal(&what, &error)),
        }
        if Instant::now() >= end {
            return Err(failed(&what, "it has none; is it running?"));
        }
        sleep(RETRY).await;
    }
}

/// The key in an archive of one file; none if the file is not whole yet.
fn read_key(archive: &[u8]) -> Option<PublicKey> {
    let mut archive = tar::Archive::new(archive);
    let mut text = String::new();
    let mut file = archive.entries().ok()?.next()?.ok()?;
    file.read_to_string(&mut text).ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}

/// What the engine said.
fn refusal(what: &str, error: &BollardError) -> Error {
    failed(what, docker::cause(error))
}

fn failed(what: &str, cause: impl std::fmt::Display) -> Error {
    Error::Failed {
        provider: NAME,
        what: what.to_owned(),
        cause: cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for text in ["1x512m", "0.5x2g", "2x1000"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        for text in ["1", "x", "0x1g", "1x0", "1xbig", "-1x1g"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_are_free_and_of_the_subnet() {
        let first = Ipv4Addr::new(172, 30, 0, 0);
        let gateway = Ipv4Addr::new(172, 30, 0, 1);
        let mut taken = BTreeSet::new();
        for _ in 0..13 {
            let ip = free_address((first, 28), gateway, &taken, "web").unwrap();
            assert!((2..=14).contains(&ip.octets()[3]), "{ip}");
            assert!(taken.insert(ip), "{ip} twice");
        }
        assert_eq!(free_address((first, 28), gateway, &taken, "web"), None);
    }
}
