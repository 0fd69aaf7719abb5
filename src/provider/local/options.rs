//! The options of a local server.

use std::fmt;

use super::image::{IMAGES, Image};
use crate::{
    core::{
        diagnostic::did_you_mean,
        units::{format_bytes, format_cpus, parse_bytes, parse_cpus},
        value::{Fields, Invalid, Value},
    },
    provider::is_image_name,
};

const DEFAULT_IMAGE: &str = "debian-13";

/// A server's size: processors and memory, such as `2x512m`. The default has no limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// In billionths of a processor.
    pub nano_cpus: u64,
    /// In bytes.
    pub memory: u64,
}

/// What a server is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// An image that hitc makes of a distribution.
    BuiltIn(Image),
    /// The name of an image of a server, which may not exist.
    Saved(String),
}

impl Source {
    /// The name in `image: NAME`.
    pub fn name(&self) -> &str {
        match self {
            Source::BuiltIn(image) => image.name,
            Source::Saved(name) => name,
        }
    }
}

/// The options of a local server.
pub(super) struct Options {
    pub size: Size,
    pub image: Source,
    /// Whether terminating it is refused.
    pub protect: bool,
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let (cpus, memory) = text.split_once('x')?;
        Some(Size {
            nano_cpus: parse_cpus(cpus)?,
            memory: parse_bytes(memory).filter(|bytes| *bytes > 0)?,
        })
    }

    /// The limits of memory and processors for the engine; none if unlimited.
    pub fn limits(self) -> (Option<i64>, Option<i64>) {
        let limit = |n: u64| i64::try_from(n).ok().filter(|n| *n > 0);
        (limit(self.memory), limit(self.nano_cpus))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Size::default() {
            return f.write_str("unlimited");
        }
        let cpus = format_cpus(self.nano_cpus);
        write!(f, "{cpus}x{}", format_bytes(self.memory))
    }
}

impl Options {
    /// Decodes and validates options.
    pub fn decode(options: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(options, "provider `local`")?;
        let size = fields.decode("size", |value, what| {
            let text = value.to_text(what)?;
            if text == "unlimited" {
                return Ok(Size::default());
            }
            Size::parse(&text).ok_or_else(|| {
                Invalid::new(value, format!("invalid size `{text}`"))
                    .help("write PROCESSORSxMEMORY, such as 1x512m or 0.5x2g".to_owned())
            })
        })?;
        let image = fields.decode("image", |value, what| {
            let text = value.to_text(what)?;
            if let Some(image) = Image::find(&text) {
                return Ok(Source::BuiltIn(image));
            }
            let saved = Some(&text).filter(|text| is_image_name(text));
            saved.cloned().map(Source::Saved).ok_or_else(|| {
                let names = IMAGES.map(|image| image.name);
                Invalid::new(value, format!("image `{text}` not found")).help(
                    did_you_mean(&text, names)
                        .or_else(|| Some(format!("the images are {}", names.join(", ")))),
                )
            })
        })?;
        let protect = fields.decode("protect", Value::to_bool)?;
        fields.finish()?;
        let default = || Image::find(DEFAULT_IMAGE).unwrap_or(IMAGES[0]);
        Ok(Options {
            size: size.unwrap_or_default(),
            image: image.unwrap_or_else(|| Source::BuiltIn(default())),
            protect: protect.unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for text in ["1x512m", "0.5x2g", "2x1000"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        for text in ["1", "x", "0x1g", "1x0", "1xbig", "-1x1g"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }
}
