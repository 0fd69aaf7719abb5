//! Images of servers, as scripts describe them.

use rhai::{Array, Dynamic, Map};

use super::{
    Scripted,
    map::{noted, text},
};
use crate::{
    core::event::Activity,
    project::ProjectId,
    provider::{
        CreateImage, Error, ImageState, SavedImage, choose_image, is_image_name, look_again,
        look_again_at_image, tag,
    },
};

impl Scripted {
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
    pub(super) async fn with_saved_image(&self, mut options: Map) -> Result<Map, Error> {
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

    pub(super) async fn list_images(&self) -> Result<Vec<SavedImage>, Error> {
        self.ready().await?;
        if !self.0.has("images") {
            return Err(self.lacks("make images of servers", "images"));
        }
        let images = self.saved_images().await?;
        Ok(images.into_iter().map(|(image, _)| image).collect())
    }

    pub(super) async fn order_image(
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

    pub(super) async fn remove_image(&self, image: &SavedImage) -> Result<(), Error> {
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
}
