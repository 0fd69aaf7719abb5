//! The security group of one server, which admits what the server publishes.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use aws_sdk_ec2::types::{Filter, Instance, IpPermission, IpRange, Ipv6Range, SecurityGroup};
use tokio::time::{Instant, sleep};

use super::{
    Ec2, NAME, TAG_KIND, by,
    client::{STATE_PAUSE, code, explain},
    group::{ALL, DUPLICATE_GROUP, KIND, is_of_kind, kind, when_known},
};
use crate::{
    iptables::{Firewall, Protocol, Source},
    provider::{ALL_V4, ALL_V6, CloudFirewall, Error, Node, look_again},
};

/// The value of [`TAG_KIND`] of the group of one server, which is called `hitc-` and the server's id.
const KIND_OF_ONE: &str = "server-firewall";

/// How long EC2 may take to free the group of a terminated server. Another group that names it keeps it
/// for ever.
const DELETE_TIMEOUT: Duration = Duration::from_mins(1);

/// The most ids or values of a filter in one request.
const MOST_IDS: usize = 200;

/// The ids of the groups of an instance.
fn group_ids(instance: &Instance) -> impl Iterator<Item = String> {
    let groups = instance.security_groups().iter();
    groups.filter_map(|group| group.group_id.clone())
}

/// One rule of a group, for one network: protocol, first and last port, network.
type Rule = (String, i32, i32, String);

/// The rules of a group whose sources are networks.
fn rules(group: &SecurityGroup) -> BTreeSet<Rule> {
    let mut all = BTreeSet::new();
    for rule in group.ip_permissions() {
        let v4 = rule.ip_ranges().iter().filter_map(IpRange::cidr_ip);
        let v6 = rule.ipv6_ranges().iter().filter_map(Ipv6Range::cidr_ipv6);
        let (first, last) = (rule.from_port(), rule.to_port());
        let (first, last) = (first.unwrap_or(0), last.unwrap_or(i32::from(u16::MAX)));
        for network in v4.chain(v6) {
            let protocol = rule.ip_protocol().unwrap_or(ALL).to_owned();
            all.insert((protocol, first, last, network.to_owned()));
        }
    }
    all
}

/// The rules that admit what a firewall admits.
fn wanted_rules(firewall: &Firewall) -> BTreeSet<Rule> {
    let mut all = BTreeSet::new();
    for (ports, source) in firewall.rules() {
        let protocol = match ports.protocol() {
            Protocol::Any => ALL.to_owned(),
            other => other.to_string(),
        };
        let (first, last) = ports.range().unwrap_or((0, u16::MAX));
        let networks = match source {
            Source::Everywhere => vec![ALL_V4.to_owned(), ALL_V6.to_owned()],
            Source::Network(network) => vec![network.to_string()],
        };
        for network in networks {
            all.insert((protocol.clone(), first.into(), last.into(), network));
        }
    }
    all
}

fn permission((protocol, first, last, network): &Rule) -> IpPermission {
    let rule = IpPermission::builder().ip_protocol(protocol);
    let rule = match protocol.as_str() {
        // It has no ports.
        ALL => rule,
        _ => rule.from_port(*first).to_port(*last),
    };
    if network.contains(':') {
        let network = Ipv6Range::builder().cidr_ipv6(network).build();
        return rule.ipv6_ranges(network).build();
    }
    let network = IpRange::builder().cidr_ip(network).build();
    rule.ip_ranges(network).build()
}

fn port(port: i32) -> u16 {
    u16::try_from(port).unwrap_or_default()
}

/// Adds the rules of a group whose sources are networks.
fn add_rules(firewall: &mut CloudFirewall, group: &SecurityGroup) {
    for (protocol, first, last, network) in rules(group) {
        let protocol = if protocol == ALL { "*" } else { &protocol };
        firewall.add(protocol, port(first), port(last), [network.as_str()]);
    }
}

/// What groups let through together.
fn describe(groups: &[&SecurityGroup]) -> CloudFirewall {
    let mut firewall = CloudFirewall::default();
    for group in groups {
        add_rules(&mut firewall, group);
        for rule in group.ip_permissions() {
            if rule.user_id_group_pairs().is_empty() && rule.prefix_list_ids().is_empty() {
                continue;
            }
            let protocol = rule.ip_protocol().filter(|protocol| *protocol != ALL);
            let last = rule.to_port().map_or(u16::MAX, port);
            let first = rule.from_port().map_or(0, port);
            firewall.add_group(protocol.unwrap_or("*"), first, last);
        }
    }
    if groups.iter().any(|group| is_of_kind(group, KIND)) {
        let mut own = CloudFirewall::default();
        let mut of_one = groups.iter();
        if let Some(group) = of_one.find(|group| is_of_kind(group, KIND_OF_ONE)) {
            add_rules(&mut own, group);
        }
        firewall.managed = Some(own.rules);
    }
    let named: Vec<&str> = groups
        .iter()
        .filter_map(|group| group.group_name())
        .collect();
    firewall.name = match named.as_slice() {
        [one] => format!("security group `{one}`"),
        _ => format!("security groups `{}`", named.join("`, `")),
    };
    firewall
}

impl Ec2 {
    /// The groups with these ids.
    async fn groups(&self, ids: Vec<String>) -> Result<Vec<SecurityGroup>, Error> {
        let client = self.client().await?;
        let mut groups = Vec::new();
        for ids in ids.chunks(MOST_IDS) {
            let answer = client
                .describe_security_groups()
                .set_group_ids(Some(ids.to_vec()))
                .send()
                .await;
            let answer = answer.map_err(|error| explain("looking at security groups", &error))?;
            groups.extend(answer.security_groups.unwrap_or_default());
        }
        Ok(groups)
    }

    /// What the security groups of servers let through, by the servers' ids.
    pub(super) async fn group_firewalls(
        &self,
        nodes: &[Node],
    ) -> Result<HashMap<String, CloudFirewall>, Error> {
        let mut instances = Vec::new();
        for nodes in nodes.chunks(MOST_IDS) {
            let ids = nodes.iter().map(|node| node.id.clone()).collect();
            let filter = Filter::builder().name("instance-id").set_values(Some(ids));
            instances.extend(self.instances(vec![filter.build()]).await?);
        }
        let ids: BTreeSet<String> = instances.iter().flat_map(group_ids).collect();
        let groups = self.groups(ids.into_iter().collect()).await?;
        let firewall = |instance: &Instance| {
            let id = instance.instance_id()?.to_owned();
            let own: BTreeSet<String> = group_ids(instance).collect();
            let is_own =
                |group: &&SecurityGroup| group.group_id().is_some_and(|id| own.contains(id));
            let groups: Vec<&SecurityGroup> = groups.iter().filter(is_own).collect();
            Some((id, describe(&groups)))
        };
        Ok(instances.iter().filter_map(firewall).collect())
    }

    /// Gives the server's own group exactly these rules. Creates the group if rules are wanted and it
    /// does not exist.
    pub(super) async fn set_group(&self, node: &Node, wanted: &Firewall) -> Result<(), Error> {
        look_again(self, node).await?;
        let instance = self.with_id(&node.id).await?.ok_or_else(|| node.gone())?;
        let groups = self.groups(group_ids(&instance).collect()).await?;
        let wanted = wanted_rules(wanted);
        let own = groups.iter().find(|group| is_of_kind(group, KIND_OF_ONE));
        let group = match own {
            Some(group) => group.clone(),
            None if wanted.is_empty() => return Ok(()),
            None => self.attach_group(&instance, &groups).await?,
        };
        let id = group.group_id().unwrap_or_default();
        let client = self.client().await?;
        let fail = |what: &str| format!("{what} the security group `{}`", name_of(&node.id));
        let there = rules(&group);
        let missing: Vec<IpPermission> = wanted.difference(&there).map(permission).collect();
        if !missing.is_empty() {
            let open = client
                .authorize_security_group_ingress()
                .group_id(id)
                .set_ip_permissions(Some(missing));
            let opened = when_known(|| open.clone().send()).await;
            opened.map_err(|error| explain(&fail("opening"), &error))?;
        }
        let extra: Vec<IpPermission> = there.difference(&wanted).map(permission).collect();
        if !extra.is_empty() {
            let closed = client
                .revoke_security_group_ingress()
                .group_id(id)
                .set_ip_permissions(Some(extra))
                .send()
                .await;
            closed.map_err(|error| explain(&fail("closing"), &error))?;
        }
        Ok(())
    }

    /// Makes the group of one server, unless it exists, and puts the server into it.
    async fn attach_group(
        &self,
        instance: &Instance,
        groups: &[SecurityGroup],
    ) -> Result<SecurityGroup, Error> {
        let client = self.client().await?;
        let id = instance.instance_id().unwrap_or_default();
        let name = name_of(id);
        let fail = |what: &str| format!("{what} the security group `{name}`");
        let made = client
            .create_security_group()
            .group_name(&name)
            .description("Made by hitc: admits what the server publishes")
            .set_vpc_id(instance.vpc_id.clone())
            .tag_specifications(kind(KIND_OF_ONE))
            .send()
            .await;
        match made {
            // A run made it that ended before it put the server into it.
            Err(error) if code(&error) != DUPLICATE_GROUP => {
                return Err(explain(&fail("creating"), &error));
            }
            _ => {}
        }
        let group = self.group_of_one(id).await?.ok_or_else(|| Error::Failed {
            provider: NAME.to_owned(),
            what: fail("creating"),
            cause: "it does not exist, or has another tag than hitc gave it".to_owned(),
        })?;
        let ids = groups.iter().chain([&group]);
        let ids: Vec<String> = ids.filter_map(|group| group.group_id.clone()).collect();
        let attach = client
            .modify_instance_attribute()
            .instance_id(id)
            .set_groups(Some(ids));
        let attached = when_known(|| attach.clone().send()).await;
        attached.map_err(|error| explain(&format!("putting {id} into `{name}`"), &error))?;
        Ok(group)
    }

    /// The group that hitc made for one server.
    async fn group_of_one(&self, id: &str) -> Result<Option<SecurityGroup>, Error> {
        let client = self.client().await?;
        let answer = client
            .describe_security_groups()
            .filters(by("group-name", &name_of(id)))
            .filters(by(&format!("tag:{TAG_KIND}"), KIND_OF_ONE))
            .send()
            .await;
        let answer = answer.map_err(|error| explain("looking for a security group", &error))?;
        let mut groups = answer.security_groups.unwrap_or_default().into_iter();
        Ok(groups.next())
    }

    /// Deletes the group of a server that does not exist any more. EC2 refuses this for a while after
    /// the server is gone.
    pub(super) async fn delete_group(&self, id: &str) -> Result<(), Error> {
        let Some(group) = self.group_of_one(id).await? else {
            return Ok(());
        };
        let client = self.client().await?;
        let end = Instant::now() + DELETE_TIMEOUT;
        loop {
            let group = group.group_id().unwrap_or_default();
            let deleted = client.delete_security_group().group_id(group).send().await;
            match deleted {
                Ok(_) => return Ok(()),
                Err(error) if code(&error) == "InvalidGroup.NotFound" => return Ok(()),
                Err(error) if code(&error) == "DependencyViolation" && Instant::now() < end => {
                    sleep(STATE_PAUSE).await;
                }
                Err(error) => {
                    let what = format!(
                        "{id} is terminated; deleting its security group `{}`",
                        name_of(id)
                    );
                    return Err(explain(&what, &error));
                }
            }
        }
    }
}

/// The name of the group of one server, by the server's id, which never changes.
fn name_of(id: &str) -> String {
    format!("hitc-{id}")
}
