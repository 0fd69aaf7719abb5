//! What an instance costs: the instance, its public address, and its disk.

use aws_sdk_ec2::types::{EbsBlockDevice, VolumeType};

use super::{Ec2, order::Order, prices::MONTH};
use crate::provider::{Cost, Error, Price, PricePart};

/// The price of an hour of a public IPv4 address, in USD, in every region (<https://aws.amazon.com/vpc/pricing/>).
const ADDRESS: f64 = 0.005;

impl Ec2 {
    /// The cost of an order. A bid that is too low is an error.
    pub(super) async fn cost(&self, order: &Order<'_>) -> Result<Cost, Error> {
        let options = order.options;
        if let Some(low) = self.too_low(options).await? {
            return Err(low);
        }
        let hour = if options.bid.is_some() {
            self.spot_price(options).await?.map(|(price, _)| price)
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
        let mut parts = vec![part("instance", hour)];
        let mut unknown = Vec::new();
        if order.has_public_address().await? {
            parts.push(part("IPv4 address", ADDRESS));
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
        let mut price = Price::of_parts("USD".to_owned(), parts, None);
        price.unknown = unknown;
        Ok(Cost::Price(price))
    }
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
