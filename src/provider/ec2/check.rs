//! What EC2 would refuse about an order is said before anything is ordered.

use aws_sdk_ec2::types::{ArchitectureValues, EbsBlockDevice, LocationType, Subnet};

use super::{
    by,
    client::{code, explain},
    image::supports,
    order::Order,
};
use crate::provider::Error;

impl Order<'_> {
    /// Checks that the zone, subnet, security groups and key pair exist, and that the size, image and
    /// disk fit together.
    pub async fn check(&self) -> Result<(), Error> {
        self.check_image()?;
        if let Some(zone) = &self.options.placement {
            let answer = self.client.describe_availability_zones().send().await;
            let zones = answer.map_err(|error| explain("listing the zones", &error))?;
            let names = zones.availability_zones().iter();
            let names: Vec<&str> = names.filter_map(|zone| zone.zone_name()).collect();
            if !names.contains(&zone.as_str()) {
                return Err(Error::missing("placement", zone, names, None));
            }
        }
        let subnet = self.subnet().await?;
        self.check_subnet(subnet.as_ref())?;
        let zone = subnet.as_ref().and_then(Subnet::availability_zone);
        if let Some(zone) = self.options.placement.as_deref().or(zone) {
            self.check_zone(zone).await?;
        }
        self.network().await?;
        if let Some(name) = self.named_key() {
            let answer = self
                .client
                .describe_key_pairs()
                .key_names(&name)
                .send()
                .await;
            if let Err(error) = answer {
                return Err(match code(&error) {
                    "InvalidKeyPair.NotFound" => Error::missing(
                        "key pair",
                        &name,
                        [],
                        Some("check that it is in this region"),
                    ),
                    _ => explain("looking for the key pair", &error),
                });
            }
        }
        self.check_groups().await
    }

    /// Checks that the image fits the size and the disk.
    fn check_image(&self) -> Result<(), Error> {
        let (size, image) = (&self.options.size, &self.options.image);
        let architecture = self.image.architecture().map(ArchitectureValues::as_str);
        if let Some(architecture) = architecture.filter(|name| !supports(&self.size, name)) {
            return Err(Error::invalid(
                format!("image `{image}` is for {architecture}, which size `{size}` does not run"),
                Some("choose an image or a size of the same architecture".to_owned()),
            ));
        }
        let least = self.root().and_then(EbsBlockDevice::volume_size);
        match (self.options.disk, least) {
            (Some(disk), Some(least)) if disk < least => Err(Error::invalid(
                format!("disk must be at least {least} GiB for image `{image}`, not {disk}"),
                None,
            )),
            _ => Ok(()),
        }
    }

    /// Checks that the subnet is in the zone, and has IPv6 addresses if they are wanted.
    fn check_subnet(&self, subnet: Option<&Subnet>) -> Result<(), Error> {
        let zones = (
            &self.options.placement,
            subnet.and_then(Subnet::availability_zone),
        );
        if let (Some(wanted), Some(zone)) = zones
            && wanted != zone
        {
            let name = self.options.subnet.as_deref().unwrap_or_default();
            return Err(Error::invalid(
                format!("subnet `{name}` is in zone {zone}, not in {wanted}"),
                Some("leave out `placement`, or name a subnet of that zone".to_owned()),
            ));
        }
        let has_ipv6 =
            subnet.is_some_and(|subnet| !subnet.ipv6_cidr_block_association_set().is_empty());
        if self.options.ipv6 && !has_ipv6 {
            return Err(Error::invalid(
                "ipv6=true needs a subnet with IPv6 addresses".to_owned(),
                Some("name one with `subnet=ID`; the default subnets have none".to_owned()),
            ));
        }
        Ok(())
    }

    /// Checks that the size is offered in this zone.
    async fn check_zone(&self, zone: &str) -> Result<(), Error> {
        let size = &self.options.size;
        let answer = self
            .client
            .describe_instance_type_offerings()
            .location_type(LocationType::AvailabilityZone)
            .filters(by("instance-type", size))
            .send()
            .await
            .map_err(|error| explain("looking for the zones of the size", &error))?;
        let offered = answer.instance_type_offerings().iter();
        let mut zones: Vec<&str> = offered.filter_map(|offered| offered.location()).collect();
        zones.sort_unstable();
        if zones.contains(&zone) {
            return Ok(());
        }
        Err(Error::invalid(
            format!("size `{size}` is not offered in zone {zone}"),
            Some(format!("it is offered in {}", zones.join(", "))),
        ))
    }
}
