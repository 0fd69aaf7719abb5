//! Prices of instances: on demand from AWS's price list, spot from the recent spot prices.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_ec2::{
    primitives::DateTime,
    types::{ArchitectureValues, InstanceStorageInfo, InstanceType, InstanceTypeInfo, VCpuInfo},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use serde_json::{Value as Json, json};

use super::{Ec2, NAME, client::explain, image, partition::Partition, spot::PRODUCT};
use crate::{
    http::{client, root_cause},
    provider::{Error, Prices, number},
};

/// The timeout of one page.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How far the spot prices go back.
const LATELY: Duration = Duration::from_hours(24);

/// The hours of a month, as AWS counts them.
pub(super) const MONTH: f64 = 730.0;

impl Ec2 {
    pub(super) async fn price_list(&self) -> Result<Prices, Error> {
        let (sizes, spot, on_demand) =
            tokio::join!(self.sizes(), self.spot_history(), self.on_demand(None));
        let (sizes, spot) = (sizes?, spot?);
        // The credentials may allow EC2, but not pricing:GetProducts.
        let on_demand = on_demand.unwrap_or_else(|error| {
            self.events
                .warn(format!("{error}: only spot prices are known"));
            BTreeMap::new()
        });
        let row = |size: &InstanceTypeInfo| {
            let name = size.instance_type()?.as_str();
            let spot = spot.get(name).map(|prices| Statistics::of(prices));
            let of = |read: fn(&Statistics) -> f64| json!(spot.as_ref().map(read).map(rounded));
            Some(vec![
                json!(name),
                json!(memory(size).map(number)),
                json!(size.v_cpu_info().and_then(VCpuInfo::default_v_cpus)),
                json!(storage(size)),
                json!(gpu(size)),
                of(|spot| spot.recent),
                of(|spot| spot.median),
                of(|spot| spot.deviation),
                of(|spot| spot.most),
                json!(on_demand.get(name)),
            ])
        };
        let rows: Vec<Vec<Json>> = sizes.iter().filter_map(row).collect();
        let hours = rows.iter().map(|row| row.last().and_then(Json::as_f64));
        let months = hours.map(|hour| json!(hour.map(|hour| cents(hour * MONTH))));
        let months = months.collect();
        Ok(Prices {
            currency: self.partition().await?.currency().to_owned(),
            includes: Vec::new(),
            columns: [
                "size", "memory", "cores", "storage", "gpu", "recent", "median", "stddev", "max",
                "cost",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows,
            months,
        })
    }

    /// The spot prices of all sizes, newest first.
    async fn spot_history(&self) -> Result<BTreeMap<String, Vec<f64>>, Error> {
        let mut items = self
            .client()
            .await?
            .describe_spot_price_history()
            .product_descriptions(PRODUCT)
            .start_time(DateTime::from(SystemTime::now() - LATELY))
            .max_results(1000)
            .into_paginator()
            .items()
            .send();
        let mut prices: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
        while let Some(price) = items.next().await {
            let price = price.map_err(|error| explain("getting spot prices", &error))?;
            let size = price.instance_type().map(InstanceType::as_str);
            let number = price.spot_price().and_then(|text| text.parse().ok());
            if let (Some(size), Some(number)) = (size, number) {
                let at = price.timestamp().map_or(0, DateTime::secs);
                prices
                    .entry(size.to_owned())
                    .or_default()
                    .push((at, number));
            }
        }
        let sorted = prices.into_iter().map(|(size, mut prices)| {
            prices.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            (size, prices.into_iter().map(|(_, price)| price).collect())
        });
        Ok(sorted.collect())
    }

    /// The on-demand price of an hour, by size: of one size, or of all in this region.
    pub(super) async fn on_demand(
        &self,
        size: Option<&str>,
    ) -> Result<BTreeMap<String, f64>, Error> {
        let mut filters = vec![
            ("operatingSystem", "Linux"),
            ("tenancy", "Shared"),
            ("preInstalledSw", "NA"),
            ("capacitystatus", "Used"),
        ];
        filters.extend(size.map(|size| ("instanceType", size)));
        let products = self.products(&filters).await?;
        let currency = self.partition().await?.currency();
        let prices = products.iter().filter_map(|product| {
            let size = product["product"]["attributes"]["instanceType"].as_str()?;
            Some((size.to_owned(), price_of(product, currency)?))
        });
        Ok(prices.collect())
    }

    /// The price of an hour of one GB of a volume type, such as `gp3`.
    pub(super) async fn storage(&self, kind: &str) -> Result<Option<f64>, Error> {
        let filters = [("productFamily", "Storage"), ("volumeApiName", kind)];
        let products = self.products(&filters).await?;
        let currency = self.partition().await?.currency();
        Ok(products
            .iter()
            .find_map(|product| price_of(product, currency))
            .map(|month| month / MONTH))
    }

    /// The products of the price list for this region that have these attributes.
    async fn products(&self, filters: &[(&str, &str)]) -> Result<Vec<Json>, Error> {
        let reached = self.reached().await?;
        let region = reached.settings.region().map(ToString::to_string);
        let here = ("regionCode", region.as_deref().unwrap_or_default());
        let filters: Vec<Json> = [here]
            .iter()
            .chain(filters)
            .map(|(field, value)| json!({"Type": "TERM_MATCH", "Field": field, "Value": value}))
            .collect();
        let mut products = Vec::new();
        let mut next = Json::Null;
        loop {
            let mut ask = json!({"ServiceCode": "AmazonEC2", "Filters": filters});
            if next.is_string() {
                ask["NextToken"] = next;
            }
            let answer = ask_price_list(&reached.settings, &ask).await?;
            // Each is JSON in a string.
            let texts = answer["PriceList"].as_array().into_iter().flatten();
            products.extend(texts.filter_map(|text| serde_json::from_str(text.as_str()?).ok()));
            next = answer["NextToken"].clone();
            if next.as_str().is_none_or(str::is_empty) {
                return Ok(products);
            }
        }
    }

    /// The images that have a short name: `name`, `id`, `architecture`, `created`.
    pub async fn images(&self) -> Result<Vec<Json>, Error> {
        let client = self.client().await?;
        let mut rows = Vec::new();
        for architecture in [ArchitectureValues::X8664, ArchitectureValues::Arm64] {
            for (name, found) in image::all(&client, &architecture).await? {
                rows.push(json!({
                    "name": name,
                    "id": found.image_id(),
                    "architecture": architecture.as_str(),
                    "created": found.creation_date(),
                    "image": found.name(),
                }));
            }
        }
        Ok(rows)
    }
}

/// The price of a product of the price list, in this currency and its own unit.
fn price_of(product: &Json, currency: &str) -> Option<f64> {
    let terms = product["terms"]["OnDemand"].as_object()?;
    let dimensions = terms.values().next()?["priceDimensions"].as_object()?;
    let price = dimensions.values().next()?["pricePerUnit"][currency].as_str()?;
    let price: f64 = price.parse().ok()?;
    // Capacity reservations are listed with a price of zero.
    (price > 0.0).then_some(price)
}

/// Sends a request to the price list. AWS's SDK for it would be a large dependency for one request.
async fn ask_price_list(settings: &SdkConfig, ask: &Json) -> Result<Json, Error> {
    let fail = |cause: String| Error::Failed {
        provider: NAME.to_owned(),
        what: "getting prices".to_owned(),
        cause,
    };
    let region = settings.region().map_or("", |region| region.as_ref());
    let partition = Partition::of(region);
    let list = partition.price_list();
    // As AWS's own tools choose it.
    let url = env::var("AWS_ENDPOINT_URL_PRICING")
        .ok()
        .or_else(|| settings.endpoint_url().map(str::to_owned))
        .or_else(|| Some(list.as_ref()?.url.to_owned()))
        .ok_or_else(|| fail(format!("{} has no price list", partition.name())))?;
    let list_region = list.map_or("us-east-1", |list| list.region);
    let provider = settings
        .credentials_provider()
        .ok_or_else(|| fail("no credentials".to_owned()))?;
    let credentials = provider.provide_credentials().await;
    let identity = credentials.map_err(|error| fail(error.to_string()))?.into();
    let body = ask.to_string();
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "AWSPriceListService.GetProducts"),
    ];
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(list_region)
        .name("pricing")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| fail(error.to_string()))?;
    let signable = SignableRequest::new(
        "POST",
        &url,
        headers.into_iter(),
        SignableBody::Bytes(body.as_bytes()),
    );
    let signable = signable.map_err(|error| fail(error.to_string()))?;
    let (signed, _) = sign(signable, &parameters.into())
        .map_err(|error| fail(error.to_string()))?
        .into_parts();
    let mut request = client(TIMEOUT)
        .map_err(|error| fail(root_cause(&error)))?
        .post(&url)
        .body(body);
    for (name, value) in headers.into_iter().chain(signed.headers()) {
        request = request.header(name, value);
    }
    let answer = request
        .send()
        .await
        .map_err(|error| fail(root_cause(&error)))?;
    let status = answer.status();
    let text = answer
        .text()
        .await
        .map_err(|error| fail(root_cause(&error)))?;
    let answer: Json = serde_json::from_str(&text).unwrap_or_default();
    if !status.is_success() {
        let message = answer["message"].as_str().or(answer["Message"].as_str());
        return Err(fail(format!(
            "{} (status {status})",
            message.unwrap_or("refused")
        )));
    }
    Ok(answer)
}

/// In GB.
fn memory(size: &InstanceTypeInfo) -> Option<f64> {
    let mib = size.memory_info()?.size_in_mib()?;
    Some(f64::from(u32::try_from(mib).ok()?) / 1024.0)
}

/// Such as `2 x 80 SSD`.
fn storage(size: &InstanceTypeInfo) -> String {
    let disks = size.instance_storage_info().map(InstanceStorageInfo::disks);
    match disks.and_then(|disks| disks.first()) {
        Some(disk) => {
            let kind = disk.r#type().map_or("", |kind| kind.as_str());
            let (count, size) = (disk.count().unwrap_or(1), disk.size_in_gb().unwrap_or(0));
            format!("{count} x {size} {}", kind.to_uppercase())
                .trim()
                .to_owned()
        }
        None => "ebsonly".to_owned(),
    }
}

fn gpu(size: &InstanceTypeInfo) -> &'static str {
    let has_any = size.gpu_info().is_some_and(|info| !info.gpus().is_empty());
    if has_any { "gpu" } else { "" }
}

/// Statistics of spot prices.
struct Statistics {
    recent: f64,
    median: f64,
    deviation: f64,
    most: f64,
}

impl Statistics {
    /// The statistics of prices, newest first. There must be at least one.
    fn of(prices: &[f64]) -> Self {
        let mut sorted = prices.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) && middle > 0 {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted.get(middle).copied().unwrap_or_default()
        };
        let count = f64::from(u32::try_from(prices.len()).unwrap_or(u32::MAX));
        let mean = prices.iter().sum::<f64>() / count;
        let variance = prices
            .iter()
            .map(|price| (price - mean).powi(2))
            .sum::<f64>()
            / count;
        Statistics {
            recent: prices.first().copied().unwrap_or_default(),
            median,
            deviation: variance.sqrt(),
            most: sorted.last().copied().unwrap_or_default(),
        }
    }
}

/// Rounds to cents.
fn cents(price: f64) -> f64 {
    (price * 100.0).round() / 100.0
}

/// Rounds to a hundredth of a cent.
fn rounded(price: f64) -> f64 {
    (price * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics() {
        let spot = Statistics::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!(
            [spot.recent, spot.median, spot.most].map(|price| price.to_string()),
            ["4", "2.5", "4"]
        );
        assert_eq!(rounded(spot.deviation).to_string(), "1.118");
        assert_eq!(Statistics::of(&[0.5]).median.to_string(), "0.5");
    }

    #[test]
    fn a_product_of_the_price_list() {
        let product = json!({
            "product": {"attributes": {"instanceType": "t3.micro"}},
            "terms": {"OnDemand": {"X": {"priceDimensions": {"Y": {
                "pricePerUnit": {"USD": "0.0104000000"}
            }}}}}
        });
        assert_eq!(price_of(&product, "USD"), Some(0.0104));
        assert_eq!(price_of(&product, "CNY"), None);
        assert_eq!(price_of(&json!({}), "USD"), None);
    }
}
