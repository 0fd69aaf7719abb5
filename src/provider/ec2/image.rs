//! Images by the name of a system: `ubuntu 24.04` is the newest that its maker has published.

use aws_sdk_ec2::{
    Client,
    types::{ArchitectureValues, Filter, Image},
};

use super::client::explain;
use crate::provider::Error;

/// A system, who publishes its images, and how they are named.
struct System {
    name: &'static str,
    /// An account, or AWS's alias of one.
    owner: &'static str,
    /// With `VERSION` and `ARCH` for the system's own words for them.
    pattern: &'static str,
    /// Its words for x86_64 and arm64.
    words: [&'static str; 2],
    /// Who is let in.
    user: &'static str,
    /// For messages.
    versions: &'static [&'static str],
}

/// Accounts and names as their makers document them: Canonical
/// (<https://documentation.ubuntu.com/aws/en/latest/aws-how-to/instances/find-ubuntu-images/>),
/// Debian (<https://wiki.debian.org/Cloud/AmazonEC2Image>), Amazon.
static SYSTEMS: [System; 3] = [
    System {
        name: "ubuntu",
        owner: "099720109477",
        pattern: "ubuntu/images/*/ubuntu-*-VERSION-ARCH-server-*",
        words: ["amd64", "arm64"],
        user: "ubuntu",
        versions: &["24.04", "22.04"],
    },
    System {
        name: "debian",
        owner: "136693071363",
        pattern: "debian-VERSION-ARCH-*",
        words: ["amd64", "arm64"],
        user: "admin",
        versions: &["13", "12"],
    },
    System {
        name: "amazon",
        owner: "amazon",
        pattern: "alVERSION-ami-2*-ARCH",
        words: ["x86_64", "arm64"],
        user: "ec2-user",
        versions: &["2023"],
    },
];

/// Splits `ubuntu 24.04`.
fn system(image: &str) -> Option<(&'static System, &str)> {
    let (name, version) = image.split_once(' ')?;
    let system = SYSTEMS
        .iter()
        .find(|system| system.name.eq_ignore_ascii_case(name))?;
    Some((system, version.trim()))
}

/// The image that is meant, for this kind of processor.
pub(super) async fn find(
    client: &Client,
    image: &str,
    architecture: &ArchitectureValues,
) -> Result<Image, Error> {
    if image.starts_with("ami-") {
        let answer = client.describe_images().image_ids(image).send().await;
        let images = match answer {
            Ok(answer) => answer.images.unwrap_or_default(),
            Err(error) if super::client::code(&error).starts_with("InvalidAMIID") => Vec::new(),
            Err(error) => return Err(explain("looking for the image", &error)),
        };
        return images.into_iter().next().ok_or_else(|| {
            Error::missing("image", image, [], Some("check that it is in this region"))
        });
    }
    let Some((system, version)) = system(image) else {
        let known: Vec<String> = aliases();
        return Err(Error::missing(
            "image",
            image,
            known.iter().map(String::as_str),
            Some("give an AMI's id, or a system and its version"),
        ));
    };
    let word = match architecture {
        ArchitectureValues::Arm64 => system.words[1],
        _ => system.words[0],
    };
    let pattern = system
        .pattern
        .replace("VERSION", version)
        .replace("ARCH", word);
    let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
    let answer = client
        .describe_images()
        .owners(system.owner)
        .filters(filter("name", &pattern))
        .filters(filter("architecture", architecture.as_str()))
        .filters(filter("state", "available"))
        .send()
        .await
        .map_err(|error| explain("looking for the image", &error))?;
    let newest = answer
        .images
        .unwrap_or_default()
        .into_iter()
        .max_by(|a, b| a.creation_date().cmp(&b.creation_date()));
    newest.ok_or_else(|| {
        let known = aliases();
        Error::missing("image", image, known.iter().map(String::as_str), None)
    })
}

/// All images that have a short name, newest of each, for this kind of processor.
pub(super) async fn all(
    client: &Client,
    architecture: &ArchitectureValues,
) -> Result<Vec<(String, Image)>, Error> {
    let mut images = Vec::new();
    for alias in aliases() {
        match find(client, &alias, architecture).await {
            Ok(image) => images.push((alias, image)),
            // Not in this region.
            Err(Error::Invalid(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(images)
}

fn aliases() -> Vec<String> {
    let of = |system: &'static System| {
        let versions = system.versions.iter();
        versions.map(|version| format!("{} {version}", system.name))
    };
    SYSTEMS.iter().flat_map(of).collect()
}

/// Who is let in to a server made from what the user called `said`, whose image has this name.
pub(super) fn user(said: &str, name: &str) -> &'static str {
    if let Some((system, _)) = system(said) {
        return system.user;
    }
    let name = name.to_lowercase();
    SYSTEMS
        .iter()
        .find(|system| name.contains(system.name))
        .map_or("ec2-user", |system| system.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_in() {
        assert_eq!(user("ubuntu 24.04", ""), "ubuntu");
        assert_eq!(user("Debian 12", ""), "admin");
        assert_eq!(user("ami-1", "my-ubuntu-with-docker"), "ubuntu");
        assert_eq!(user("ami-1", "al2023-ami-2023.1-x86_64"), "ec2-user");
    }
}
