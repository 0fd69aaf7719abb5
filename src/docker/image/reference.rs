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
    id == image || tags.iter().any(|tag| familiar(tag) == wanted)
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
