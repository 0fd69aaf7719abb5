//! The platform of an engine or an image: `linux/amd64`.

use std::fmt;

/// An operating system and a processor architecture, with Go's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The architecture.
    pub architecture: String,
    /// The variant of the architecture, such as `v7` of `arm`; empty if there is none. Engines do not
    /// report theirs.
    pub variant: String,
}

impl Platform {
    /// Parses `OS/ARCHITECTURE[/VARIANT]`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let platform = Platform {
            os: parts.next()?.to_owned(),
            architecture: parts.next()?.to_owned(),
            variant: parts.next().unwrap_or_default().to_owned(),
        };
        let is_word = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric());
        let is_valid = !platform.os.is_empty()
            && !platform.architecture.is_empty()
            && [&platform.os, &platform.architecture, &platform.variant]
                .iter()
                .all(|word| is_word(word));
        (is_valid && parts.next().is_none()).then_some(platform)
    }

    /// Whether a machine of this platform runs images of the other one without emulation. The 64-bit
    /// processors run the programs of their 32-bit predecessors.
    pub fn runs(&self, image: &Platform) -> bool {
        let pair = (self.architecture.as_str(), image.architecture.as_str());
        let is_compatible =
            pair.0 == pair.1 || [("amd64", "386"), ("arm64", "arm")].contains(&pair);
        self.os == image.os && is_compatible
    }

    /// The ending of the names of images that are built for another platform than this machine's.
    pub(super) fn suffix(&self) -> String {
        format!("-{}{}", self.architecture, self.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "amd64",
            "linux/",
            "/arm64",
            "linux/arm/v7/x",
            "linux/a b",
        ] {
            assert_eq!(Platform::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_runs_where() {
        let runs = |machine: &str, image: &str| {
            Platform::parse(machine)
                .unwrap()
                .runs(&Platform::parse(image).unwrap())
        };
        assert!(runs("linux/amd64", "linux/amd64"));
        assert!(runs("linux/amd64", "linux/386"));
        assert!(runs("linux/arm64", "linux/arm64/v8"));
        assert!(runs("linux/arm64", "linux/arm/v7"));
        assert!(!runs("linux/amd64", "linux/arm64"));
        assert!(!runs("linux/386", "linux/amd64"));
        assert!(!runs("linux/amd64", "windows/amd64"));
    }
}
