//! Providers: the sources of servers.
//!
//! A provider lists, creates and terminates servers and says how to log in. It knows nothing of
//! scripts, manifests or other providers.

mod address;
mod cloud_firewall;
mod digitalocean;
mod ec2;
mod error;
mod local;
mod mock;
mod node;
mod permission;
mod price;
mod quotes;
mod saved_image;
pub mod tag;
mod unmanaged;
mod volume;

pub use address::Address;
use std::collections::HashMap;

use async_trait::async_trait;
pub use cloud_firewall::CloudFirewall;
use cloud_firewall::{ALL_V4, ALL_V6};
pub use digitalocean::DigitalOcean;
pub use ec2::Ec2;
pub use error::Error;
pub use local::Local;
pub use mock::{MOCK, MockProvider, MockServers};
pub use node::{
    MOST, NAME_RULE, Node, NodeState, OnServer, UNMANAGED, is_name, is_user, numbered,
    refuse_duplicates, refuse_protected, role,
};
pub use permission::{Finding, Verdict};
use price::number;
pub use price::{Cost, Price, PricePart, Prices};
pub use quotes::Quotes;
pub use saved_image::{
    CreateImage, IMAGE_NAME_RULE, ImageState, SavedImage, ambiguous_image, choose_image,
    is_image_name,
};
pub use unmanaged::{Unmanaged, read as read_servers};
pub use volume::{CreateVolume, Volume};

use crate::{
    core::{
        change::Change,
        event::Activity,
        owner::{Owner, Ownership},
        value::{Data, Invalid, Value},
    },
    iptables::Firewall,
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
    /// The server to be finished, if its creation was interrupted.
    pub unfinished: Option<Node>,
}

impl Create {
    /// Fails if the server to be finished does not exist any more, or was changed since it was listed.
    /// To order another one in its place is not what the user confirmed.
    pub async fn check_unfinished(&self, provider: &dyn Provider) -> Result<(), Error> {
        if let Some(node) = &self.unfinished {
            look_again(provider, node).await?;
        }
        Ok(())
    }
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

    /// Checks with the provider whether a server can get the size of these options. Changes nothing.
    async fn check_resize(&self, _node: &Node, _options: &Value) -> Result<(), Error> {
        Ok(())
    }

    /// What existing servers cost at present, in their order.
    async fn costs(&self, nodes: &[Node]) -> Result<Vec<Cost>, Error> {
        Ok(vec![Cost::Unknown; nodes.len()])
    }

    /// The price list; `options` are the provider's.
    async fn prices(&self, _options: &Value) -> Result<Prices, Error> {
        Err(Error::Unsupported {
            provider: self.name().to_owned(),
            what: "list prices",
            help: "name another provider with `provider=NAME`".to_owned(),
        })
    }

    /// Finds out what the account may do, and its limits. Changes nothing.
    async fn check_account(&self) -> Result<Vec<Finding>, Error> {
        self.list().await?;
        Ok(vec![Finding::new("list servers", Verdict::Ok, "")])
    }

    /// Lists the servers that carry our prefix, in any state and of any owner. A provider that is not
    /// configured on this machine fails with [`Error::NotConfigured`].
    async fn list(&self) -> Result<Vec<Node>, Error>;

    /// Lists the servers that can be listed, and the errors of the others.
    async fn list_partially(&self) -> (Vec<Node>, Vec<Error>) {
        match self.list().await {
            Ok(nodes) => (nodes, Vec::new()),
            Err(error) => (Vec::new(), vec![error]),
        }
    }

    /// Looks at one server again, by its id. None only if it does not exist any more: a server that
    /// exists, and lost what marks it as ours, is [`Error::Unrecognized`].
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
    /// of the same owner that exists already as it is; any other is an error: see
    /// [`refuse_other_server`]. The server may not run yet, may have no address, and is
    /// [`NodeState::Creating`] until [`Provider::settle`].
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

    /// Starts a stopped server, and leaves one that runs as it is, also if another run started it
    /// at the same moment.
    async fn start(&self, node: &Node) -> Result<(), Error>;

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

    /// Whether the cloud may have a firewall in front of its servers.
    fn has_firewalls(&self) -> bool {
        false
    }

    /// The cloud's firewalls in front of servers, by the servers' ids. A server without one gets
    /// everything.
    async fn firewalls(&self, _nodes: &[Node]) -> Result<HashMap<String, CloudFirewall>, Error> {
        Ok(HashMap::new())
    }

    /// Makes a firewall that is [`CloudFirewall::is_managed`] admit exactly `wanted`, besides SSH and
    /// the other servers that hitc made.
    async fn set_firewall(&self, _node: &Node, _wanted: &Firewall) -> Result<(), Error> {
        Err(Error::Unsupported {
            provider: self.name().to_owned(),
            what: "change the cloud's firewall",
            help: "change it at the provider".to_owned(),
        })
    }

    /// Lists the images that hitc made of servers: those with our prefix, in any state and of any owner.
    async fn images(&self) -> Result<Vec<SavedImage>, Error> {
        Err(self.no_images())
    }

    /// Begins to make an image of a server, or continues what an interrupted run began. The image has its
    /// name and owner then, but may not be usable yet: see [`Provider::images`].
    async fn create_image(
        &self,
        _create: &CreateImage,
        _activity: &Activity,
    ) -> Result<SavedImage, Error> {
        Err(self.no_images())
    }

    /// Deletes an image that hitc made, with everything that costs money. Looks at it again first, and fails
    /// if its owner changed. Succeeds if it does not exist any more.
    async fn delete_image(&self, _image: &SavedImage) -> Result<(), Error> {
        Err(self.no_images())
    }

    /// The error of a provider without images of servers.
    fn no_images(&self) -> Error {
        Error::Unsupported {
            provider: self.name().to_owned(),
            what: "make images of servers",
            help: "copy the files instead: `hitc run download`".to_owned(),
        }
    }

    /// What a server wrote to its console, the newest last: what its kernel and its boot said. Raw, as the
    /// server wrote it.
    async fn console(&self, _node: &Node) -> Result<String, Error> {
        Err(Error::Unsupported {
            provider: self.name().to_owned(),
            what: "read the console of a server",
            help: "read the server's logs: `hitc run ssh \"journalctl -b\"`".to_owned(),
        })
    }

    /// Lists the volumes that carry our prefix, of any owner.
    async fn volumes(&self) -> Result<Vec<Volume>, Error> {
        Err(self.no_volumes())
    }

    /// The error of a provider without volumes.
    fn no_volumes(&self) -> Error {
        Error::Unsupported {
            provider: self.name().to_owned(),
            what: "manage volumes",
            help: "ec2, digitalocean, hetzner and gcp have volumes".to_owned(),
        }
    }

    /// Looks at one volume again, by its id. None if it does not exist any more, or is being deleted.
    async fn find_volume(&self, volume: &Volume) -> Result<Option<Volume>, Error> {
        let volumes = self.volumes().await?;
        Ok(volumes.into_iter().find(|found| found.id == volume.id))
    }

    /// Creates an empty volume and waits until it can be attached. The name is not in use, as far as
    /// [`Provider::volumes`] knows. Returns a volume of the same name and owner that was created at
    /// the same moment, or by a run that was interrupted.
    async fn create_volume(&self, _create: &CreateVolume) -> Result<Volume, Error> {
        Err(self.no_volumes())
    }

    /// Attaches a volume, which is attached to no server, to a server in its region, and waits until
    /// that is done. Returns it with its devices.
    async fn attach_volume(&self, _volume: &Volume, _node: &Node) -> Result<Volume, Error> {
        Err(self.no_volumes())
    }

    /// Detaches a volume from the server that it is attached to, and waits until that is done.
    async fn detach_volume(&self, _volume: &Volume) -> Result<(), Error> {
        Err(self.no_volumes())
    }

    /// Makes a volume larger, to a size in GiB, and waits until its server can use that. It may be
    /// attached meanwhile.
    async fn grow_volume(&self, _volume: &Volume, _size: u32) -> Result<(), Error> {
        Err(self.no_volumes())
    }

    /// Deletes a volume, which is attached to no server. Succeeds if it does not exist any more.
    async fn delete_volume(&self, _volume: &Volume) -> Result<(), Error> {
        Err(self.no_volumes())
    }

    /// How to give a volume to `owner`, by the provider's own tools: the end of a sentence.
    fn adopt_volume_help(&self, _volume: &Volume, owner: &Owner) -> String {
        format!(
            "set its tag or label for the project to `{}` at {}",
            tag::encode(&owner.project),
            self.name()
        )
    }

    /// How to log in to a server.
    async fn login(&self, node: &Node) -> Result<ssh::Login, Error>;

    /// Prepares this machine for the provider, if that takes more than credentials.
    async fn set_up(&self, activity: &Activity) -> Result<(), Error>;
}

/// Looks at a server again before it is changed. Fails if it is gone, or if its owner or name is not
/// the one that the caller saw: what the user confirmed does not hold any more.
pub async fn look_again(provider: &dyn Provider, node: &Node) -> Result<Node, Error> {
    let found = provider.find(node).await?.ok_or_else(|| node.gone())?;
    let cause = match (&node.owner, &found.owner) {
        (Ownership::Owner(_), Ownership::Legacy(_)) => {
            "the tag that names its owner is missing".to_owned()
        }
        (before, now) if before != now => format!("it {now} now"),
        _ if found.name != node.name => format!("its name is `{}` now", found.name),
        _ => return Ok(found),
    };
    Err(Error::Changed {
        provider: node.provider.clone(),
        name: node.name.clone(),
        cause,
    })
}

/// Looks at an image again before it is changed. None if it does not exist any more; fails if its owner is
/// not the one that the caller saw.
pub async fn look_again_at_image(
    provider: &dyn Provider,
    image: &SavedImage,
) -> Result<Option<SavedImage>, Error> {
    let images = provider.images().await?;
    let Some(found) = images.into_iter().find(|found| found.id == image.id) else {
        return Ok(None);
    };
    if found.owner == image.owner && found.name == image.name {
        return Ok(Some(found));
    }
    Err(Error::invalid(
        format!(
            "image `{}` ({}) at {}: it was changed meanwhile, and {} now; nothing was done to it",
            image.name, image.id, image.provider, found.owner
        ),
        None,
    ))
}

/// Fails if an existing server that has the name of one to be created is another one: it belongs to
/// another owner, which may be another manifest of the project, or it is not the one to be finished.
pub fn refuse_other_server(existing: &Node, create: &Create) -> Result<(), Error> {
    existing.require_owner(Some(&create.owner))?;
    match &create.unfinished {
        Some(unfinished) if unfinished.id != existing.id => Err(Error::Changed {
            provider: existing.provider.clone(),
            name: existing.name.clone(),
            cause: format!("its id is `{}` now, not `{}`", existing.id, unfinished.id),
        }),
        _ => Ok(()),
    }
}

/// Fails if the options of `count` servers name an address, which only one of them could have.
pub fn refuse_shared_address(options: &Value, count: i64) -> Result<(), Invalid> {
    let Data::Map(entries) = &options.data else {
        return Ok(());
    };
    match entries.iter().find(|entry| entry.key == "address") {
        Some(entry) if count > 1 && entry.value.scalar().is_some_and(|text| !text.is_empty()) => {
            let message = format!("`address` cannot be used with `count: {count}`");
            let help = "an address belongs to one server: create them one by one".to_owned();
            Err(Invalid::new(&entry.value, message).help(help))
        }
        _ => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        diagnostic::{Diagnostic, Kind},
        value::Value,
    };

    fn owner(project: &str, manifest: Option<&str>) -> Owner {
        Owner {
            project: project.to_owned(),
            manifest: manifest.map(str::to_owned),
        }
    }

    fn node(id: &str, owner: Owner) -> Node {
        Node {
            provider: "local".to_owned(),
            name: "web".to_owned(),
            id: id.to_owned(),
            size: String::new(),
            image: String::new(),
            region: String::new(),
            ip: None,
            internal_ip: None,
            state: NodeState::Creating,
            created: None,
            owner: Ownership::Owner(owner),
            user: None,
            is_protected: false,
            container: None,
        }
    }

    /// What is said of an existing server when one is created for `owner`.
    fn refused(existing: &Node, owner: Owner, unfinished: Option<Node>) -> Option<Diagnostic> {
        let create = Create {
            name: "web".to_owned(),
            options: Value::empty_map(),
            owner,
            unfinished,
        };
        let refused = refuse_other_server(existing, &create);
        refused.err().map(Diagnostic::from)
    }

    #[test]
    fn only_the_same_owner_finds_a_server() {
        for manifest in [None, Some("shop")] {
            let existing = node("1", owner("p", manifest));
            assert!(refused(&existing, owner("p", manifest), None).is_none());
            let other = refused(&existing, owner("q", manifest), None).unwrap();
            assert_eq!(other.kind, Kind::Usage);
        }
        let of_shop = node("1", owner("p", Some("shop")));
        let by_task = refused(&of_shop, owner("p", None), None).unwrap();
        assert_eq!(
            by_task.message,
            "server `web` at local belongs to manifest `shop` of project p"
        );
        let help = by_task.help.unwrap();
        assert!(
            help.contains("`hitc run -H web --any-owner adopt`"),
            "{help}"
        );
        let by_blog = refused(&of_shop, owner("p", Some("blog")), None).unwrap();
        let help = by_blog.help.unwrap();
        assert!(
            help.contains("`hitc run ensemble.up blog adopt=web`"),
            "{help}"
        );
        let of_task = node("1", owner("p", None));
        assert!(refused(&of_task, owner("p", Some("shop")), None).is_some());
    }

    #[test]
    fn another_server_is_not_finished() {
        let planned = node("1", owner("p", None));
        assert!(refused(&planned, owner("p", None), Some(planned.clone())).is_none());
        let other = refused(
            &node("2", owner("p", None)),
            owner("p", None),
            Some(planned),
        );
        assert_eq!(
            other.unwrap().message,
            "server `web` at local: its id is `2` now, not `1`; nothing was done to it"
        );
    }
}
