//! Makes an image of a server and waits until it is usable.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::Activity,
    },
    provider::{
        CreateImage, IMAGE_NAME_RULE, ImageState, Node, Provider, SavedImage, choose_image,
        is_image_name,
    },
};

/// The timeout until an image is usable. Large disks take hours.
const USABLE_TIMEOUT: Duration = Duration::from_hours(24);
/// How long a new image may be missing in the provider's list.
const LISTED_TIMEOUT: Duration = Duration::from_mins(2);
/// How long the provider may fail to list its images.
const OUTAGE_TIMEOUT: Duration = Duration::from_mins(15);

/// The pause between two listings: at first, and at most.
const POLL: Duration = Duration::from_millis(500);
const LONGEST_POLL: Duration = Duration::from_secs(10);

/// Checks whether an image of this name can be made of a server. Returns the image that an interrupted run
/// began to make of this server, if there is one: it is to be finished. Changes nothing.
pub async fn check_new_image(
    provider: &dyn Provider,
    node: &Node,
    name: &str,
    project: Option<&str>,
) -> Result<Option<SavedImage>, Diagnostic> {
    if !is_image_name(name) {
        let message = format!("invalid image name `{name}`");
        return Err(Diagnostic::new(Kind::Usage, message).help(IMAGE_NAME_RULE.to_owned()));
    }
    let images = provider.images().await?;
    let Some(image) = choose_image(&images, name, project)? else {
        return Ok(None);
    };
    let is_unfinished = image.state == ImageState::Creating;
    if is_unfinished && (image.server == node.name || image.server.is_empty()) {
        return Ok(Some(image.clone()));
    }
    let created = image.created.map(|created| format!(", created {created}"));
    let message = format!(
        "image `{name}` ({}) at {} already exists: it is of server `{}`, and {}{}",
        image.id,
        image.provider,
        image.server,
        image.state,
        created.unwrap_or_default()
    );
    let help = format!("choose another name, or delete it with `hitc run image.delete {name}`");
    Err(Diagnostic::new(Kind::Usage, message).help(help))
}

/// Makes an image of a server, or finishes the one that an interrupted run began, and waits until servers
/// can be created from it. The image of a run that is interrupted goes on being made.
pub async fn create_image(
    provider: &dyn Provider,
    create: &CreateImage,
    activity: &Activity,
) -> Result<SavedImage, Diagnostic> {
    let made = provider.create_image(create, activity).await?;
    let image = wait_until_usable(provider, &made, activity).await?;
    // Names are not unique at every cloud: another run may have made one at the same time.
    let images = provider.images().await?;
    choose_image(&images, &create.name, Some(&create.owner.project))?;
    Ok(image)
}

async fn wait_until_usable(
    provider: &dyn Provider,
    made: &SavedImage,
    activity: &Activity,
) -> Result<SavedImage, Diagnostic> {
    let begun = Instant::now();
    let (mut seen, mut answered) = (begun, begun);
    let mut pause = POLL;
    let fail = |cause: String| {
        let message = format!(
            "image `{}` ({}) at {}: {cause}",
            made.name, made.id, made.provider
        );
        Diagnostic::new(Kind::Failed, message)
    };
    activity.update("waiting until the image is usable");
    loop {
        match provider.images().await {
            Err(error) if answered.elapsed() > OUTAGE_TIMEOUT => return Err(error.into()),
            Err(error) => activity.tick(format!("the provider does not answer: {error}")),
            Ok(images) => {
                answered = Instant::now();
                let found = images.into_iter().find(|image| image.id == made.id);
                match found {
                    Some(image) if image.state == ImageState::Usable => return Ok(image),
                    Some(image) if image.state == ImageState::Failed => {
                        let help = format!("delete it with `hitc run image.delete {}`", made.id);
                        return Err(fail("the provider could not make it".to_owned()).help(help));
                    }
                    Some(_) => seen = Instant::now(),
                    // The list may lag behind.
                    None if seen.elapsed() > LISTED_TIMEOUT => {
                        return Err(fail("it does not exist any more".to_owned()));
                    }
                    None => {}
                }
            }
        }
        if begun.elapsed() > USABLE_TIMEOUT {
            let hours = USABLE_TIMEOUT.as_secs() / 3600;
            return Err(fail(format!("it is not usable after {hours} hours")));
        }
        activity.tick(format!(
            "waiting until the image is usable, {} s",
            begun.elapsed().as_secs()
        ));
        sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_POLL);
    }
}
