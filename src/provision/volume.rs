//! Operations on volumes, by their names. Each of them does nothing if it was done before.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    core::owner::{Owner, Ownership},
    provider::{CreateVolume, Error, NAME_RULE, Node, Provider, Volume, is_name, look_again},
};

/// The timeout until a provider's list has a new volume, or no longer has a deleted one. The next
/// command finds volumes by the list.
const LISTED_TIMEOUT: Duration = Duration::from_secs(30);
const LISTED_PAUSE: Duration = Duration::from_millis(500);

/// Finds the volume of this name that belongs to `owner`'s project. Fails if only volumes of other
/// projects have the name, or if several of this project have it.
pub async fn find_volume(
    provider: &dyn Provider,
    name: &str,
    owner: &Owner,
) -> Result<Option<Volume>, Error> {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for listed in provider.volumes().await? {
        if listed.name != name {
            continue;
        }
        // The list may lag behind.
        let Some(volume) = provider.find_volume(&listed).await? else {
            continue;
        };
        if volume.name != name {
            continue;
        }
        let is_own = volume.owner.is_of_project(&owner.project);
        if is_own { &mut own } else { &mut others }.push(volume);
    }
    match (own.as_slice(), others.first()) {
        ([], None) => Ok(None),
        ([], Some(other)) => Err(not_owned(provider, other, owner)),
        ([volume], _) => Ok(Some(volume.clone())),
        ([first, second, ..], _) => Err(duplicate(first, second)),
    }
}

/// Finds a volume, which must exist.
async fn require_volume(
    provider: &dyn Provider,
    name: &str,
    owner: &Owner,
) -> Result<Volume, Error> {
    let found = find_volume(provider, name, owner).await?;
    found.ok_or_else(|| {
        let help = "`hitc run volume.list` lists the volumes of this project".to_owned();
        let text = format!("volume `{name}` not found at {}", provider.name());
        Error::invalid(text, Some(help))
    })
}

/// Creates a volume where a server can have it, or returns the existing one of that name. It must be in
/// the place of the server, and as large as ordered.
pub async fn create_volume(
    provider: &dyn Provider,
    create: &CreateVolume,
) -> Result<Volume, Error> {
    let name = &create.name;
    if !is_name(name) {
        let text = format!("invalid name of a volume `{name}`");
        return Err(Error::invalid(text, Some(NAME_RULE.to_owned())));
    }
    if let Some(volume) = find_volume(provider, name, &create.owner).await? {
        require_region(&volume, &create.node)?;
        if volume.size < create.size {
            let (has, wants) = (volume.size, create.size);
            return Err(Error::invalid(
                format!("volume `{name}` exists with {has} GiB, not {wants}"),
                Some(format!(
                    "grow it with `hitc run volume.grow {name} {wants}`"
                )),
            ));
        }
        return Ok(volume);
    }
    look_again(provider, &create.node).await?;
    let volume = provider.create_volume(create).await?;
    if !volume.owner.is_of_project(&create.owner.project) {
        return Err(not_owned(provider, &volume, &create.owner));
    }
    require_region(&volume, &create.node)?;
    wait_for_list(provider, &volume, true).await;
    // Where names are not unique, another run may have created one at the same time.
    find_volume(provider, name, &create.owner).await?;
    Ok(volume)
}

/// Attaches a volume to a server in its place, and returns it with its devices.
pub async fn attach_volume(
    provider: &dyn Provider,
    node: &Node,
    name: &str,
    owner: &Owner,
) -> Result<Volume, Error> {
    let Some(volume) = find_volume(provider, name, owner).await? else {
        let create = format!("hitc run -H {} volume.create {name}", node.name);
        return Err(Error::invalid(
            format!("volume `{name}` not found at {}", provider.name()),
            Some(format!("create it with `{create}`")),
        ));
    };
    require_region(&volume, node)?;
    match &volume.server {
        Some(server) if *server == node.id => Ok(volume),
        Some(server) => {
            let server = server_name(provider, server).await;
            Err(Error::invalid(
                format!("volume `{name}` is attached to server `{server}`"),
                Some(format!("detach it with `hitc run volume.detach {name}`")),
            ))
        }
        None => {
            let node = look_again(provider, node).await?;
            provider.attach_volume(&volume, &node).await
        }
    }
}

/// Detaches a volume from its server, which must not use it any more.
pub async fn detach_volume(
    provider: &dyn Provider,
    name: &str,
    owner: &Owner,
) -> Result<(), Error> {
    let volume = require_volume(provider, name, owner).await?;
    match volume.server {
        Some(_) => provider.detach_volume(&volume).await,
        None => Ok(()),
    }
}

/// Makes a volume larger, to a size in GiB.
pub async fn grow_volume(
    provider: &dyn Provider,
    name: &str,
    size: u32,
    owner: &Owner,
) -> Result<(), Error> {
    let volume = require_volume(provider, name, owner).await?;
    let has = volume.size;
    if size < has {
        return Err(Error::invalid(
            format!("volume `{name}` has {has} GiB: volumes cannot become smaller"),
            Some("create a smaller one, and copy the files".to_owned()),
        ));
    }
    if size == has {
        return Ok(());
    }
    provider.grow_volume(&volume, size).await
}

/// Deletes a volume. Succeeds if it does not exist.
pub async fn delete_volume(
    provider: &dyn Provider,
    name: &str,
    owner: &Owner,
) -> Result<(), Error> {
    let Some(volume) = find_volume(provider, name, owner).await? else {
        return Ok(());
    };
    if let Some(server) = &volume.server {
        let server = server_name(provider, server).await;
        return Err(Error::invalid(
            format!("volume `{name}` is attached to server `{server}`; nothing was deleted"),
            Some(format!("detach it with `hitc run volume.detach {name}`")),
        ));
    }
    provider.delete_volume(&volume).await?;
    wait_for_list(provider, &volume, false).await;
    Ok(())
}

/// Waits until the list shows a volume, or does not show it any more. The volume itself is there, or gone,
/// whatever the list says.
async fn wait_for_list(provider: &dyn Provider, volume: &Volume, is_there: bool) {
    let end = Instant::now() + LISTED_TIMEOUT;
    loop {
        let Ok(listed) = provider.volumes().await else {
            return;
        };
        let is_listed = listed.iter().any(|listed| listed.id == volume.id);
        if is_listed == is_there || Instant::now() > end {
            return;
        }
        sleep(LISTED_PAUSE).await;
    }
}

/// Fails if a server cannot have a volume because it is elsewhere.
fn require_region(volume: &Volume, node: &Node) -> Result<(), Error> {
    let (name, there, server) = (&volume.name, &volume.region, &node.name);
    if *there == node.region {
        return Ok(());
    }
    Err(Error::invalid(
        format!(
            "volume `{name}` is in `{there}`, and server `{server}` in `{}`",
            node.region
        ),
        Some("create a volume with another name in the server's region".to_owned()),
    ))
}

/// The name of the server with this id; the id if it cannot be found.
async fn server_name(provider: &dyn Provider, id: &str) -> String {
    let nodes = provider.list().await.unwrap_or_default();
    let node = nodes.into_iter().find(|node| node.id == id);
    node.map_or_else(|| id.to_owned(), |node| node.name)
}

fn not_owned(provider: &dyn Provider, volume: &Volume, owner: &Owner) -> Error {
    let (name, id) = (&volume.name, &volume.id);
    let cause = match &volume.owner {
        Ownership::Legacy(_) => "has no owner: its tag or label for the project is missing".into(),
        owner => owner.to_string(),
    };
    Error::invalid(
        format!("volume `{name}` ({id}) {cause}"),
        Some(format!(
            "choose another name; to take it over, {}",
            provider.adopt_volume_help(volume, owner)
        )),
    )
}

fn duplicate(first: &Volume, second: &Volume) -> Error {
    let (name, first, second) = (&first.name, &first.id, &second.id);
    Error::invalid(
        format!("two volumes of this project are named `{name}`: {first}, and {second}"),
        Some("rename or delete one of them at the provider".to_owned()),
    )
}
