//! Scripted providers: scripts with functions that list, create and terminate servers.

mod firewall;
mod map;
mod price;
mod saved_image;
mod script;
mod server;
mod volume;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use rhai::{Array, Dynamic, Map};

use self::{
    map::{noted, text},
    price::{cost, finding},
    script::Script,
};
use super::embedded::{PROVIDERS, provider_file};
use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::Activity,
        owner::Owner,
        value::{Invalid, Value},
    },
    inventory::Inventory,
    project::PROVIDERS_FOLDER,
    provider::{
        CloudFirewall, Cost, Create, CreateImage, CreateVolume, Error, Finding, Node, Prices,
        Provider, SavedImage, ServerChange, Verdict, Volume, differences, look_again,
        refuse_other_server, refuse_protected, tag,
    },
    ssh::{KeyPair, Login},
};

/// A scripted provider.
struct Scripted(Arc<Script>);

/// Returns the scripted providers: the project's own, then those that ship with the program. They
/// share the context and the connections of `inventory`, which has the other providers.
pub fn scripted(inventory: &Arc<Inventory>) -> Vec<Arc<dyn Provider>> {
    let root = &inventory.context.project.root;
    let mut found: Vec<(String, String)> = Vec::new();
    let own = std::fs::read_dir(root.join(PROVIDERS_FOLDER))
        .into_iter()
        .flatten();
    for entry in own.filter_map(Result::ok) {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "rhai")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            found.push((name.to_owned(), format!("{PROVIDERS_FOLDER}/{name}.rhai")));
        }
    }
    found.sort();
    for (name, _) in PROVIDERS {
        if !found.iter().any(|(own, _)| own == name) {
            found.push((name.to_owned(), provider_file(name)));
        }
    }
    let provider = |(name, file)| -> Arc<dyn Provider> {
        Arc::new(Scripted(Arc::new(Script {
            name,
            file,
            inventory: inventory.clone(),
            inner: Mutex::default(),
        })))
    };
    found.into_iter().map(provider).collect()
}

impl Scripted {
    /// Calls a function of the script without blocking the runtime.
    async fn call(
        &self,
        function: &'static str,
        arguments: Vec<Dynamic>,
    ) -> Result<Dynamic, Error> {
        let script = self.0.clone();
        let called = tokio::task::spawn_blocking(move || script.call_here(function, arguments));
        match called.await {
            Ok(answer) => answer.map_err(script_error),
            Err(error) => Err(Error::Failed {
                provider: self.0.name.clone(),
                what: function.to_owned(),
                cause: error.to_string(),
            }),
        }
    }

    /// Fails if the provider is not configured on this machine.
    async fn ready(&self) -> Result<(), Error> {
        let missing = self.call("missing", Vec::new()).await?;
        let Some(missing) = missing.try_cast::<Map>() else {
            return Ok(());
        };
        Err(Error::NotConfigured {
            provider: self.0.name.clone(),
            cause: text(&missing, "cause"),
            help: text(&missing, "help"),
        })
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.0.inventory.context.settings.name_prefix)
    }

    /// The tags that mark a server as this owner's, encoded for labels.
    fn tags(&self, owner: &Owner) -> Map {
        let mut tags = Map::new();
        let mut note = |key: &str, value: &str| tags.insert(key.into(), tag::encode(value).into());
        note("project", &owner.project);
        note("prefix", &self.0.inventory.context.settings.name_prefix);
        if let Some(manifest) = &owner.manifest {
            note("manifest", manifest);
        }
        tags
    }

    /// The error of a script without a function.
    fn lacks(&self, what: &'static str, function: &str) -> Error {
        Error::Unsupported {
            provider: self.0.name.clone(),
            what,
            help: format!("`{}` has no function `{function}`", self.0.file),
        }
    }

    fn key(&self) -> Result<KeyPair, Error> {
        let path = self.0.inventory.context.project.data.join("id_ed25519");
        Ok(KeyPair::ensure(&path)?)
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        self.0.options(options).map(drop)
    }

    async fn quote(&self, name: &str, options: &Value) -> Result<Cost, Error> {
        self.ready().await?;
        let options = self.0.options(options)?;
        if !self.0.has("quote") {
            return Ok(Cost::Unknown);
        }
        let options = self.with_saved_image(options).await?;
        let arguments = vec![self.full(name).into(), options.into()];
        let quoted = self.call("quote", arguments).await?;
        let Some(price) = quoted.try_cast::<Map>() else {
            return Ok(Cost::Unknown);
        };
        Ok(cost(&price))
    }

    async fn check_resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        if !self.0.has("check_resize") {
            return Ok(());
        }
        let arguments = vec![self.describe(node), self.0.options(options)?.into()];
        self.call("check_resize", arguments).await.map(drop)
    }

    async fn costs(&self, nodes: &[Node]) -> Result<Vec<Cost>, Error> {
        self.present_costs(nodes).await
    }

    async fn check_account(&self) -> Result<Vec<Finding>, Error> {
        self.ready().await?;
        if !self.0.has("check") {
            self.list().await?;
            return Ok(vec![Finding::new("list servers", Verdict::Ok, "")]);
        }
        let found = self.call("check", Vec::new()).await?;
        let found = found.try_cast::<Array>().unwrap_or_default();
        Ok(found.into_iter().map(finding).collect())
    }

    async fn prices(&self, options: &Value) -> Result<Prices, Error> {
        self.price_list(options).await
    }

    async fn cache_key(&self) -> Option<String> {
        if !self.0.has("account") {
            return None;
        }
        let account = self.call("account", Vec::new()).await.ok()?;
        let prefix = &self.0.inventory.context.settings.name_prefix;
        Some(format!("{prefix}\n{account}"))
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        self.ready().await?;
        let listed = self.call("list", Vec::new()).await?;
        let listed = listed.try_cast::<Array>().unwrap_or_default();
        let mut nodes = Vec::new();
        for described in listed {
            nodes.extend(self.node(described)?);
        }
        Ok(nodes)
    }

    async fn find(&self, node: &Node) -> Result<Option<Node>, Error> {
        let found = if self.0.has("look_up") {
            let found = self.call("look_up", vec![node.id.clone().into()]).await?;
            Some(found).filter(|found| !found.is_unit())
        } else {
            let listed = self.call("list", Vec::new()).await?;
            let listed = listed.try_cast::<Array>().unwrap_or_default();
            let is_it = |described: &Dynamic| {
                let map = described.read_lock::<Map>();
                map.is_some_and(|map| text(&map, "id") == node.id)
            };
            listed.into_iter().find(is_it)
        };
        let Some(described) = found else {
            return Ok(None);
        };
        if let Some(found) = self.node(described.clone())? {
            return Ok(Some(found));
        }
        let map = described.try_cast::<Map>().unwrap_or_default();
        let own = &self.0.inventory.context.settings.name_prefix;
        let tagged = noted(&map, "prefix");
        let cause = tag::no_name_cause(&text(&map, "name"), own, tagged.as_deref());
        Err(node.unrecognized(cause))
    }

    async fn create(&self, create: &Create, activity: &Activity) -> Result<Node, Error> {
        let options = self.0.options(&create.options)?;
        let options = self.with_saved_image(options).await?;
        let mut tags = self.tags(&create.owner);
        // In the user's words: what the cloud calls it may change.
        tags.insert("image".into(), tag::encode(&text(&options, "image")).into());
        let mut order = Map::new();
        order.insert("name".into(), self.full(&create.name).into());
        order.insert("options".into(), options.into());
        order.insert("tags".into(), tags.into());
        order.insert("key".into(), self.key()?.public.into());
        activity.update("ordering");
        let made = self.call("create", vec![order.into()]).await?;
        let node = self.node(made)?.ok_or_else(|| Error::Failed {
            provider: self.0.name.clone(),
            what: format!("creating `{}`", create.name),
            cause: "the provider created a different server than requested".to_owned(),
        })?;
        refuse_other_server(&node, create)?;
        Ok(node)
    }

    async fn settle(&self, node: &Node, is_ready: bool) -> Result<(), Error> {
        let arguments = vec![self.describe(node), is_ready.into()];
        self.call("settle", arguments).await.map(drop)
    }

    async fn terminate(&self, node: &Node) -> Result<(), Error> {
        match look_again(self, node).await {
            Ok(found) => refuse_protected([&found])?,
            Err(Error::Gone { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        let arguments = vec![self.describe(node)];
        self.call("terminate", arguments).await.map(drop)
    }

    async fn reboot(&self, node: &Node) -> Result<(), Error> {
        look_again(self, node).await?;
        let arguments = vec![self.describe(node)];
        self.call("reboot", arguments).await.map(drop)
    }

    async fn start(&self, node: &Node) -> Result<(), Error> {
        if look_again(self, node).await?.state.is_up() {
            return Ok(());
        }
        let function = if self.0.has("start") {
            "start"
        } else {
            "reboot"
        };
        let arguments = vec![self.describe(node)];
        self.call(function, arguments).await.map(drop)
    }

    async fn rename(&self, node: &Node, name: &str) -> Result<(), Error> {
        look_again(self, node).await?;
        let arguments = vec![self.describe(node), self.full(name).into()];
        self.call("rename", arguments).await.map(drop)
    }

    async fn adopt(&self, node: &Node, owner: &Owner) -> Result<(), Error> {
        if !self.0.has("adopt") {
            return Err(Error::Unsupported {
                provider: self.0.name.clone(),
                what: "change the owner of a server",
                help: format!("`{}` has no function `adopt`", self.0.file),
            });
        }
        look_again(self, node).await?;
        let tags = self.tags(owner);
        let arguments = vec![self.describe(node), tags.into()];
        self.call("adopt", arguments).await.map(drop)
    }

    fn changes(&self, node: &Node, options: &Value) -> Result<Vec<ServerChange>, Invalid> {
        let wanted = self.0.options(options)?;
        let in_place = self.0.has("resize");
        // An image's name may have been said in other words.
        let same = |text: &str| text.to_lowercase().replace(' ', "-");
        let (size, region) = (text(&wanted, "size"), text(&wanted, "region"));
        let image = same(&text(&wanted, "image"));
        let had = same(&node.image);
        Ok(differences([
            ("size", &node.size, &size, in_place),
            ("image", &had, &image, false),
            ("region", &node.region, &region, false),
        ]))
    }

    async fn resize(&self, node: &Node, options: &Value) -> Result<(), Error> {
        look_again(self, node).await?;
        let arguments = vec![self.describe(node), self.0.options(options)?.into()];
        self.call("resize", arguments).await.map(drop)
    }

    fn has_firewalls(&self) -> bool {
        self.0.has("firewalls")
    }

    async fn firewalls(&self, _: &[Node]) -> Result<HashMap<String, CloudFirewall>, Error> {
        self.list_firewalls().await
    }

    async fn images(&self) -> Result<Vec<SavedImage>, Error> {
        self.list_images().await
    }

    async fn create_image(
        &self,
        create: &CreateImage,
        activity: &Activity,
    ) -> Result<SavedImage, Error> {
        self.order_image(create, activity).await
    }

    async fn delete_image(&self, image: &SavedImage) -> Result<(), Error> {
        self.remove_image(image).await
    }

    async fn console(&self, node: &Node) -> Result<String, Error> {
        if !self.0.has("console") {
            return Err(self.lacks("read the console of a server", "console"));
        }
        let output = self.call("console", vec![self.describe(node)]).await?;
        Ok(output.into_string().unwrap_or_default())
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
        self.attach(volume, node).await
    }

    async fn detach_volume(&self, volume: &Volume) -> Result<(), Error> {
        self.detach(volume).await
    }

    async fn grow_volume(&self, volume: &Volume, size: u32) -> Result<(), Error> {
        self.grow(volume, size).await
    }

    async fn delete_volume(&self, volume: &Volume) -> Result<(), Error> {
        self.delete(volume).await
    }

    async fn login(&self, node: &Node) -> Result<Login, Error> {
        let user = if node.user.is_some() {
            node.user.clone()
        } else if self.0.has("user") {
            let user = self.call("user", vec![self.describe(node)]).await?;
            Some(user.to_string())
        } else {
            None
        };
        Ok(Login {
            name: node.name.clone(),
            address: node.ip_text(),
            user,
            identity: Some(self.key()?.path),
            // Clouds reuse the addresses of terminated servers, but not their ids.
            host_key_alias: Some(format!("{}-{}", self.0.name, node.id)),
            ..Login::default()
        })
    }

    async fn set_up(&self, activity: &Activity) -> Result<(), Error> {
        activity.update("listing its servers");
        self.list().await.map(drop)
    }
}

/// Converts the failure of a script: its first error.
fn script_error(failure: Failure) -> Error {
    let first = failure.0.into_iter().next();
    Error::Script(Box::new(first.unwrap_or_else(|| {
        Diagnostic::new(Kind::Failed, "the script failed without an error")
    })))
}
