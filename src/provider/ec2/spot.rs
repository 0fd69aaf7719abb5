//! Spot instances: prices, bids and requests.

use aws_sdk_ec2::{
    primitives::DateTime,
    types::{InstanceType, SpotInstanceState},
};
use serde_json::{Value as Json, json};

use super::{Ec2, client::explain, options::Options};
use crate::provider::Error;

/// The product of the prices: Linux, without a licence.
pub(super) const PRODUCT: &str = "Linux/UNIX";

impl Ec2 {
    /// Returns the lowest current hourly price of a size, and its zone: of all zones, or of one.
    pub(super) async fn spot_price(
        &self,
        size: &str,
        zone: Option<&str>,
    ) -> Result<Option<(f64, String)>, Error> {
        let response = self
            .client()
            .await?
            .describe_spot_price_history()
            .instance_types(InstanceType::from(size))
            .product_descriptions(PRODUCT)
            .set_availability_zone(zone.map(str::to_owned))
            .start_time(DateTime::from(std::time::SystemTime::now()))
            .send()
            .await
            .map_err(|error| explain("getting the spot price", &error))?;
        let prices = response.spot_price_history().iter().filter_map(|price| {
            let zone = price.availability_zone()?.to_owned();
            Some((price.spot_price()?.parse::<f64>().ok()?, zone))
        });
        Ok(prices.min_by(|(a, _), (b, _)| a.total_cmp(b)))
    }

    /// Returns an error if the bid is lower than the current price.
    pub(super) async fn too_low(&self, options: &Options) -> Result<Option<Error>, Error> {
        let Some(bid) = &options.bid else {
            return Ok(None);
        };
        let Some((price, zone)) = self
            .spot_price(&options.size, options.placement.as_deref())
            .await?
        else {
            return Ok(None);
        };
        if bid.parse::<f64>().is_ok_and(|bid| bid >= price) {
            return Ok(None);
        }
        let currency = self.partition().await?.currency();
        Ok(Some(Error::invalid(
            format!(
                "bid: {bid} is too low for {}: the current price is {price} {currency} an hour in {zone}",
                options.size
            ),
            Some("`hitc run pricing provider=ec2` lists recent prices".to_owned()),
        )))
    }

    /// Lists the requests for spot instances: `id`, `state`, `status`, `price`, `instance`,
    /// `created`.
    pub async fn spot_requests(&self) -> Result<Vec<Json>, Error> {
        let mut items = self
            .client()
            .await?
            .describe_spot_instance_requests()
            .into_paginator()
            .items()
            .send();
        let mut requests = Vec::new();
        while let Some(request) = items.next().await {
            let request = request.map_err(|error| explain("listing spot requests", &error))?;
            let state = request.state().map(SpotInstanceState::as_str);
            let status = request.status().and_then(|status| status.code());
            requests.push(json!({
                "id": request.spot_instance_request_id(),
                "state": state,
                "status": status,
                "price": request.spot_price(),
                "instance": request.instance_id(),
                "created": request.create_time().map(ToString::to_string),
            }));
        }
        Ok(requests)
    }

    /// Cancels a request for a spot instance. An instance that it has started keeps running.
    pub async fn cancel_spot_request(&self, id: &str) -> Result<(), Error> {
        let client = self.client().await?;
        let cancelled = client
            .cancel_spot_instance_requests()
            .spot_instance_request_ids(id)
            .send()
            .await;
        cancelled
            .map(drop)
            .map_err(|error| explain(&format!("cancelling {id}"), &error))
    }
}
