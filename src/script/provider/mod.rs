//! Scripted providers: scripts with functions that list, create and terminate servers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use rhai::{Array, Dynamic, Engine, Map};

use super::{
    embedded::{PROVIDERS, provider_file},
    engine,
    invoke::call,
    library::Library,
};
use crate::{
    api::{Api, Frame, to_json},
    core::{
        diagnostic::{Diagnostic, Failure, Kind, did_you_mean},
        event::Activity,
        owner::Owner,
        value::{Entry, Invalid, Value},
    },
    fleet::alone,
    inventory::Inventory,
    project::{PROVIDERS_FOLDER, ProjectId},
    provider::{
        Address, CloudFirewall, Cost, Create, CreateImage, CreateVolume, Error, Finding,
        ImageState, Node, NodeState, Price, PricePart, Prices, Provider, SavedImage, ServerChange,
        Verdict, Volume, choose_image, differences, is_image_name, is_user, look_again,
        look_again_at_image, refuse_other_server, refuse_protected, tag,
    },
    ssh::{KeyPair, Login},
};

/// The name under which the engine knows the script.
const MODULE: &str = "hitc_provider";

/// The functions of a provider that change nothing. The commands that they run, such as a cloud's own
/// client, run in a dry run too.
const READING: [&str; 16] = [
    "missing",
    "account",
    "options",
    "list",
    "look_up",
    "quote",
    "costs",
    "check",
    "check_resize",
    "firewalls",
    "prices",
    "user",
    "images",
    "console",
    "volumes",
    "look_up_volume",
];

/// A scripted provider.
struct Scripted(Arc<Script>);

/// The script, which is loaded on first use.
struct Script {
    name: String,
    /// The name of the file in errors.
    file: String,
    inventory: Arc<Inventory>,
    inner: Mutex<Option<Result<Arc<Inner>, Failure>>>,
}

struct Inner {
    engine: Engine,
    library: Arc<Library>,
    functions: Vec<String>,
}

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

impl Script {
    /// Loads the script, once.
    fn inner(&self) -> Result<Arc<Inner>, Failure> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.get_or_insert_with(|| self.load()).clone()
    }

    fn load(&self) -> Result<Arc<Inner>, Failure> {
        let context = &self.inventory.context;
        let api = Arc::new(Api::default());
        let library = Arc::new(Library::new(context.project.root.clone()));
        let mut engine = engine::new(&api, &library, &context.events, &context.cancel);
        let module = library.module(&engine, &self.file)?;
        let unit = library.unit(&engine, &self.file)?;
        let functions = unit
            .ast
            .iter_functions()
            .map(|f| f.name.to_owned())
            .collect();
        engine.register_static_module(MODULE, module);
        api.start(self.inventory.clone());
        Ok(Arc::new(Inner {
            engine,
            library,
            functions,
        }))
    }

    /// Calls a function of the script, on a thread for scripts.
    fn call_here(&self, function: &str, arguments: Vec<Dynamic>) -> Result<Dynamic, Failure> {
        let called = alone(|| {
            let inner = self.inner()?;
            if !inner.functions.iter().any(|known| known == function) {
                let text = format!(
                    "provider `{}`: `{}` has no `{function}`",
                    self.name, self.file
                );
                return Err(Diagnostic::new(Kind::Usage, text).into());
            }
            let is_readonly = READING.contains(&function);
            let frame = Frame::new(&self.inventory.context.mode, is_readonly);
            let function = format!("{MODULE}::{function}");
            call(&inner.engine, &inner.library, &frame, &function, arguments)
        });
        called.unwrap_or_else(|error| Err(Diagnostic::new(Kind::Failed, error.to_string()).into()))
    }

    /// Merges the options of the user with the defaults of the script.
    fn options(&self, options: &Value) -> Result<Map, Invalid> {
        let refuse = |text: String| Invalid::new(options, text);
        let known = self
            .call_here("options", Vec::new())
            .map_err(|failure| refuse(self.placed(&failure)))?;
        let mut merged = known
            .try_cast::<Map>()
            .ok_or_else(|| refuse(format!("`{}`: `options` must return a map", self.file)))?;
        for Entry {
            key,
            key_span,
            value,
        } in options.to_map(&self.name)?
        {
            let Some(default) = merged.get(key.as_str()).cloned() else {
                let message = format!("provider `{}`: unknown option `{key}`", self.name);
                let near = did_you_mean(&key, merged.keys().map(rhai::Identifier::as_str));
                return Err(Invalid::at(key_span, message).help(near));
            };
            // Each is of the kind that its default is of.
            let value = if default.is_bool() {
                value.to_bool(&key)?.into()
            } else if default.is_int() {
                value.to_integer(&key, i64::MIN..i64::MAX)?.into()
            } else if default.is_array() {
                let items = value.to_list(&key)?;
                let texts = items
                    .iter()
                    .map(|item| item.to_text(&key).map(Dynamic::from));
                texts.collect::<Result<Array, _>>()?.into()
            } else {
                let text = value.to_text(&key)?;
                if key == "user" && !is_user(&text) {
                    return Err(Invalid::new(&value, format!("invalid user `{text}`")));
                }
                text.into()
            };
            merged.insert(key.into(), value);
        }
        Ok(merged)
    }

    /// Describes a failure with its file and line.
    fn placed(&self, failure: &Failure) -> String {
        match failure.0.first().and_then(|first| first.excerpts.first()) {
            Some(place) => format!("{}:{}: {failure}", place.source.name, place.line()),
            None => format!("{}: {failure}", self.file),
        }
    }

    fn has(&self, function: &str) -> bool {
        self.inner()
            .is_ok_and(|inner| inner.functions.iter().any(|known| known == function))
    }
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

    /// Converts a server that the script returned; none if it does not belong to this prefix.
    fn node(&self, described: Dynamic) -> Result<Option<Node>, Error> {
        let map = described.try_cast::<Map>().ok_or_else(|| Error::Failed {
            provider: self.0.name.clone(),
            what: format!("reading a server from `{}`", self.0.file),
            cause: "it is not a map".to_owned(),
        })?;
        let full = text(&map, "name");
        let noted = |key: &str| noted(&map, key);
        let own = &self.0.inventory.context.settings.name_prefix;
        let Some(name) = tag::name_of(&full, own, noted("prefix").as_deref()) else {
            return Ok(None);
        };
        let settled = text(&map, "settled");
        let state = match (text(&map, "state").as_str(), settled.as_str()) {
            ("running", "failed") => NodeState::Failed,
            ("running", "creating") => NodeState::Unfinished,
            ("running", _) => NodeState::Running,
            ("stopping", _) => NodeState::Stopping,
            ("suspended", _) => NodeState::Suspended,
            ("stopped", _) => NodeState::Stopped,
            _ => NodeState::Creating,
        };
        let node = Node {
            provider: self.0.name.clone(),
            name: name.to_owned(),
            id: text(&map, "id"),
            size: text(&map, "size"),
            image: noted("said").unwrap_or_else(|| text(&map, "image")),
            region: text(&map, "region"),
            ip: Address::parse_ip(&text(&map, "ip")),
            internal_ip: Address::parse_ip(&text(&map, "internal_ip")),
            state,
            created: text(&map, "created").parse().ok(),
            owner: tag::ownership(noted("project"), noted("manifest")),
            user: Some(text(&map, "user")).filter(|user| !user.is_empty()),
            is_protected: map.get("protect").is_some_and(|p| p.as_bool() == Ok(true)),
            container: None,
        };
        Ok(Some(node.of_cloud()))
    }

    fn describe(&self, node: &Node) -> Dynamic {
        let mut map = Map::new();
        for (key, value) in [
            ("id", node.id.clone()),
            ("name", self.full(&node.name)),
            ("size", node.size.clone()),
            ("region", node.region.clone()),
            ("ip", node.ip_text()),
            ("user", node.user.clone().unwrap_or_default()),
        ] {
            map.insert(key.into(), value.into());
        }
        map.into()
    }

    /// Converts a volume that the script returned; none if it does not belong to this prefix.
    fn volume(&self, described: Dynamic) -> Result<Option<Volume>, Error> {
        let failed = |cause: &str| Error::Failed {
            provider: self.0.name.clone(),
            what: format!("reading a volume from `{}`", self.0.file),
            cause: cause.to_owned(),
        };
        let map = described
            .try_cast::<Map>()
            .ok_or_else(|| failed("it is not a map"))?;
        let own = &self.0.inventory.context.settings.name_prefix;
        let prefix = noted(&map, "prefix").unwrap_or_default();
        let full = text(&map, "name");
        let Some(name) = tag::name_of(&full, own, Some(&prefix)) else {
            return Ok(None);
        };
        let size = text(&map, "size").parse();
        let volume = Volume {
            provider: self.0.name.clone(),
            id: text(&map, "id"),
            name: name.to_owned(),
            size: size.map_err(|_| failed("its size is not a number"))?,
            region: text(&map, "region"),
            server: Some(text(&map, "server")).filter(|id| !id.is_empty()),
            owner: tag::ownership(noted(&map, "project"), None),
            devices: texts(&map, "devices"),
        };
        Ok(Some(volume.of_cloud()))
    }

    fn describe_volume(&self, volume: &Volume) -> Dynamic {
        let mut map = Map::new();
        for (key, value) in [
            ("id", volume.id.clone().into()),
            ("name", self.full(&volume.name).into()),
            ("size", i64::from(volume.size).into()),
            ("region", volume.region.clone().into()),
            ("server", volume.server.clone().unwrap_or_default().into()),
        ] {
            map.insert(key.into(), value);
        }
        map.into()
    }

    /// Calls a function of the script that returns a volume of ours.
    async fn call_for_volume(
        &self,
        function: &'static str,
        arguments: Vec<Dynamic>,
    ) -> Result<Volume, Error> {
        let volume = self.volume(self.call_volumes(function, arguments).await?)?;
        volume.ok_or_else(|| Error::Failed {
            provider: self.0.name.clone(),
            what: function.to_owned(),
            cause: "the volume has another name or prefix than requested".to_owned(),
        })
    }

    /// Calls a function of the script about volumes, which it may not have.
    async fn call_volumes(
        &self,
        function: &'static str,
        arguments: Vec<Dynamic>,
    ) -> Result<Dynamic, Error> {
        if self.0.has(function) {
            return self.call(function, arguments).await;
        }
        Err(Error::Unsupported {
            provider: self.0.name.clone(),
            what: "manage volumes",
            help: format!("`{}` has no function `{function}`", self.0.file),
        })
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

    /// Converts an image that the script returned; none if it does not belong to this prefix.
    fn saved_image(&self, described: &Map) -> Option<SavedImage> {
        let full = text(described, "name");
        let noted = |key: &str| noted(described, key);
        let own = &self.0.inventory.context.settings.name_prefix;
        let name = tag::name_of(&full, own, noted("prefix").as_deref())?;
        let size = described.get("size").cloned();
        #[expect(clippy::cast_precision_loss, reason = "no image has 2^53 GiB")]
        let size = size.and_then(|size| {
            let whole = size.as_int().map(|size| size as f64);
            size.as_float().or(whole).ok()
        });
        let image = SavedImage {
            provider: self.0.name.clone(),
            name: name.to_owned(),
            id: text(described, "id"),
            server: noted("server").unwrap_or_default(),
            size: size.filter(|size| *size > 0.0),
            region: text(described, "region"),
            created: text(described, "created").parse().ok(),
            state: match text(described, "state").as_str() {
                "usable" => ImageState::Usable,
                "creating" => ImageState::Creating,
                _ => ImageState::Failed,
            },
            owner: tag::ownership(noted("project"), None),
        };
        Some(image.of_cloud())
    }

    /// The images of our prefix, as hitc and as the script describes them.
    async fn saved_images(&self) -> Result<Vec<(SavedImage, Map)>, Error> {
        let listed = self.call("images", Vec::new()).await?;
        let listed = listed.try_cast::<Array>().unwrap_or_default();
        let maps = listed.into_iter().filter_map(Dynamic::try_cast::<Map>);
        let known = maps.filter_map(|map| Some((self.saved_image(&map)?, map)));
        Ok(known.collect())
    }

    /// Adds the image to the options of an order, as `saved`, if they name one that hitc made. Fails if it is
    /// not usable yet.
    async fn with_saved_image(&self, mut options: Map) -> Result<Map, Error> {
        let name = text(&options, "image");
        if !is_image_name(&name) || !self.0.has("images") {
            return Ok(options);
        }
        let project = self.0.inventory.context.project.id();
        let project = project.map_err(|error| Error::Script(Box::new(error)))?;
        let project = project.as_ref().map(ProjectId::as_str);
        let known = self.saved_images().await?;
        let images = known.iter().map(|(image, _)| image);
        if let Some(chosen) = choose_image(images, &name, project)? {
            chosen.require_usable()?;
            let map = known.iter().find(|(image, _)| image.id == chosen.id);
            let map = map.map(|(_, map)| map.clone()).unwrap_or_default();
            options.insert("saved".into(), map.into());
        }
        Ok(options)
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
        if !self.0.has("costs") {
            return Ok(vec![Cost::Unknown; nodes.len()]);
        }
        let described: Array = nodes.iter().map(|node| self.describe(node)).collect();
        let found = self.call("costs", vec![described.into()]).await?;
        let found = found.try_cast::<Map>().unwrap_or_default();
        let of = |node: &Node| {
            let found = found.get(node.id.as_str()).cloned();
            let found = found.and_then(Dynamic::try_cast::<Map>);
            found.map_or(Cost::Unknown, |found| cost(&found))
        };
        Ok(nodes.iter().map(of).collect())
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
        self.ready().await?;
        if !self.0.has("prices") {
            return Err(Error::Unsupported {
                provider: self.0.name.clone(),
                what: "list prices",
                help: format!("`{}` has no function `prices`", self.0.file),
            });
        }
        let options = self.0.options(options)?;
        let list = self.call("prices", vec![options.into()]).await?;
        let list = list.try_cast::<Map>().unwrap_or_default();
        let columns = texts(&list, "columns");
        let (mut rows, mut months) = (Vec::new(), Vec::new());
        for row in array(&list, "rows") {
            let row = row.try_cast::<Map>().unwrap_or_default();
            let cell = |key: &str| row.get(key).map(to_json).unwrap_or_default();
            rows.push(columns.iter().map(|column| cell(column)).collect());
            months.push(cell("month"));
        }
        Ok(Prices {
            currency: text(&list, "currency"),
            includes: texts(&list, "includes"),
            columns,
            rows,
            months,
        })
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
        let mut found: HashMap<String, CloudFirewall> = HashMap::new();
        if !self.has_firewalls() {
            return Ok(found);
        }
        let all = self.call("firewalls", Vec::new()).await?;
        for map in all.try_cast::<Array>().unwrap_or_default() {
            let map = map.try_cast::<Map>().unwrap_or_default();
            let firewall = firewall(&map);
            for server in array(&map, "servers") {
                found.entry(server.to_string()).or_default().join(&firewall);
            }
        }
        Ok(found)
    }

    async fn images(&self) -> Result<Vec<SavedImage>, Error> {
        self.ready().await?;
        if !self.0.has("images") {
            return Err(self.lacks("make images of servers", "images"));
        }
        let images = self.saved_images().await?;
        Ok(images.into_iter().map(|(image, _)| image).collect())
    }

    async fn create_image(
        &self,
        create: &CreateImage,
        activity: &Activity,
    ) -> Result<SavedImage, Error> {
        if !self.0.has("create_image") {
            return Err(self.lacks("make images of servers", "create_image"));
        }
        if let Some(unfinished) = &create.unfinished {
            return Ok(unfinished.clone());
        }
        let node = look_again(self, &create.node).await?;
        let mut tags = self.tags(&create.owner);
        tags.insert("server".into(), tag::encode(&node.name).into());
        let mut order = Map::new();
        order.insert("name".into(), self.full(&create.name).into());
        order.insert("node".into(), self.describe(&node));
        order.insert("tags".into(), tags.into());
        activity.update("ordering");
        let made = self.call("create_image", vec![order.into()]).await?;
        let made = made.try_cast::<Map>().unwrap_or_default();
        self.saved_image(&made).ok_or_else(|| Error::Failed {
            provider: self.0.name.clone(),
            what: format!("making image `{}`", create.name),
            cause: "the provider made a different image than requested".to_owned(),
        })
    }

    async fn delete_image(&self, image: &SavedImage) -> Result<(), Error> {
        if !self.0.has("delete_image") {
            return Err(self.lacks("delete images", "delete_image"));
        }
        if look_again_at_image(self, image).await?.is_none() {
            return Ok(());
        }
        let mut map = Map::new();
        map.insert("id".into(), image.id.clone().into());
        map.insert("name".into(), self.full(&image.name).into());
        self.call("delete_image", vec![map.into()]).await.map(drop)
    }

    async fn console(&self, node: &Node) -> Result<String, Error> {
        if !self.0.has("console") {
            return Err(self.lacks("read the console of a server", "console"));
        }
        let output = self.call("console", vec![self.describe(node)]).await?;
        Ok(output.into_string().unwrap_or_default())
    }

    async fn volumes(&self) -> Result<Vec<Volume>, Error> {
        if self.0.has("volumes") {
            self.ready().await?;
        }
        let listed = self.call_volumes("volumes", Vec::new()).await?;
        let listed = listed.try_cast::<Array>().unwrap_or_default();
        let mut volumes = Vec::new();
        for described in listed {
            volumes.extend(self.volume(described)?);
        }
        Ok(volumes)
    }

    async fn find_volume(&self, volume: &Volume) -> Result<Option<Volume>, Error> {
        if !self.0.has("look_up_volume") {
            let volumes = self.volumes().await?;
            return Ok(volumes.into_iter().find(|found| found.id == volume.id));
        }
        let id = volume.id.clone().into();
        let found = self.call("look_up_volume", vec![id]).await?;
        if found.is_unit() {
            return Ok(None);
        }
        self.volume(found)
    }

    async fn create_volume(&self, create: &CreateVolume) -> Result<Volume, Error> {
        let mut order = Map::new();
        order.insert("name".into(), self.full(&create.name).into());
        order.insert("size".into(), i64::from(create.size).into());
        order.insert("node".into(), self.describe(&create.node));
        order.insert("tags".into(), self.tags(&create.owner).into());
        self.call_for_volume("create_volume", vec![order.into()])
            .await
    }

    async fn attach_volume(&self, volume: &Volume, node: &Node) -> Result<Volume, Error> {
        let arguments = vec![self.describe_volume(volume), self.describe(node)];
        self.call_for_volume("attach_volume", arguments).await
    }

    async fn detach_volume(&self, volume: &Volume) -> Result<(), Error> {
        let arguments = vec![self.describe_volume(volume)];
        self.call_volumes("detach_volume", arguments)
            .await
            .map(drop)
    }

    async fn grow_volume(&self, volume: &Volume, size: u32) -> Result<(), Error> {
        let arguments = vec![self.describe_volume(volume), i64::from(size).into()];
        self.call_volumes("grow_volume", arguments).await.map(drop)
    }

    async fn delete_volume(&self, volume: &Volume) -> Result<(), Error> {
        let arguments = vec![self.describe_volume(volume)];
        self.call_volumes("delete_volume", arguments)
            .await
            .map(drop)
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

/// Returns the value of a key as text; empty if it is missing.
fn text(map: &Map, key: &str) -> String {
    let found = map.get(key).filter(|value| !value.is_unit());
    found.map_or(String::new(), ToString::to_string)
}

/// Converts a firewall that the script returned.
fn firewall(map: &Map) -> CloudFirewall {
    let mut firewall = CloudFirewall {
        name: format!("firewall `{}`", text(map, "name")),
        ..CloudFirewall::default()
    };
    for rule in array(map, "rules") {
        let rule = rule.try_cast::<Map>().unwrap_or_default();
        let from = array(&rule, "from");
        let from: Vec<String> = from.iter().map(ToString::to_string).collect();
        let port = |key: &str, default| text(&rule, key).parse().unwrap_or(default);
        let (first, last) = (port("first", 1), port("last", u16::MAX));
        let from = from.iter().map(String::as_str);
        firewall.add(&text(&rule, "protocol"), first, last, from);
    }
    firewall
}

/// Converts what the script found out about the account.
fn finding(found: Dynamic) -> Finding {
    let map = found.try_cast::<Map>().unwrap_or_default();
    let verdict = match text(&map, "result").as_str() {
        "ok" => Verdict::Ok,
        "missing" => Verdict::Missing,
        _ => Verdict::Unknown,
    };
    Finding::new(&text(&map, "what"), verdict, text(&map, "detail"))
}

/// Converts a cost that the script returned: the price of an hour and a month, or of each of its parts.
fn cost(map: &Map) -> Cost {
    let price_of = |map: &Map| -> Option<(f64, f64)> {
        let number = |key: &str| map.get(key)?.as_float().ok();
        Some((number("hour")?, number("month")?))
    };
    let parts = array(map, "parts");
    let parts: Option<Vec<PricePart>> = parts
        .into_iter()
        .map(|part| {
            let part = part.try_cast::<Map>()?;
            let (hour, month) = price_of(&part)?;
            let what = text(&part, "what");
            Some(PricePart { what, hour, month })
        })
        .collect();
    let currency = text(map, "currency");
    let tax = Some(text(map, "tax")).filter(|tax| !tax.is_empty());
    let mut price = match (parts, price_of(map)) {
        (Some(parts), _) if !parts.is_empty() => Price::of_parts(currency, parts, tax),
        (Some(_), Some((hour, month))) => Price::new(currency, hour, month),
        _ => return Cost::Unknown,
    };
    price.unknown = texts(map, "unknown");
    Cost::Price(price)
}

/// Returns the items of a key; none if it is missing.
fn array(map: &Map, key: &str) -> Array {
    let found = map.get(key).cloned();
    found.and_then(Dynamic::try_cast).unwrap_or_default()
}

/// Returns the texts of a key; none if it is missing.
fn texts(map: &Map, key: &str) -> Vec<String> {
    array(map, key).iter().map(ToString::to_string).collect()
}

/// Returns the decoded value of a tag, if it is set.
fn noted(map: &Map, key: &str) -> Option<String> {
    tag::decode(&text(map, key)).filter(|text| !text.is_empty())
}

/// Converts the failure of a script: its first error.
fn script_error(failure: Failure) -> Error {
    let first = failure.0.into_iter().next();
    Error::Script(Box::new(first.unwrap_or_else(|| {
        Diagnostic::new(Kind::Failed, "the script failed without an error")
    })))
}
