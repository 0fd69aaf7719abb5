//! What an instance costs: the instance, its public address, and its disks.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_ec2::types::{
    EbsBlockDevice, Filter, Instance, InstanceLifecycleType, InstanceStateName, InstanceType,
    Volume, VolumeType,
};
use futures_util::future::join_all;

use super::{Ec2, by, client::explain, order::Order, partition::Partition, prices::MONTH};
use crate::provider::{Cost, Error, Node, Price, PricePart};

/// The most instances whose volumes are asked for at once
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVolumes.html>: 200 values of a
/// filter).
const MOST_FILTERED: usize = 200;

impl Ec2 {
    /// The cost of an order. A bid that is too low is an error.
    pub(super) async fn cost(&self, order: &Order<'_>) -> Result<Cost, Error> {
        let options = order.options;
        if let Some(low) = self.too_low(options).await? {
            return Err(low);
        }
        let hour = if options.bid.is_some() {
            self.spot_price(&options.size, options.placement.as_deref())
                .await?
                .map(|(price, _)| price)
        } else {
            // The credentials may allow RunInstances but not pricing:GetProducts.
            let prices = self.on_demand(Some(&options.size)).await;
            prices
                .ok()
                .and_then(|prices| prices.get(&options.size).copied())
        };
        let Some(hour) = hour else {
            return Ok(Cost::Unknown);
        };
        let partition = self.partition().await?;
        let mut parts = vec![part("instance", hour)];
        let mut unknown = Vec::new();
        if order.has_public_address().await? {
            match partition.address_price() {
                Some(price) => parts.push(part("IPv4 address", price)),
                None => unknown.push("IPv4 address".to_owned()),
            }
        }
        let (size, kind) = order.root_disk();
        let storage = self.storage(kind.as_str()).await.ok().flatten();
        match (size, storage) {
            (Some(size), Some(price)) => {
                parts.push(part(
                    &format!("disk of {size} GiB"),
                    price * f64::from(size),
                ));
            }
            _ => unknown.push("disk".to_owned()),
        }
        let mut price = Price::of_parts(partition.currency().to_owned(), parts, None);
        price.unknown = unknown;
        Ok(Cost::Price(price))
    }
}

/// Hourly prices; none where it is not known.
#[derive(Default)]
struct Known {
    /// By the size, and the zone of a spot instance.
    instances: HashMap<(String, Option<String>), Option<f64>>,
    /// Of a GiB, by the type of a volume.
    storage: HashMap<String, Option<f64>>,
}

impl Ec2 {
    /// The present cost of instances. A stopped one costs its disks and its Elastic IP address.
    pub(super) async fn present_costs(&self, nodes: &[Node]) -> Result<Vec<Cost>, Error> {
        let instances = self
            .instances(vec![by("tag:hitc:prefix", &self.prefix)])
            .await?;
        let find = |node: &Node| {
            let mut all = instances.iter();
            all.find(|found| found.instance_id() == Some(&node.id))
        };
        let found: Vec<Option<&Instance>> = nodes.iter().map(find).collect();
        let wanted: Vec<&Instance> = found.iter().copied().flatten().collect();
        let volumes = self.volumes_of(&wanted).await?;
        let known = self.known_prices(&wanted, &volumes).await;
        let partition = self.partition().await?;
        let of = |instance: Option<&Instance>| {
            instance.map_or(Cost::Unknown, |found| {
                present_cost(found, &volumes, &known, partition)
            })
        };
        Ok(found.into_iter().map(of).collect())
    }

    /// The volumes that are attached to instances.
    async fn volumes_of(&self, instances: &[&Instance]) -> Result<Vec<Volume>, Error> {
        let client = self.client().await?;
        let ids: Vec<String> = instances
            .iter()
            .filter_map(|found| found.instance_id().map(str::to_owned))
            .collect();
        let mut volumes = Vec::new();
        for ids in ids.chunks(MOST_FILTERED) {
            let attached = Filter::builder()
                .name("attachment.instance-id")
                .set_values(Some(ids.to_vec()))
                .build();
            let mut found = client
                .describe_volumes()
                .filters(attached)
                .into_paginator()
                .items()
                .send();
            while let Some(volume) = found.next().await {
                volumes.push(volume.map_err(|error| explain("listing the volumes", &error))?);
            }
        }
        Ok(volumes)
    }

    /// Asks for each price once. The credentials may not allow the price list.
    async fn known_prices(&self, instances: &[&Instance], volumes: &[Volume]) -> Known {
        let running = instances.iter().filter(|found| is_running(found));
        let kinds: BTreeSet<_> = running.map(|found| kind_of(found)).collect();
        let price = async |kind: (String, Option<String>)| {
            let (size, zone) = &kind;
            let hour = match zone {
                Some(zone) => {
                    let price = self.spot_price(size, Some(zone)).await;
                    price.ok().flatten().map(|(price, _)| price)
                }
                None => {
                    let prices = self.on_demand(Some(size)).await;
                    prices.ok().and_then(|prices| prices.get(size).copied())
                }
            };
            (kind, hour)
        };
        let types = volumes.iter().filter_map(Volume::volume_type);
        let types: BTreeSet<&str> = types.map(VolumeType::as_str).collect();
        let storage = async |kind: &str| {
            let price = self.storage(kind).await.ok().flatten();
            (kind.to_owned(), price)
        };
        let (instances, storage) = tokio::join!(
            join_all(kinds.into_iter().map(price)),
            join_all(types.into_iter().map(storage))
        );
        Known {
            instances: instances.into_iter().collect(),
            storage: storage.into_iter().collect(),
        }
    }
}

fn is_running(instance: &Instance) -> bool {
    let state = instance.state().and_then(|state| state.name());
    matches!(
        state,
        Some(InstanceStateName::Running | InstanceStateName::Pending)
    )
}

/// The size, and the zone of a spot instance.
fn kind_of(instance: &Instance) -> (String, Option<String>) {
    let size = instance.instance_type().map_or("", InstanceType::as_str);
    let zone = instance
        .placement()
        .and_then(|place| place.availability_zone());
    let is_spot = instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
    (size.to_owned(), zone.filter(|_| is_spot).map(str::to_owned))
}

fn present_cost(
    instance: &Instance,
    volumes: &[Volume],
    known: &Known,
    partition: Partition,
) -> Cost {
    let mut parts = Vec::new();
    let mut unknown = Vec::new();
    if is_running(instance) {
        match known.instances.get(&kind_of(instance)).copied().flatten() {
            Some(hour) => parts.push(part("instance", hour)),
            None => unknown.push("instance".to_owned()),
        }
    }
    // An Elastic IP address costs the same while its instance is stopped.
    if instance.public_ip_address().is_some() {
        match partition.address_price() {
            Some(price) => parts.push(part("IPv4 address", price)),
            None => unknown.push("IPv4 address".to_owned()),
        }
    }
    let mut disks = 0.0;
    for volume in volumes {
        let id = instance.instance_id();
        let mut attached = volume.attachments().iter();
        if !attached.any(|attachment| attachment.instance_id() == id) {
            continue;
        }
        let kind = volume.volume_type().map_or("", VolumeType::as_str);
        let price = known.storage.get(kind).copied().flatten();
        match (price, volume.size()) {
            (Some(price), Some(size)) => disks += price * f64::from(size),
            _ => unknown.push("disk".to_owned()),
        }
        // They are paid for apart from the size
        // (<https://aws.amazon.com/ebs/pricing/>).
        if matches!(
            volume.volume_type(),
            Some(VolumeType::Io1 | VolumeType::Io2)
        ) {
            unknown.push("provisioned IOPS".to_owned());
        }
    }
    if disks > 0.0 {
        parts.push(part("disks", disks));
    }
    unknown.dedup();
    if parts.is_empty() {
        return Cost::Unknown;
    }
    let mut price = Price::of_parts(partition.currency().to_owned(), parts, None);
    price.unknown = unknown;
    Cost::Price(price)
}

impl Order<'_> {
    /// Whether the instance gets a public IPv4 address: in the default network it does.
    async fn has_public_address(&self) -> Result<bool, Error> {
        let subnet = self.subnet().await?;
        Ok(subnet.is_none_or(|subnet| subnet.map_public_ip_on_launch() == Some(true)))
    }

    /// The size of the root disk in GiB, if it is known, and its type.
    fn root_disk(&self) -> (Option<i32>, VolumeType) {
        let root = self.root();
        let size = root.and_then(EbsBlockDevice::volume_size);
        let kind = root.and_then(|root| root.volume_type());
        match (self.options.disk, kind) {
            (Some(disk), _) => (Some(disk), VolumeType::Gp3),
            (None, Some(kind)) => (size, kind.clone()),
            (None, None) => (size, VolumeType::Gp2),
        }
    }
}

fn part(what: &str, hour: f64) -> PricePart {
    PricePart {
        what: what.to_owned(),
        hour,
        month: hour * MONTH,
    }
}
