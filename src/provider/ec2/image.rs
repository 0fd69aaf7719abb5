//! Finds images by system and version: `ubuntu 24.04` is the newest image that the publisher of the
//! system has released.

use aws_sdk_ec2::{
    Client,
    types::{ArchitectureValues, Filter, Image, InstanceTypeInfo},
};

use super::{client::explain, partition::Partition};
use crate::provider::Error;

/// An operating system, the publisher of its images, and their names.
struct System {
    name: &'static str,
    /// The account that publishes the images, or its alias at AWS, in each partition.
    owner: fn(Partition) -> Option<&'static str>,
    /// The pattern of image names. `VERSION` and `ARCH` are placeholders.
    pattern: &'static str,
    /// How image names spell x86_64 and arm64.
    architectures: [&'static str; 2],
    /// The login user.
    user: &'static str,
    /// The versions that help texts list.
    versions: &'static [&'static str],
}

/// Accounts and names as their makers document them: Canonical, with an account in each partition
/// (<https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/>), Debian, whose page
/// has none in China and GovCloud (<https://wiki.debian.org/Cloud/AmazonEC2Image>), Amazon.
static SYSTEMS: [System; 3] = [
    System {
        name: "ubuntu",
        owner: |partition| match partition {
            Partition::Commercial => Some("099720109477"),
            Partition::China => Some("837727238323"),
            Partition::GovCloud => Some("513442679011"),
            Partition::Other => None,
        },
        pattern: "ubuntu/images/*/ubuntu-*-VERSION-ARCH-server-*",
        architectures: ["amd64", "arm64"],
        user: "ubuntu",
        versions: &["26.04", "24.04", "22.04"],
    },
    System {
        name: "debian",
        owner: |partition| (partition == Partition::Commercial).then_some("136693071363"),
        pattern: "debian-VERSION-ARCH-*",
        architectures: ["amd64", "arm64"],
        user: "admin",
        versions: &["13", "12"],
    },
    System {
        name: "amazon",
        owner: |_| Some("amazon"),
        pattern: "alVERSION-ami-2*-ARCH",
        architectures: ["x86_64", "arm64"],
        user: "ec2-user",
        versions: &["2023"],
    },
];

/// Splits `ubuntu 24.04` into the system and the version.
fn system(image: &str) -> Option<(&'static System, &str)> {
    let (name, version) = image.split_once(' ')?;
    let system = SYSTEMS
        .iter()
        .find(|system| system.name.eq_ignore_ascii_case(name))?;
    Some((system, version.trim()))
}

/// Finds an image for this processor architecture.
pub(super) async fn find(
    client: &Client,
    image: &str,
    architecture: &ArchitectureValues,
) -> Result<Image, Error> {
    if image.starts_with("ami-") {
        let response = client.describe_images().image_ids(image).send().await;
        let images = match response {
            Ok(response) => response.images.unwrap_or_default(),
            Err(error) if super::client::code(&error).starts_with("InvalidAMIID") => Vec::new(),
            Err(error) => return Err(explain("finding the image", &error)),
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
            Some("use the id of an AMI, a system and its version, or an image of `image.list`"),
        ));
    };
    let region = client.config().region().map(ToString::to_string);
    let partition = Partition::of(&region.unwrap_or_default());
    let Some(owner) = (system.owner)(partition) else {
        let text = format!(
            "image `{image}`: hitc does not know who publishes images of {} in {}",
            system.name,
            partition.name()
        );
        let help = if system.name == "ubuntu" || partition == Partition::Other {
            "use the id of an AMI"
        } else {
            "use the id of an AMI, or `ubuntu VERSION`"
        };
        return Err(Error::invalid(text, Some(help.to_owned())));
    };
    let spelling = match architecture {
        ArchitectureValues::Arm64 => system.architectures[1],
        _ => system.architectures[0],
    };
    let pattern = system
        .pattern
        .replace("VERSION", version)
        .replace("ARCH", spelling);
    let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
    let response = client
        .describe_images()
        .owners(owner)
        .filters(filter("name", &pattern))
        .filters(filter("architecture", architecture.as_str()))
        .filters(filter("state", "available"))
        .send()
        .await
        .map_err(|error| explain("finding the image", &error))?;
    let newest = response
        .images
        .unwrap_or_default()
        .into_iter()
        .max_by(|a, b| a.creation_date().cmp(&b.creation_date()));
    newest.ok_or_else(|| {
        let known = aliases();
        Error::missing("image", image, known.iter().map(String::as_str), None)
    })
}

/// Returns the newest image for each short name, for this processor architecture.
pub(super) async fn all(
    client: &Client,
    architecture: &ArchitectureValues,
) -> Result<Vec<(String, Image)>, Error> {
    let mut images = Vec::new();
    for alias in aliases() {
        match find(client, &alias, architecture).await {
            Ok(image) => images.push((alias, image)),
            // The image does not exist in this region.
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

/// Returns the login user of an image: by the `image` that the user asked for, or by its name.
pub(super) fn user(image: &str, name: &str) -> &'static str {
    if let Some((system, _)) = system(image) {
        return system.user;
    }
    let name = name.to_lowercase();
    SYSTEMS
        .iter()
        .find(|system| name.contains(system.name))
        .map_or("ec2-user", |system| system.user)
}

/// Whether instances of this size run this architecture.
pub(super) fn supports(size: &InstanceTypeInfo, architecture: &str) -> bool {
    size.processor_info().is_some_and(|processor| {
        let mut known = processor.supported_architectures().iter();
        known.any(|known| known.as_str() == architecture)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_users() {
        assert_eq!(user("ubuntu 24.04", ""), "ubuntu");
        assert_eq!(user("Debian 12", ""), "admin");
        assert_eq!(user("ami-1", "my-ubuntu-with-docker"), "ubuntu");
        assert_eq!(user("ami-1", "al2023-ami-2023.1-x86_64"), "ec2-user");
    }
}
