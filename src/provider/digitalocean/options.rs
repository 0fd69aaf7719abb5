//! The options of a droplet.

use std::net::Ipv4Addr;

use crate::{
    core::value::{Fields, Invalid, Value},
    provider::is_user,
};

/// The provider's name.
pub(super) const NAME: &str = "digitalocean";

const SIZE: &str = "s-1vcpu-1gb";
const IMAGE: &str = "debian 13";
const REGION: &str = "nyc3";

/// The options of a droplet.
pub(super) struct Options {
    pub size: String,
    /// A slug, or the name or number of an image of the user's own.
    pub image: String,
    pub region: String,
    /// Fingerprints of more keys of the account that may log in.
    pub ssh_keys: Vec<String>,
    /// More tags.
    pub tags: Vec<String>,
    pub monitoring: bool,
    /// The id of a private network.
    pub vpc: Option<String>,
    /// Whether terminating it is refused.
    pub protect: bool,
    /// The user to log in as, if the image has another one than root.
    pub user: Option<String>,
    /// The configuration or script for cloud-init.
    pub user_data: Option<String>,
    /// A reserved IP address of the account.
    pub address: Option<Ipv4Addr>,
    /// Whether it has an IPv6 address, too.
    pub ipv6: bool,
}

/// The most bytes of `user_data`
/// (<https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_create>).
const USER_DATA_MOST: usize = 64 * 1024;

impl Options {
    /// Decodes and validates options.
    pub fn decode(options: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(options, "provider `digitalocean`")?;
        let text = |value: &Value, what: &str| value.to_text(what);
        let texts = |value: &Value, what: &str| -> Result<Vec<String>, Invalid> {
            value
                .to_list(what)?
                .iter()
                .map(|v| v.to_text(what))
                .collect()
        };
        let size = fields.decode("size", text)?;
        let image = fields.decode("image", text)?;
        let region = fields.decode("region", text)?;
        let placement = fields.take("placement");
        let region = match (region, placement) {
            (Some(_), Some(placement)) => {
                return Err(Invalid::new(
                    &placement,
                    "region and placement are the same option; use one of them",
                ));
            }
            (region, None) => region,
            (None, Some(placement)) => Some(placement.to_text("placement")?),
        };
        let own = Options {
            size: size.unwrap_or_else(|| SIZE.to_owned()),
            image: slug(&image.unwrap_or_else(|| IMAGE.to_owned())),
            region: region.unwrap_or_else(|| REGION.to_owned()),
            ssh_keys: fields.decode("ssh_keys", texts)?.unwrap_or_default(),
            tags: fields.decode("tags", tags)?.unwrap_or_default(),
            monitoring: fields.decode("monitoring", Value::to_bool)?.unwrap_or(true),
            vpc: fields.decode("vpc", text)?,
            protect: fields.decode("protect", Value::to_bool)?.unwrap_or(false),
            user: fields.decode("user", user)?,
            user_data: fields.decode("user_data", user_data)?,
            address: fields.decode("address", address)?,
            ipv6: fields.decode("ipv6", Value::to_bool)?.unwrap_or(false),
        };
        fields.finish()?;
        Ok(own)
    }
}

fn user(value: &Value, what: &str) -> Result<String, Invalid> {
    let user = value.to_text(what)?;
    if is_user(&user) {
        return Ok(user);
    }
    Err(Invalid::new(value, format!("invalid user `{user}`")))
}

fn address(value: &Value, what: &str) -> Result<Ipv4Addr, Invalid> {
    let text = value.to_text(what)?;
    text.parse().map_err(|_| {
        let message = format!("invalid {what} `{text}`");
        Invalid::new(value, message)
            .help("write a reserved IP address, such as 45.55.96.47".to_owned())
    })
}

fn user_data(value: &Value, what: &str) -> Result<String, Invalid> {
    let text = value.to_text(what)?;
    if text.len() > USER_DATA_MOST {
        let message = format!("user_data is too long ({} bytes)", text.len());
        let help = "DigitalOcean accepts 64 KiB: let it download the rest".to_owned();
        return Err(Invalid::new(value, message).help(help));
    }
    Ok(text)
}

/// Letters, numbers, colons, dashes and underscores
/// (<https://docs.digitalocean.com/reference/api/digitalocean/#tag/Tags>).
fn tags(value: &Value, what: &str) -> Result<Vec<String>, Invalid> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || ":-_".contains(c);
    let mut tags = Vec::new();
    for value in value.to_list(what)? {
        let tag = value.to_text(what)?;
        if tag.is_empty() || tag.len() > 255 || !tag.chars().all(is_good) {
            return Err(Invalid::new(&value, format!("{what}: invalid tag `{tag}`"))
                .help("use letters, digits, colons, dashes and underscores".to_owned()));
        }
        if tag.to_lowercase().starts_with("hitc") {
            return Err(Invalid::new(
                &value,
                format!("{what}: tag `{tag}` is reserved for hitc"),
            ));
        }
        tags.push(tag);
    }
    Ok(tags)
}

/// Translates `ubuntu 24.04` to `ubuntu-24-04-x64`. Returns anything but a system and its version as
/// it is.
fn slug(image: &str) -> String {
    let Some((system, version)) = image.split_once(' ') else {
        return image.to_owned();
    };
    let is_version = version.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_system = system.chars().all(|c| c.is_ascii_alphabetic());
    if system.is_empty() || version.is_empty() || !is_system || !is_version {
        return image.to_owned();
    }
    let (system, version) = (system.to_lowercase(), version.replace('.', "-"));
    format!("{system}-{version}-x64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_of_images() {
        for (image, expected) in [
            ("ubuntu 24.04", "ubuntu-24-04-x64"),
            ("Debian 13", "debian-13-x64"),
            ("docker-20-04", "docker-20-04"),
            ("my own image", "my own image"),
            ("12345", "12345"),
        ] {
            assert_eq!(slug(image), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| {
            let options = Value {
                data: crate::core::value::Data::Map(Value::text(text).to_map("x").unwrap()),
                span: None,
            };
            Options::decode(&options).map(drop).unwrap_err()
        };
        let unknown = error("regoin=ams3");
        assert_eq!(unknown.help.as_deref(), Some("did you mean `region`?"));
        assert_eq!(
            error("region=a,placement=b").message,
            "region and placement are the same option; use one of them"
        );
        assert_eq!(error("user=-oX").message, "invalid user `-oX`");
        let long = format!("user_data={}", "x".repeat(USER_DATA_MOST + 1));
        assert_eq!(error(&long).message, "user_data is too long (65537 bytes)");
        assert_eq!(error("tags=a b").message, "tags: invalid tag `a b`");
        assert_eq!(
            error("tags=hitc:x").message,
            "tags: tag `hitc:x` is reserved for hitc"
        );
    }
}
