//! Where servers come from.
//!
//! A provider lists, creates and ends servers and says how to log in. It knows nothing of
//! scripts, manifests or other providers.

mod digitalocean;
mod ec2;
mod error;
mod local;
mod node;
mod price;
pub mod tag;
mod unmanaged;

use async_trait::async_trait;
pub use digitalocean::DigitalOcean;
pub use ec2::{Ec2, Volume};
pub use error::Error;
pub use local::Local;
pub use node::{MOST, NAME_RULE, Node, NodeState, is_name, numbered, refuse_protected, role};
use price::number;
pub use price::{Cost, Price, Prices};
pub use unmanaged::Unmanaged;

use crate::{
    core::{
        change::Change,
        event::Activity,
        value::{Invalid, Value},
    },
    ssh,
};

/// A server to be created.
#[derive(Clone, Debug)]
pub struct Create {
    /// Its name, without the prefix.
    pub name: String,
    /// The provider's options (`size`, `image`, …), validated before.
    pub options: Value,
    /// Tags that it carries from the first moment.
    pub tags: Vec<(String, String)>,
}

/// A source of servers.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The provider's name, as in `provider: NAME`.
    fn name(&self) -> &str;

    /// Checks options without contacting anything.
    fn validate(&self, options: &Value) -> Result<(), Invalid>;

    /// Checks whether there could be a server of this name with these options, and says what it
    /// would cost. Changes nothing.
    async fn quote(&self, _name: &str, _options: &Value) -> Result<Cost, Error> {
        Ok(Cost::Free)
    }

    /// What its servers cost; `options` are the provider's.
    async fn prices(&self, _options: &Value) -> Result<Prices, Error> {
        Err(Error::Unsupported {
            provider: self.name().to_owned(),
            what: "say what servers cost",
            help: "its servers cost nothing that hitc knows of".to_owned(),
        })
    }

    /// All servers that carry our prefix, in whatever state. A provider that is not set up here
    /// fails with [`Error::NotConfigured`].
    async fn list(&self) -> Result<Vec<Node>, Error>;

    /// Whether listing takes long enough to be remembered for a moment.
    fn is_far(&self) -> bool {
        true
    }

    /// A server that is there without being listed, because its name is its address.
    fn by_address(&self, _name: &str) -> Option<Node> {
        None
    }

    /// Fails if the provider has only servers that somebody else made.
    fn can_create(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Creates a server, or finds one of that name whose creation was interrupted. A server that is
    /// there already is given back as it is. It may not run yet, and have no address; and it is
    /// [`NodeState::Creating`] until [`Provider::settle`].
    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error>;

    /// Notes at the provider that a new server is as it should be, or that it did not come up.
    async fn settle(&self, _node: &Node, _is_ready: bool) -> Result<(), Error> {
        Ok(())
    }

    /// Why a server that was ordered is not there, if the provider says so.
    async fn why_gone(&self, _node: &Node) -> Option<String> {
        None
    }

    /// Ends a server for good. One that is gone already is fine.
    async fn terminate(&self, node: &Node) -> Result<(), Error>;

    /// Starts a server again, or starts it if it is stopped. Its address stays.
    async fn reboot(&self, node: &Node) -> Result<(), Error>;

    /// Gives a server another name.
    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error>;

    /// What differs between a server and what its options say. A change that
    /// [`Provider::resize`] can make says so.
    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid>;

    /// Gives a running server the size of these options.
    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error>;

    /// How to log in to a server.
    async fn login(&self, node: &Node) -> Result<ssh::Login, Error>;

    /// Makes this machine ready for the provider, where that takes more than credentials.
    async fn set_up(&self, activity: &Activity) -> Result<(), Error>;
}

/// A difference between a server and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerChange {
    /// The option, with its old and new value.
    pub change: Change,
    /// Whether it can be made without a new server.
    pub in_place: bool,
}

/// What differs: each option with what it is, what it should be, and whether that can be changed
/// without a new server.
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
