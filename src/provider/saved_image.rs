//! An image that hitc made of a server: a snapshot of its disks, from which new servers are created.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::{Error, Node, is_name, node::is_listed_name, tag};
use crate::core::{
    owner::{Owner, Ownership},
    text::escape_controls,
};

/// An image that hitc made of a server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SavedImage {
    /// The provider's name.
    pub provider: String,
    /// The image's name, without the prefix.
    pub name: String,
    /// The provider's identifier.
    pub id: String,
    /// The name of the server that it was made of; empty if the provider does not say.
    pub server: String,
    /// The size in GiB, as the provider says it; none until it is known.
    pub size: Option<f64>,
    /// Where it can be used, as the provider names it; empty if everywhere.
    pub region: String,
    /// When its creation began.
    pub created: Option<Timestamp>,
    /// Whether servers can be created from it.
    pub state: ImageState,
    /// The project that it belongs to.
    pub owner: Ownership,
}

/// Whether servers can be created from an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// The provider is making it, or the run that asked for it was interrupted.
    Creating,
    /// Servers can be created from it.
    Usable,
    /// The provider could not make it, or took it out of use.
    Failed,
}

/// An image to be made of a server.
#[derive(Clone, Debug)]
pub struct CreateImage {
    /// The server.
    pub node: Node,
    /// The name of the image, without the prefix.
    pub name: String,
    /// The owner of the image.
    pub owner: Owner,
    /// The image to be finished, if its creation was interrupted.
    pub unfinished: Option<SavedImage>,
}

/// The first words of the clouds' names of their own images, which a saved image cannot have.
const SYSTEMS: [&str; 11] = [
    "almalinux",
    "alpine",
    "amazon",
    "ami",
    "centos",
    "debian",
    "fedora",
    "opensuse",
    "rocky",
    "ubuntu",
    "windows",
];

/// The rule of [`is_image_name`], for messages.
pub const IMAGE_NAME_RULE: &str = "use letters, digits and dashes, 50 at most; not a number, and not the \
     name of a system, such as `debian-13`";

/// Whether an image can have this name: as for servers, and not what the clouds call their own images.
pub fn is_image_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    let first = lower.split('-').next().unwrap_or_default();
    let is_number = name.chars().all(|c| c.is_ascii_digit());
    is_name(name) && !is_number && !SYSTEMS.contains(&first) && !lower.ends_with("-x64")
}

impl SavedImage {
    /// Takes an image as a cloud describes it: see [`Node::of_cloud`].
    #[must_use]
    pub fn of_cloud(self) -> SavedImage {
        let line = |text: String| escape_controls(&text).into_owned();
        let id = if is_listed_name(&self.id) {
            self.id
        } else {
            tag::encode(&self.id)
        };
        SavedImage {
            name: if is_listed_name(&self.name) {
                self.name
            } else {
                id.clone()
            },
            server: Some(self.server)
                .filter(|server| is_listed_name(server))
                .unwrap_or_default(),
            region: line(self.region),
            id,
            ..self
        }
    }

    /// Fails, and says who owns it, unless it belongs to this project.
    pub fn require_project(&self, project: Option<&str>) -> Result<(), Error> {
        if project.is_some_and(|project| self.owner.is_of_project(project)) {
            return Ok(());
        }
        Err(Error::invalid(
            format!(
                "image `{}` ({}) at {} {}",
                self.name, self.id, self.provider, self.owner
            ),
            Some("choose another name, or delete the image from its own project".to_owned()),
        ))
    }

    /// Fails unless servers can be created from it.
    pub fn require_usable(&self) -> Result<(), Error> {
        let help = match self.state {
            ImageState::Usable => return Ok(()),
            ImageState::Creating => format!(
                "`hitc run -H {} image.create {}` waits for it, or continues what was interrupted",
                self.server, self.name
            ),
            ImageState::Failed => {
                format!("delete it with `hitc run image.delete {}`", self.name)
            }
        };
        let text = format!(
            "image `{}` ({}) at {} cannot be used: it is {}",
            self.name, self.id, self.provider, self.state
        );
        Err(Error::invalid(text, Some(help)))
    }
}

/// Finds the project's image of this name or id. An image of that name that only other owners have is an
/// error, and so are two of this project.
pub fn choose_image<'a>(
    images: impl IntoIterator<Item = &'a SavedImage>,
    name: &str,
    project: Option<&str>,
) -> Result<Option<&'a SavedImage>, Error> {
    let is_it = |image: &&SavedImage| image.name == name || image.id == name;
    let found = images.into_iter().filter(is_it);
    let (own, others): (Vec<_>, Vec<_>) =
        found.partition(|image| project.is_some_and(|project| image.owner.is_of_project(project)));
    match (own.as_slice(), others.first()) {
        ([], None) => Ok(None),
        ([], Some(other)) => other.require_project(project).map(|()| None),
        ([image], _) => Ok(Some(image)),
        ([first, second, ..], _) => Err(Error::invalid(
            format!(
                "two images at {} are named `{name}`: {}, and {}",
                first.provider,
                describe(first),
                describe(second)
            ),
            Some("delete one of them by its id: `hitc run image.delete ID`".to_owned()),
        )),
    }
}

/// The error that the provider and hitc both have an image of this name.
pub fn ambiguous_image(image: &SavedImage, of_cloud: &str) -> Error {
    Error::invalid(
        format!(
            "image `{}` is ambiguous: it is an image of this project ({}), and {of_cloud}",
            image.name, image.id
        ),
        Some("save the server under another name with `image.create`".to_owned()),
    )
}

fn describe(image: &SavedImage) -> String {
    match image.created {
        Some(created) => format!("{} (created {created})", image.id),
        None => image.id.clone(),
    }
}

impl fmt::Display for ImageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ImageState::Creating => "being created",
            ImageState::Usable => "usable",
            ImageState::Failed => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::diagnostic::{Diagnostic, Kind};

    fn image(id: &str, project: Option<&str>) -> SavedImage {
        SavedImage {
            provider: "ec2".to_owned(),
            name: "base".to_owned(),
            id: id.to_owned(),
            server: "web".to_owned(),
            size: None,
            region: String::new(),
            created: None,
            state: ImageState::Usable,
            owner: tag::ownership(project.map(str::to_owned), None),
        }
    }

    #[test]
    fn names_of_the_clouds_images_are_refused() {
        for good in ["base", "web-2026-11-27", "before-upgrade"] {
            assert!(is_image_name(good), "{good}");
        }
        for bad in [
            "",
            "123",
            "debian-13",
            "Ubuntu-24",
            "ami-0123",
            "x-x64",
            "a b",
            "a.b",
        ] {
            assert!(!is_image_name(bad), "{bad}");
        }
    }

    #[test]
    fn only_one_of_the_project_is_chosen() {
        let (own, other) = (image("1", Some("p")), image("2", Some("q")));
        let chosen = |images: &[SavedImage], name: &str| {
            let chosen = choose_image(images, name, Some("p"));
            chosen.map(|image| image.map(|image| image.id.clone()))
        };
        let both = [other.clone(), own.clone()];
        assert_eq!(chosen(&both, "base").unwrap().as_deref(), Some("1"));
        assert_eq!(chosen(&both, "1").unwrap().as_deref(), Some("1"));
        assert_eq!(chosen(&both, "web").unwrap(), None);
        let refused = Diagnostic::from(chosen(std::slice::from_ref(&other), "base").unwrap_err());
        assert_eq!(refused.kind, Kind::Usage);
        assert_eq!(
            refused.message,
            "image `base` (2) at ec2 belongs to project q"
        );
        let two = chosen(&[own, image("3", Some("p"))], "base").unwrap_err();
        assert_eq!(
            two.to_string(),
            "two images at ec2 are named `base`: 1, and 3"
        );
        // Without a project of one's own, every image is another's.
        assert!(choose_image([&other], "base", None).is_err());
    }

    #[test]
    fn what_a_cloud_says_is_checked() {
        let mut bad = image("../x", None);
        bad.name = "a\u{1b}[2J".to_owned();
        bad.server = "w\nx".to_owned();
        let image = bad.of_cloud();
        assert_eq!((&*image.name, &*image.server), (&*image.id, ""));
        assert!(!image.id.contains('/'));
    }
}
