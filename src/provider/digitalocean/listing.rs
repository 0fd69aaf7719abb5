//! Lists of droplets.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{DigitalOcean, TAG, has, wire::Droplet};
use crate::provider::{Error, Node, refuse_duplicates};

impl DigitalOcean {
    /// The droplets that hitc created. Those with GPUs are in a list of their own, which cannot be
    /// filtered by tag
    /// (<https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_list>).
    pub(super) async fn droplets(&self) -> Result<Vec<Droplet>, Error> {
        let (tagged, gpus) = (
            format!("/v2/droplets?tag_name={TAG}"),
            "/v2/droplets?type=gpus",
        );
        let (tagged, gpus) =
            tokio::join!(self.all(&tagged, "droplets"), self.all(gpus, "droplets"));
        let (mut droplets, gpus): (Vec<Droplet>, Vec<Droplet>) = (tagged?, gpus?);
        droplets.extend(gpus);
        // One that moved to the next page meanwhile is listed twice.
        let by_id: BTreeMap<u64, Droplet> = droplets.into_iter().map(|d| (d.id, d)).collect();
        Ok(by_id
            .into_values()
            .filter(|droplet| has(droplet, TAG))
            .collect())
    }

    /// The droplet of this name, if it exists, from a list of this time or later. Two of one name are
    /// an error. Waits until a droplet that is being deleted is gone.
    pub(super) async fn named(&self, name: &str, time: Instant) -> Result<Option<Droplet>, Error> {
        let mut found: Vec<(Droplet, Node)> = Vec::new();
        let droplets = self.listed.since(time, || self.droplets()).await?;
        for droplet in droplets.iter() {
            let Some(node) = self.node(droplet).filter(|node| node.name == name) else {
                continue;
            };
            // The list may lag behind.
            let Some(droplet) = self.with_id(&node.id).await? else {
                continue;
            };
            if self.is_dying(&droplet).await? {
                self.wait_until_gone(&node.id, name).await?;
                continue;
            }
            found.push((droplet, node));
        }
        let nodes: Vec<Node> = found.iter().map(|(_, node)| node.clone()).collect();
        refuse_duplicates(&nodes)?;
        Ok(found.into_iter().next().map(|(droplet, _)| droplet))
    }
}
