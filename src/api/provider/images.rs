//! `provider::`: images of servers, and the console.

use futures_util::future::join_all;
use rhai::{Array, Dynamic, Map};

use crate::{
    api::{
        Host,
        call::{Answer, Call},
        value::from_json,
    },
    core::{
        diagnostic::{Diagnostic, Kind},
        text::escape_controls_in_lines,
    },
    project::ProjectId,
    provider::{self, CreateImage, Node, SavedImage, choose_image},
    provision,
};

/// The most bytes of a console that are returned: the last ones.
const CONSOLE_MOST: usize = 1024 * 1024;

/// Returns the project's images. A provider that fails is reported and does not hide the others.
pub(super) fn images(call: &Call) -> Answer<Array> {
    let project = call.check(call.context.project.id())?;
    let project = project.as_ref().map(ProjectId::as_str);
    let listed = async {
        let (images, errors) = all_images(call).await;
        call.inventory.warn(errors);
        Ok::<_, Diagnostic>(images)
    };
    let mut images = call.wait(listed)?;
    images.retain(|image| project.is_some_and(|project| image.owner.is_of_project(project)));
    Ok(images.iter().map(describe).collect())
}

/// The images of all configured providers that have some, of all owners, and the errors of the others.
async fn all_images(call: &Call<'_>) -> (Vec<SavedImage>, Vec<provider::Error>) {
    let ask = async |name: String| call.inventory.providers.get(&name)?.images().await;
    let names = call.inventory.providers.names().into_iter();
    let (mut images, mut errors) = (Vec::new(), Vec::new());
    for answer in join_all(names.map(ask)).await {
        match answer {
            Ok(mut found) => images.append(&mut found),
            Err(provider::Error::NotConfigured { .. } | provider::Error::Unsupported { .. }) => {}
            Err(error) => errors.push(error),
        }
    }
    images.sort_by(|a, b| (&a.provider, &a.name).cmp(&(&b.provider, &b.name)));
    (images, errors)
}

/// Describes an image for scripts. A field without a value is an empty text, or nothing.
fn describe(image: &SavedImage) -> Dynamic {
    let json = serde_json::to_value(image).unwrap_or_default();
    let mut map: Map = from_json(&json).try_cast().unwrap_or_default();
    let created = image.created.map_or(Dynamic::UNIT, |created| {
        let zoned = created.to_zoned(jiff::tz::TimeZone::system());
        zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string().into()
    });
    map.insert("created".into(), created);
    map.insert("owner".into(), image.owner.to_string().into());
    Dynamic::from_map(map)
}

/// Finds the project's image of this name or id, at one provider or at all.
pub(super) fn image(call: &Call, provider: Option<&str>, name: &str) -> Answer<SavedImage> {
    let project = call.check(call.context.project.id())?;
    let project = project.as_ref().map(ProjectId::as_str);
    let find = async {
        let (images, errors) = match provider {
            Some(provider) => (
                call.inventory.providers.get(provider)?.images().await?,
                Vec::new(),
            ),
            None => all_images(call).await,
        };
        let is_it = |image: &&SavedImage| image.name == name || image.id == name;
        let mut places: Vec<&str> = images
            .iter()
            .filter(is_it)
            .map(|image| image.provider.as_str())
            .collect();
        places.dedup();
        if places.len() > 1 {
            let message = format!(
                "several providers have an image `{name}`: {}",
                places.join(", ")
            );
            let help = "name one of them with `provider=NAME`".to_owned();
            return Err(Diagnostic::new(Kind::Usage, message).help(help));
        }
        // A provider that did not answer may have one of that name, too.
        if let Some(error) = errors.into_iter().next() {
            return Err(error.into());
        }
        let found = choose_image(&images, name, project)?;
        found.cloned().ok_or_else(|| {
            let message = format!("image `{name}` not found");
            let help = "`hitc run image.list` lists the images of this project".to_owned();
            Diagnostic::new(Kind::NotFound, message).help(help)
        })
    };
    call.wait(find)
}

pub(super) fn find(call: &Call, provider: &str, name: &str) -> Answer<Dynamic> {
    let provider = Some(provider).filter(|provider| !provider.is_empty());
    image(call, provider, name).map(|image| describe(&image))
}

pub(super) fn create_image(call: &Call, host: &Host, name: &str) -> Answer<Map> {
    let node = &host.0;
    let unfinished = check(call, node, name)?;
    let what = if unfinished.is_some() {
        "finish"
    } else {
        "make"
    };
    if call.would(|| format!("{what} image {name} of {}", node.name)) {
        return Ok(Map::new());
    }
    let image = make(call, node, name, unfinished)?;
    Ok(describe(&image).try_cast().unwrap_or_default())
}

/// Checks whether an image of this name can be made of a server: returns the one to be finished, if there is
/// one. In a test of scripts there is nothing to be asked.
pub(super) fn check(call: &Call, node: &Node, name: &str) -> Answer<Option<SavedImage>> {
    if call.mock().is_some() {
        return Ok(None);
    }
    let project = call.check(call.context.project.id())?;
    let project = project.as_ref().map(ProjectId::as_str);
    call.wait(async {
        let provider = call.inventory.providers.of(node)?;
        provision::check_new_image(provider.as_ref(), node, name, project).await
    })
}

/// Makes an image of a server, or finishes one, and waits until it is usable.
pub(super) fn make(
    call: &Call,
    node: &Node,
    name: &str,
    unfinished: Option<SavedImage>,
) -> Answer<SavedImage> {
    let owner = call.check(call.context.project.ensure_owner(&call.context.events))?;
    let create = CreateImage {
        node: node.clone(),
        name: name.to_owned(),
        owner,
        unfinished,
    };
    call.wait(async {
        let text = format!("making image {name}");
        let activity = call.context.events.start(node.name.as_str(), text);
        let provider = call.inventory.providers.of(node)?;
        let made = provision::create_image(provider.as_ref(), &create, &activity).await;
        // The server may have been rebooted for it.
        call.inventory.forget(node);
        let image = made?;
        activity.done(format!("image {name} ({}) is usable", image.id));
        Ok::<_, Diagnostic>(image)
    })
}

pub(super) fn delete_image(call: &Call, provider: Option<&str>, name: &str) -> Answer<()> {
    let place = provider.map(|provider| format!(" at {provider}"));
    if call.would(|| format!("delete image {name}{}", place.unwrap_or_default())) {
        return Ok(());
    }
    let image = image(call, provider, name)?;
    call.wait(async {
        let activity = call.context.events.start(name, "deleting the image");
        let provider = call.inventory.providers.get(&image.provider)?;
        provider.delete_image(&image).await?;
        activity.done("deleted");
        Ok::<_, provider::Error>(())
    })
}

/// Returns the end of what a server wrote to its console, with control characters escaped: whatever runs on
/// the server can write there.
pub(super) fn console(call: &Call, host: &Host) -> Answer<String> {
    let output = call.wait(async {
        let provider = call.inventory.providers.of(&host.0)?;
        provider.console(&host.0).await
    })?;
    let mut from = output.len().saturating_sub(CONSOLE_MOST);
    while !output.is_char_boundary(from) {
        from += 1;
    }
    // A serial line ends with both.
    let lines = output[from..].replace("\r\n", "\n").replace("\n\r", "\n");
    Ok(escape_controls_in_lines(&lines).into_owned())
}
