//! Image references that the engine cannot mistake for the beginning of an id.
//!
//! The engine resolves `5` or `cafe` as an image name first and as the beginning of an image id
//! next, so a missing image `5` would be any image whose id begins with 5.

use std::borrow::Cow;

/// How many hexadecimal digits an id has.
const ID_DIGITS: usize = 64;

/// Whether a text is a full id, without `sha256:`.
pub(in crate::docker) fn is_full_id(text: &str) -> bool {
    text.len() == ID_DIGITS && is_hex(text)
}

/// Whether a text can only be the beginning of an image id.
pub(in crate::docker) fn is_short_id(image: &str) -> bool {
    image
        .strip_prefix("sha256:")
        .is_some_and(|digits| !is_full_id(digits))
}

/// The same reference in a form that names at most one image.
pub(in crate::docker) fn exact(image: &str) -> Cow<'_, str> {
    if is_full_id(image) {
        format!("sha256:{image}").into()
    } else if is_hex(image) {
        format!("{image}:latest").into()
    } else {
        image.into()
    }
}

/// Whether an image with this id, these tags and these digests is the one that `image` names.
pub(in crate::docker) fn names(image: &str, id: &str, tags: &[String], digests: &[String]) -> bool {
    let image = exact(image);
    if let Some((_, digest)) = image.split_once('@') {
        let ending = format!("@{digest}");
        return id == digest || digests.iter().any(|known| known.ends_with(&ending));
    }
    let wanted = familiar(&image);
    // Podman lists an image that came from no registry as one of `localhost`.
    let without_host = |tag: &str| familiar(tag.strip_prefix("localhost/").unwrap_or(tag));
    id == image
        || tags
            .iter()
            .any(|tag| familiar(tag) == wanted || without_host(tag) == wanted)
}

/// Splits `registry:5000/name:tag`. Without a tag it is `latest`; a digest stays with the name.
pub(super) fn split_tag(image: &str) -> (&str, &str) {
    if image.contains('@') {
        return (image, "");
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// The short form in which the engine lists an image of Docker Hub, with its tag.
pub(in crate::docker) fn familiar(image: &str) -> String {
    let (name, tag) = split_tag(image);
    let mut name = name;
    for prefix in ["index.docker.io/", "docker.io/"] {
        if let Some(rest) = name.strip_prefix(prefix) {
            name = rest.strip_prefix("library/").unwrap_or(rest);
        }
    }
    if name.matches('/').count() == 1 {
        name = name.strip_prefix("library/").unwrap_or(name);
    }
    format!("{name}:{tag}")
}

/// Docker Hub: the registry of names without one.
pub(in crate::docker) const HUB: &str = "docker.io";

/// Where an image is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::docker) struct Location {
    /// The registry: `HOST[:PORT]`.
    pub registry: String,
    /// The path of the image in the registry.
    pub repository: String,
    /// The tag; none if the image is named by its digest or id, which cannot move.
    pub tag: Option<String>,
}

impl Location {
    /// Finds the registry in the name of an image. As for the Docker Engine, the first part of a name
    /// is a registry only if it contains a dot or a colon, or is `localhost`.
    pub fn of(image: &str) -> Self {
        let image = exact(image);
        let (name, tag) = match image.split_once('@') {
            Some((name, _)) => (split_tag(name).0, None),
            None if image.starts_with("sha256:") => (image.as_ref(), None),
            None => {
                let (name, tag) = split_tag(&image);
                (name, Some(tag.to_owned()))
            }
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest)
            }
            _ => (HUB, name),
        };
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => HUB,
            other => other,
        };
        let repository = if registry == HUB && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        Location {
            registry: registry.to_owned(),
            repository,
            tag,
        }
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        assert_eq!(split_tag("a"), ("a", "latest"));
        assert_eq!(split_tag("a:1"), ("a", "1"));
        assert_eq!(split_tag("r:5000/a"), ("r:5000/a", "latest"));
        assert_eq!(split_tag("r:5000/a:1"), ("r:5000/a", "1"));
        assert_eq!(split_tag("a@sha256:0"), ("a@sha256:0", ""));
    }

    #[test]
    fn registries() {
        let of = |image: &str| {
            let Location {
                registry,
                repository,
                tag,
            } = Location::of(image);
            format!("{registry} {repository} {}", tag.unwrap_or_default())
        };
        assert_eq!(of("nginx"), "docker.io library/nginx latest");
        assert_eq!(of("cafe"), "docker.io library/cafe latest");
        assert_eq!(of("org/app:1"), "docker.io org/app 1");
        assert_eq!(of("docker.io/nginx:1"), "docker.io library/nginx 1");
        assert_eq!(of("index.docker.io/org/app"), "docker.io org/app latest");
        assert_eq!(of("localhost/app"), "localhost app latest");
        assert_eq!(of("r:5000/org/app:1.2"), "r:5000 org/app 1.2");
        assert_eq!(of("ghcr.io/a/b@sha256:0"), "ghcr.io a/b ");
        assert_eq!(of("ghcr.io/a/b:1@sha256:0"), "ghcr.io a/b ");
        assert_eq!(of(&"5".repeat(ID_DIGITS)).split(' ').next_back(), Some(""));
    }

    #[test]
    fn beginnings_of_ids_are_names() {
        let id = "5".repeat(ID_DIGITS);
        assert_eq!(exact("nginx"), "nginx");
        assert_eq!(exact("5"), "5:latest");
        assert_eq!(exact("cafe"), "cafe:latest");
        assert_eq!(exact(&id), format!("sha256:{id}"));
        assert!(is_short_id("sha256:5"));
        assert!(!is_short_id(&format!("sha256:{id}")));

        let id = format!("sha256:{id}");
        let tags = ["nginx:latest".to_owned()];
        let digests = ["nginx@sha256:0a".to_owned()];
        let is = |image: &str| names(image, &id, &tags, &digests);
        for image in ["nginx", "nginx:latest", "docker.io/library/nginx", &id] {
            assert!(is(image), "{image}");
        }
        assert!(is("nginx@sha256:0a"));
        for image in ["5", "sha256:5", "nginx:1", "org/nginx", "nginx@sha256:0"] {
            assert!(!is(image), "{image}");
        }
    }
}
