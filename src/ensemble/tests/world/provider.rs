//! The simulated cloud.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::{Engine, Refusal, Server, Shared, change};
use crate::{
    core::{
        event::Activity,
        owner::{Owner, Ownership},
        value::{Fields, Invalid, Value},
    },
    docker::State as Condition,
    provider::{
        Address, Cost, Create, Error, Local, Node, NodeState, Provider, ServerChange, look_again,
        refuse_protected,
    },
    ssh::Login,
};

/// The name of the simulated provider: its options are those of the local one.
const PROVIDER: &str = "local";

/// A size that is sold out.
const SOLD_OUT: &str = "64x999g";

/// The simulated cloud.
pub(super) struct SimulatedProvider {
    pub shared: Arc<Mutex<Shared>>,
}

impl SimulatedProvider {
    async fn change<T>(
        &self,
        what: &str,
        node: &Node,
        act: impl FnOnce(&mut Server) -> T,
    ) -> Result<T, Error> {
        let changed = change(&self.shared, what, |state| {
            let server = state
                .find(&node.name, &node.id)
                .ok_or(Refusal::Other("gone".to_owned()))?;
            Ok(act(server))
        });
        changed.await.map_err(failed)
    }
}

pub(super) fn failed(refusal: Refusal) -> Error {
    let cause = match refusal {
        Refusal::Other(cause) => cause,
        _ => "refused".to_owned(),
    };
    Error::Failed {
        provider: PROVIDER.to_owned(),
        what: "changing a server".to_owned(),
        cause,
    }
}

/// The size and the image of these options, and whether the server is protected.
fn decode(options: &Value) -> Result<(String, String, bool), Invalid> {
    let mut fields = Fields::new(options, "server")?;
    let size = fields.decode("size", Value::to_text)?;
    let image = fields.decode("image", Value::to_text)?;
    let protect = fields.decode("protect", Value::to_bool)?;
    fields.finish()?;
    Ok((
        size.unwrap_or("unlimited".to_owned()),
        image.unwrap_or("debian-13".to_owned()),
        protect.unwrap_or(false),
    ))
}

/// The real provider, for what it decides without asking anything.
fn real() -> Local {
    Local::new("X-", "/nowhere".into())
}

#[async_trait]
impl Provider for SimulatedProvider {
    fn name(&self) -> &str {
        PROVIDER
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        real().validate(options)
    }

    async fn quote(&self, _: &str, options: &Value) -> Result<Cost, Error> {
        let (size, ..) =
            decode(options).map_err(|error| failed(Refusal::Other(error.to_string())))?;
        if size == SOLD_OUT {
            return Err(failed(Refusal::Other(format!("size `{size}` is sold out"))));
        }
        Ok(Cost::Free)
    }

    async fn check_resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        self.quote(&node.name, options).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        // Yields as a network request does: concurrent callers then share one listing.
        tokio::task::yield_now().await;
        let shared = self.shared.lock().unwrap();
        let servers = shared.state.servers.values();
        Ok(servers.map(|server| server.node.clone()).collect())
    }

    async fn create(&self, create: &Create, _: &Activity) -> Result<Node, Error> {
        let (size, image, protect) = decode(&create.options).unwrap();
        let made = change(&self.shared, "creating", |state| {
            let from = (create.name.clone(), String::new());
            let same = state.servers.range_mut(from..).map(|(_, server)| server);
            let mut same = same.take_while(|server| server.node.name == create.name);
            if let Some(found) = same.find(|server| server.node.owner.is(&create.owner)) {
                let before = found.node.clone();
                if before.state == NodeState::Creating {
                    found.node.state = NodeState::Unfinished;
                }
                return Ok(before);
            }
            let ip = |network| Some(Address::Ip(IpAddr::V4(state.ip(network))));
            let node = Node {
                provider: PROVIDER.to_owned(),
                name: create.name.clone(),
                id: state.id(8),
                size,
                image,
                region: String::new(),
                ip: ip(192),
                internal_ip: ip(10),
                state: NodeState::Creating,
                created: None,
                owner: Ownership::Owner(create.owner.clone()),
                user: None,
                is_protected: protect,
                container: None,
            };
            // Listed as running, but not settled yet.
            state.add(Server {
                node: Node {
                    state: NodeState::Unfinished,
                    ..node.clone()
                },
                firewall: None,
                engine: Some(Engine::default()),
            });
            Ok(node)
        });
        made.await.map_err(failed)
    }

    async fn settle(&self, node: &Node, is_ready: bool) -> Result<(), Error> {
        let state = if is_ready {
            NodeState::Running
        } else {
            NodeState::Failed
        };
        self.change("settling", node, |server| server.node.state = state)
            .await
    }

    async fn find(&self, node: &Node) -> Result<Option<Node>, Error> {
        let mut shared = self.shared.lock().unwrap();
        let found = shared.state.find(&node.name, &node.id);
        Ok(found.map(|server| server.node.clone()))
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        if self.find(node).await?.is_none() {
            return Ok(());
        }
        refuse_protected([&look_again(self, node).await?])?;
        let gone = change(&self.shared, "terminating", |state| {
            let key = (node.name.clone(), node.id.clone());
            state.servers.remove(&key);
            Ok(())
        });
        gone.await.map_err(failed)
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        panic!("`{}` is rebooted", node.name)
    }

    async fn start(&self, node: &Node) -> Result<(), Error> {
        look_again(self, node).await?;
        let mut next = self.shared.lock().unwrap().state.ip(172);
        self.change("starting", node, |server| {
            if server.node.state == NodeState::Running {
                return;
            }
            server.node.state = NodeState::Running;
            let containers = server.engine.iter_mut().flat_map(|e| &mut e.containers);
            for container in containers.filter(|c| c.options.restarts_with_server()) {
                if container.state == Condition::Exited {
                    container.state = Condition::Running;
                    container.ip = Some(IpAddr::V4(next));
                    next = Ipv4Addr::from_bits(next.to_bits() + (1 << 16));
                }
            }
        })
        .await
    }

    async fn rename(&self, _: &Node, _: &str) -> Result<(), Error> {
        Err(failed(Refusal::Other("unsupported".to_owned())))
    }

    async fn adopt(&self, node: &Node, owner: &Owner) -> Result<(), Error> {
        look_again(self, node).await?;
        let adopt = |server: &mut Server| server.node.owner = Ownership::Owner(owner.clone());
        self.change("adopting", node, adopt).await
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        real().changes(node, options)
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        look_again(self, node).await?;
        let (size, ..) = decode(options).unwrap();
        // The address of a server that was stopped may be another one.
        let ip = self.shared.lock().unwrap().state.ip(192);
        self.change("resizing", node, |server| {
            server.node.size = size;
            server.node.ip = Some(Address::Ip(IpAddr::V4(ip)));
        })
        .await
    }

    async fn login(&self, _: &Node) -> Result<Login, Error> {
        Ok(Login::default())
    }

    async fn set_up(&self, _: &Activity) -> Result<(), Error> {
        Ok(())
    }
}
