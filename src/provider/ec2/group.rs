//! The security groups of a new server: those that the user named, or the one that all servers of hitc
//! are in.

use aws_sdk_ec2::{
    error::{ProvideErrorMetadata, SdkError},
    types::{
        IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup, Tag, TagSpecification,
        UserIdGroupPair,
    },
};
use tokio::time::{Instant, sleep};

use super::{
    TAG_KIND, by,
    client::{NO_GROUP, STATE_PAUSE, VISIBLE_TIMEOUT, code, explain},
    order::Order,
};
use crate::provider::{ALL_V4, ALL_V6, Error};

/// The security group that hitc creates and uses if the user names none. It allows SSH, and everything
/// among its members.
const GROUP: &str = "hitc";

/// The value of its [`TAG_KIND`]. It has no owner: all projects of the account share it.
pub(super) const KIND: &str = "firewall";

/// The port that the common group opens.
const SSH: i32 = 22;

/// Every protocol.
pub(super) const ALL: &str = "-1";

impl Order<'_> {
    /// Checks that the groups exist and admit SSH, as far as hitc can tell.
    pub async fn check_groups(&self) -> Result<(), Error> {
        if self.named_groups().await?.is_empty()
            && let Some(group) = self.group(GROUP).await?
        {
            missing_rules(&group)?;
        }
        Ok(())
    }

    /// The ids of the groups of the new instance.
    pub async fn groups(&self) -> Result<Vec<String>, Error> {
        let options = self.options;
        let key = format!("{:?} {:?}", options.security_groups, options.subnet);
        let groups = &self.provider.common.groups;
        groups.get(&key, || self.find_groups()).await
    }

    async fn find_groups(&self) -> Result<Vec<String>, Error> {
        let named = self.named_groups().await?;
        if named.is_empty() {
            return Ok(vec![self.own_group().await?]);
        }
        Ok(named)
    }

    /// The ids of the security groups that the user named.
    async fn named_groups(&self) -> Result<Vec<String>, Error> {
        let mut ids = Vec::new();
        for name in &self.options.security_groups {
            let group = if name.starts_with("sg-") {
                self.group_with_id(name).await?
            } else {
                self.group(name).await?
            };
            let Some(id) = group.and_then(|group| group.group_id) else {
                return Err(Error::missing(
                    "security_group",
                    name,
                    [],
                    Some("check that it is in this region"),
                ));
            };
            ids.push(id);
        }
        Ok(ids)
    }

    /// The security group with this id.
    async fn group_with_id(&self, id: &str) -> Result<Option<SecurityGroup>, Error> {
        let asked = self.client.describe_security_groups().group_ids(id).send();
        match asked.await {
            Ok(answer) => Ok(answer
                .security_groups
                .unwrap_or_default()
                .into_iter()
                .next()),
            // Not found, or malformed.
            Err(error) if code(&error).starts_with("InvalidGroup") => Ok(None),
            Err(error) => Err(explain("looking for security groups", &error)),
        }
    }

    /// The security group of this name in the network of this order.
    async fn group(&self, name: &str) -> Result<Option<SecurityGroup>, Error> {
        let network = self.network().await?;
        let filters = vec![by("group-name", name), by("vpc-id", &network)];
        let answer = self
            .client
            .describe_security_groups()
            .set_filters(Some(filters))
            .send()
            .await
            .map_err(|error| explain("looking for security groups", &error))?;
        Ok(answer
            .security_groups
            .unwrap_or_default()
            .into_iter()
            .next())
    }

    /// The id of the group that all servers are in. Creates the group, and its rules, if they are missing.
    async fn own_group(&self) -> Result<String, Error> {
        let fail = |what: &str| format!("{what} the security group `{GROUP}`");
        let group = match self.group(GROUP).await? {
            Some(group) => group,
            None => {
                let made = self
                    .client
                    .create_security_group()
                    .group_name(GROUP)
                    .description("Made by hitc: admits SSH, and its members among themselves")
                    .vpc_id(self.network().await?)
                    .tag_specifications(kind(KIND))
                    .send()
                    .await;
                match made {
                    Ok(made) => SecurityGroup::builder()
                        .set_group_id(made.group_id)
                        .tags(Tag::builder().key(TAG_KIND).value(KIND).build())
                        .build(),
                    // Another run created it meanwhile.
                    Err(error) if code(&error) == DUPLICATE_GROUP => {
                        let found = self.group(GROUP).await?;
                        found.ok_or_else(|| explain(&fail("creating"), &error))?
                    }
                    Err(error) => return Err(explain(&fail("creating"), &error)),
                }
            }
        };
        let id = group.group_id().unwrap_or_default().to_owned();
        // One request a rule: one of them may exist by now.
        for rule in missing_rules(&group)? {
            let open = self
                .client
                .authorize_security_group_ingress()
                .group_id(&id)
                .ip_permissions(rule);
            match when_known(|| open.clone().send()).await {
                Err(error) if code(&error) != DUPLICATE_RULE => {
                    return Err(explain(&fail("opening"), &error));
                }
                _ => {}
            }
        }
        Ok(id)
    }
}

/// The codes of the errors that a group, or a rule, exists.
pub(super) const DUPLICATE_GROUP: &str = "InvalidGroup.Duplicate";
const DUPLICATE_RULE: &str = "InvalidPermission.Duplicate";

/// Sends a request again until EC2 knows a new group: that takes a moment.
pub(super) async fn when_known<T, E, F>(send: impl Fn() -> F) -> Result<T, SdkError<E>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E>>>,
{
    let end = Instant::now() + VISIBLE_TIMEOUT;
    loop {
        match send().await {
            Err(error) if code(&error) == NO_GROUP && Instant::now() < end => {
                sleep(STATE_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// A new group's tag of this kind.
pub(super) fn kind(kind: &str) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(ResourceType::SecurityGroup)
        .tags(Tag::builder().key(TAG_KIND).value(kind).build())
        .build()
}

pub(super) fn is_of_kind(group: &SecurityGroup, kind: &str) -> bool {
    let mut tags = group.tags().iter();
    tags.any(|tag| tag.key() == Some(TAG_KIND) && tag.value() == Some(kind))
}

/// The rules that a group with the name of hitc's lacks. A group that hitc did not create is used as it
/// is, if it admits SSH: to open it would open whatever else is in it.
fn missing_rules(group: &SecurityGroup) -> Result<Vec<IpPermission>, Error> {
    let rules = group.ip_permissions();
    let id = group.group_id().unwrap_or_default();
    if !is_of_kind(group, KIND) {
        if rules.iter().any(admits_ssh) {
            return Ok(Vec::new());
        }
        return Err(Error::invalid(
            format!(
                "security group `{GROUP}` ({id}) does not admit SSH, and hitc did not create it"
            ),
            Some(format!(
                "add a rule for TCP port {SSH} to it, or name another group with security_group=NAME; if \
                 it is hitc's, set its tag `{TAG_KIND}` to `{KIND}`"
            )),
        ));
    }
    let mut missing = Vec::new();
    // The run that created it may have died before it added the rules. The user may have changed those
    // for SSH.
    if rules.is_empty() {
        let ssh = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(SSH)
            .to_port(SSH)
            .ip_ranges(IpRange::builder().cidr_ip(ALL_V4).build())
            .ipv6_ranges(Ipv6Range::builder().cidr_ipv6(ALL_V6).build())
            .build();
        missing.push(ssh);
    }
    let of_members = |rule: &IpPermission| {
        let mut pairs = rule.user_id_group_pairs().iter();
        rule.ip_protocol() == Some(ALL) && pairs.any(|pair| pair.group_id() == Some(id))
    };
    if !rules.iter().any(of_members) {
        let members = UserIdGroupPair::builder().group_id(id).build();
        let members = IpPermission::builder()
            .ip_protocol(ALL)
            .user_id_group_pairs(members)
            .build();
        missing.push(members);
    }
    Ok(missing)
}

/// Whether a rule admits SSH from any addresses.
fn admits_ssh(rule: &IpPermission) -> bool {
    let has_port = match rule.ip_protocol() {
        // All protocols and ports.
        Some("-1") => true,
        Some("tcp" | "6") => {
            let (from, to) = (rule.from_port(), rule.to_port());
            from.is_none_or(|from| from <= SSH) && to.is_none_or(|to| SSH <= to)
        }
        _ => false,
    };
    let has_source = !rule.ip_ranges().is_empty()
        || !rule.ipv6_ranges().is_empty()
        || !rule.prefix_list_ids().is_empty();
    has_port && has_source
}
