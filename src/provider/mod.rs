//! Providers: the sources of servers.
//!
//! A provider lists, creates and terminates servers and says how to log in. It knows nothing of
//! scripts, manifests or other providers.

mod address;
mod digitalocean;
mod ec2;
mod error;
mod local;
mod node;
mod price;
mod quotes;
pub mod tag;
mod unmanaged;

pub use address::Address;
use async_trait::async_trait;
pub use digitalocean::DigitalOcean;
pub use ec2::{Ec2, Volume};
pub use error::Error;
pub use local::Local;
pub use node::{
    MOST, NAME_RULE, Node, NodeState, UNMANAGED, is_name, numbered, refuse_duplicates,
    refuse_protected, role,
};
use price::number;
pub use price::{Cost, MonthlyCost, Price, Prices};
pub use quotes::Quotes;
pub use unmanaged::Unmanaged;

use crate::{
    core::{
        change::Change,
        event::Activity,
        owner::Owner,
        value::{Invalid, Value},
    },
    ssh,
};

/// A server to be created.
#[derive(Clone, Debug)]
pub struct Create {
    /// The name, without the prefix.
    pub name: String,
    /// The provider's options (`size`, `image`, …), validated before.
    pub options: Value,
    /// The owner. The creating call itself tags the server with it.
    pub owner: Owner,
}

/// A source of servers.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The provider's name, as in `provider: NAME`.
    fn name(&self) -> &str;

    /// Checks options without contacting anything.
    fn validate(&self, options: &Value) -> Result<(), Invalid>;

    /// Checks with the provider whether it could create a server of this name with these options,
    /// and returns the cost of one. Changes nothing.
    async fn quote(&self, _name: &str, _options: &Value) -> Result<Cost, Error> {
        Ok(Cost::Free)
    }

    /// The price list; `options` are the provider's.
    async fn prices(&self, _options: &Value) -> Result<Prices, Error> {
        Err(Error::Unsupported {
            provider: self.name().to_owned(),
            what: "list prices",
            help: "name another provider with `provider=NAME`".to_owned(),
        })
    }

    /// Lists the servers that carry our prefix, in any state and of any owner. A provider that is not
    /// configured on this machine fails with [`Error::NotConfigured`].
    async fn list(&self) -> Result<Vec<Node>, Error>;

    /// Looks at one server again, by its id. None if it does not exist any more.
    async fn find(&self, node: &Node) -> Result<Option<Node>, Error> {
        let nodes = self.list().await?;
        Ok(nodes.into_iter().find(|found| found.id == node.id))
    }

    /// The settings that decide which servers are listed: prefix, endpoint, region and credentials. A
    /// listing is cached under a hash of it. None if listings are not cached, because they are fast
    /// or because the settings are not known.
    async fn cache_key(&self) -> Option<String> {
        None
    }

    /// A server that exists without being listed, because its name is its address.
    fn by_address(&self, _name: &str) -> Option<Node> {
        None
    }

    /// Fails if the provider cannot create servers.
    fn can_create(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Creates a server, or finds one of that name whose creation was interrupted. Returns a server
    /// of the same project that exists already as it is; one of another owner is an error. The server
    /// may not run yet, may have no address, and is [`NodeState::Creating`] until
    /// [`Provider::settle`].
    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error>;

    /// Notes at the provider whether a new server became ready.
    async fn settle(&self, _node: &Node, _is_ready: bool) -> Result<(), Error> {
        Ok(())
    }

    /// Why an ordered server does not exist any more, if the provider says so.
    async fn why_gone(&self, _node: &Node) -> Option<String> {
        None
    }

    /// Terminates a server and waits until it is gone. Succeeds if it does not exist any more.
    ///
    /// This and the other methods that change a server look at it again first, and fail if its owner
    /// is not the one that `node` has: see [`look_again`].
    async fn terminate(&self, node: &Node) -> Result<(), Error>;

    /// Reboots a server, or starts a stopped one. It keeps its internal address.
    async fn reboot(&self, node: &Node) -> Result<(), Error>;

    /// Renames a server.
    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error>;

    /// Makes a server belong to `owner`, in the place of the owner that `node` has.
    async fn adopt(&self, _node: &Node, _owner: &Owner) -> Result<(), Error> {
        Err(Error::Unsupported {
            provider: self.name().to_owned(),
            what: "change the owner of a server",
            help: "change its tags or labels at the provider".to_owned(),
        })
    }

    /// The differences between a server and its options. Each says whether [`Provider::resize`] can
    /// make it.
    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid>;

    /// Gives a server the size of these options. The server may be stopped meanwhile.
    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error>;

    /// How to log in to a server.
    async fn login(&self, node: &Node) -> Result<ssh::Login, Error>;

    /// Prepares this machine for the provider, if that takes more than credentials.
    async fn set_up(&self, activity: &Activity) -> Result<(), Error>;
}

/// Looks at a server again before it is changed. Fails if it is gone, or if its owner or name is not
/// the one that the caller saw: what the user confirmed does not hold any more.
pub async fn look_again(provider: &dyn Provider, node: &Node) -> Result<Node, Error> {
    let found = provider.find(node).await?.ok_or_else(|| node.gone())?;
    let cause = if found.owner != node.owner {
        format!("it {} now", found.owner)
    } else if found.name != node.name {
        format!("its name is `{}` now", found.name)
    } else {
        return Ok(found);
    };
    Err(Error::Changed {
        provider: node.provider.clone(),
        name: node.name.clone(),
        cause,
    })
}

/// Fails if an existing server that has the name of one to be created does not belong to the same
/// project.
pub fn refuse_other_owner(existing: &Node, create: &Create) -> Result<(), Error> {
    existing.require_project(Some(&create.owner.project))
}

/// A difference between a server and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerChange {
    /// The option, with its old and new value.
    pub change: Change,
    /// Whether it needs no new server.
    pub in_place: bool,
}

/// The options that differ. Each comes with its present value, its wanted value, and whether a change
/// needs no new server.
pub fn differences<'a>(
    options: impl IntoIterator<Item = (&'a str, &'a String, &'a String, bool)>,
) -> Vec<ServerChange> {
    let differ = options.into_iter().filter(|(_, old, new, _)| old != new);
    differ
        .map(|(field, old, new, in_place)| ServerChange {
            change: Change {
                field: field.to_owned(),
                old: Some(old.clone()),
                new: Some(new.clone()),
            },
            in_place,
        })
        .collect()
}
