//! Elastic IP addresses, which outlive instances.

use aws_sdk_ec2::types::{Address as Elastic, InstanceStateName};

use super::{Ec2, by, client::explain};
use crate::provider::Error;

impl Ec2 {
    /// Fails if an address does not exist, or if an instance other than `own` uses it.
    pub(super) async fn check_address(
        &self,
        address: &str,
        own: Option<&str>,
    ) -> Result<Elastic, Error> {
        let filter = if address.starts_with("eipalloc-") {
            by("allocation-id", address)
        } else if address.parse::<std::net::Ipv4Addr>().is_ok() {
            by("public-ip", address)
        } else {
            by("tag:Name", address)
        };
        let client = self.client().await?;
        let answer = client.describe_addresses().filters(filter).send().await;
        let answer = answer.map_err(|error| explain("looking for the address", &error))?;
        let refuse = |cause: String, help: &str| {
            let text = format!("address `{address}` {cause}");
            Err(Error::invalid(text, Some(help.to_owned())))
        };
        let found = match answer.addresses.unwrap_or_default().as_slice() {
            [] => {
                return refuse(
                    "not found".to_owned(),
                    "allocate an Elastic IP address in this region",
                );
            }
            [found] => found.clone(),
            [..] => return refuse("is not unique".to_owned(), "name it by its allocation id"),
        };
        let user = found.instance_id().or(found.network_interface_id());
        match user.filter(|user| !user.is_empty() && Some(*user) != own) {
            Some(user) => refuse(
                format!("is in use by {user}"),
                "disassociate it, or choose another address",
            ),
            None => Ok(found),
        }
    }

    /// Gives an instance an Elastic IP address as soon as it runs, in the place of its public address.
    pub(super) async fn associate(&self, id: &str, address: &str) -> Result<(), Error> {
        self.wait_until(id, &InstanceStateName::Running).await?;
        let found = self.check_address(address, Some(id)).await?;
        if found.instance_id() == Some(id) {
            return Ok(());
        }
        let client = self.client().await?;
        let associated = client
            .associate_address()
            .set_allocation_id(found.allocation_id)
            .instance_id(id)
            .allow_reassociation(false)
            .send()
            .await;
        let what = format!("associating {address} with {id}");
        associated.map(drop).map_err(|error| explain(&what, &error))
    }
}
