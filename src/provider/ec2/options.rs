//! The options of an instance.

use crate::{
    core::value::{Entry, Fields, Invalid, Value},
    provider::is_user,
};

const SIZE: &str = "t3.micro";
const IMAGE: &str = "debian 13";

/// The most bytes of user data (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html>).
const USER_DATA: usize = 16 * 1024;

/// The options of an instance.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// The instance type.
    pub size: String,
    /// The id of an AMI, a system and its version, or the name of an image that hitc made.
    pub image: String,
    /// The availability zone.
    pub placement: Option<String>,
    /// Names or ids.
    pub security_groups: Vec<String>,
    pub subnet: Option<String>,
    /// The highest hourly price, in USD. Makes it a spot instance.
    pub bid: Option<String>,
    /// An Elastic IP address: itself, its allocation id or its name.
    pub address: Option<String>,
    /// The size of the root disk, in GiB.
    pub disk: Option<i32>,
    /// The name of a key pair at EC2.
    pub key_pair: Option<String>,
    /// Whether the instance is protected against termination.
    pub protect: bool,
    /// The user to log in as. By default, that of the image's publisher.
    pub user: Option<String>,
    /// What the instance does at its first boot, as cloud-init reads it.
    pub user_data: Option<String>,
    /// Tags of the user, besides those of hitc.
    pub tags: Vec<(String, String)>,
    /// Whether the instance has an IPv6 address, too.
    pub ipv6: bool,
}

impl Options {
    /// Decodes and validates options.
    pub fn decode(options: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(options, "provider `ec2`")?;
        if let Some(region) = fields.take("region") {
            let name = region.to_text("region")?;
            let help = format!(
                "write `provider=ec2:{name}`, and `config(#{{ ec2_regions: [\"{name}\"] }})` in the hitcfile"
            );
            let text = "unknown option `region`: at EC2, the region is part of the provider's name"
                .to_owned();
            return Err(Invalid::new(&region, text).help(help));
        }
        let text = |value: &Value, what: &str| value.to_text(what);
        let own = Options {
            size: fields
                .decode("size", text)?
                .unwrap_or_else(|| SIZE.to_owned()),
            image: fields
                .decode("image", text)?
                .unwrap_or_else(|| IMAGE.to_owned()),
            placement: fields.decode("placement", text)?,
            security_groups: fields
                .decode("security_group", |value, what| {
                    let groups = value.to_list(what)?;
                    groups.iter().map(|group| group.to_text(what)).collect()
                })?
                .unwrap_or_default(),
            subnet: fields.decode("subnet", text)?,
            bid: fields.decode("bid", bid)?,
            disk: fields
                .decode("disk", |value, what| value.to_integer(what, 1..65_537))?
                .and_then(|size| i32::try_from(size).ok()),
            address: fields.decode("address", text)?,
            key_pair: fields.decode("key_pair", text)?,
            protect: fields.decode("protect", Value::to_bool)?.unwrap_or(false),
            user: fields.decode("user", user)?,
            user_data: fields.decode("user_data", user_data)?,
            tags: fields.decode("tags", tags)?.unwrap_or_default(),
            ipv6: fields.decode("ipv6", Value::to_bool)?.unwrap_or(false),
        };
        fields.finish()?;
        Ok(own)
    }
}

fn bid(value: &Value, what: &str) -> Result<String, Invalid> {
    let text = value.to_text(what)?;
    match text.parse::<f64>() {
        Ok(price) if price > 0.0 && price.is_finite() => Ok(text),
        _ => Err(Invalid::new(
            value,
            format!("{what} must be an hourly price in USD, not `{text}`"),
        )
        .help("use the highest hourly price, such as 0.02".to_owned())),
    }
}

fn user(value: &Value, what: &str) -> Result<String, Invalid> {
    let name = value.to_text(what)?;
    if is_user(&name) {
        return Ok(name);
    }
    let text = format!("{what} must be the name of a user, not `{name}`");
    Err(Invalid::new(value, text))
}

fn user_data(value: &Value, what: &str) -> Result<String, Invalid> {
    let text = value.to_text(what)?;
    if text.len() <= USER_DATA {
        return Ok(text);
    }
    let text = format!(
        "{what} must be at most {USER_DATA} bytes long, not {}",
        text.len()
    );
    Err(Invalid::new(value, text).help("let it fetch the rest".to_owned()))
}

fn tags(value: &Value, what: &str) -> Result<Vec<(String, String)>, Invalid> {
    let tag = |entry: &Entry| {
        let (key, lower) = (&entry.key, entry.key.to_lowercase());
        let is_taken = lower == "name" || lower.starts_with("aws:") || lower.starts_with("hitc:");
        if is_taken {
            let text = format!("{what} must not contain `{key}`");
            let help = "`Name` and tags that begin with `aws:` or `hitc:` have a meaning already";
            return Err(Invalid::new(&entry.value, text).help(help.to_owned()));
        }
        Ok((key.clone(), entry.value.to_text(what)?))
    };
    value.to_map(what)?.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::value::Data;

    #[test]
    fn reports_invalid_options() {
        let decode = |text: &str| {
            Options::decode(&Value {
                data: Data::Map(Value::text(text).to_map("x").unwrap()),
                span: None,
            })
        };
        let error = |text: &str| decode(text).unwrap_err();
        assert_eq!(
            error("bid=cheap").message,
            "bid must be an hourly price in USD, not `cheap`"
        );
        assert_eq!(
            error("disk=0").message,
            "disk must be from 1 to 65536, not 0"
        );
        assert_eq!(
            error("palcement=x").help.as_deref(),
            Some("did you mean `placement`?")
        );
        assert_eq!(decode("bid=0.02,disk=20").unwrap().disk, Some(20));
    }
}
