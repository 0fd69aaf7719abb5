//! Volumes, as scripts describe them.

use rhai::{Array, Dynamic, Map};

use super::{
    Scripted,
    map::{noted, text, texts},
};
use crate::provider::{CreateVolume, Error, Node, Volume, tag};

impl Scripted {
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

    pub(super) async fn list_volumes(&self) -> Result<Vec<Volume>, Error> {
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

    pub(super) async fn volume_again(&self, volume: &Volume) -> Result<Option<Volume>, Error> {
        if !self.0.has("look_up_volume") {
            let volumes = self.list_volumes().await?;
            return Ok(volumes.into_iter().find(|found| found.id == volume.id));
        }
        let id = volume.id.clone().into();
        let found = self.call("look_up_volume", vec![id]).await?;
        if found.is_unit() {
            return Ok(None);
        }
        self.volume(found)
    }

    pub(super) async fn order_volume(&self, create: &CreateVolume) -> Result<Volume, Error> {
        let mut order = Map::new();
        order.insert("name".into(), self.full(&create.name).into());
        order.insert("size".into(), i64::from(create.size).into());
        order.insert("node".into(), self.describe(&create.node));
        order.insert("tags".into(), self.tags(&create.owner).into());
        self.call_for_volume("create_volume", vec![order.into()])
            .await
    }

    pub(super) async fn attach(&self, volume: &Volume, node: &Node) -> Result<Volume, Error> {
        let arguments = vec![self.describe_volume(volume), self.describe(node)];
        self.call_for_volume("attach_volume", arguments).await
    }

    pub(super) async fn detach(&self, volume: &Volume) -> Result<(), Error> {
        let arguments = vec![self.describe_volume(volume)];
        self.call_volumes("detach_volume", arguments)
            .await
            .map(drop)
    }

    pub(super) async fn grow(&self, volume: &Volume, size: u32) -> Result<(), Error> {
        let arguments = vec![self.describe_volume(volume), i64::from(size).into()];
        self.call_volumes("grow_volume", arguments).await.map(drop)
    }

    pub(super) async fn delete(&self, volume: &Volume) -> Result<(), Error> {
        let arguments = vec![self.describe_volume(volume)];
        self.call_volumes("delete_volume", arguments)
            .await
            .map(drop)
    }
}
