//! Ordering an instance.

use std::{env, time::Duration};

use aws_sdk_ec2::{
    Client, Config,
    config::retry::RetryConfig,
    error::{ProvideErrorMetadata, SdkError},
    operation::run_instances::{RunInstancesError, RunInstancesOutput},
    primitives::Blob,
    types::{
        ArchitectureValues, BlockDeviceMapping, EbsBlockDevice, HttpTokensState, Image, Instance,
        InstanceMarketOptionsRequest, InstanceMetadataOptionsRequest, InstanceTypeInfo, MarketType,
        Placement, ResourceType, SpotMarketOptions, Subnet, Tag, TagSpecification, VolumeType,
    },
};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Ec2, NAME, TAG_IMAGE, TAG_MANIFEST, TAG_NAME, TAG_PREFIX, TAG_PROJECT, TAG_PROTECT, TAG_STATE,
    TAG_USER, by,
    client::{NO_GROUP, VISIBLE_TIMEOUT, code, explain, is_garbled},
    image::{self, supports},
    options::Options,
    saved_image,
    token::Token,
};
use crate::{
    core::memo::Memo,
    provider::{Create, Error},
};

/// The pause between two orders: EC2 takes two a second
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>).
const PACE: Duration = Duration::from_millis(500);

/// The first and the longest pause before an order is sent again.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// How long an order is sent again that met the limit of requests, and one with an unclear outcome.
const LIMIT_TIMEOUT: Duration = Duration::from_mins(10);
const UNCLEAR_TIMEOUT: Duration = Duration::from_mins(2);

/// What orders of one run have in common: it is looked up once.
#[derive(Default)]
pub(super) struct Common {
    /// Sizes and images, by their names.
    found: Memo<(InstanceTypeInfo, Image)>,
    pub groups: Memo<Vec<String>>,
    keys: Memo<String>,
    networks: Memo<String>,
    /// When the next order may be sent.
    next: Mutex<Option<Instant>>,
}

impl Common {
    /// Waits until another order may be sent.
    async fn take_turn(&self) {
        let turn = {
            let mut next = self.next.lock().await;
            let turn = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(turn + PACE);
            turn
        };
        sleep_until(turn).await;
    }
}

/// An instance to be ordered, with its options resolved.
pub(super) struct Order<'a> {
    pub provider: &'a Ec2,
    pub client: Client,
    pub options: &'a Options,
    pub size: InstanceTypeInfo,
    pub image: Image,
}

impl<'a> Order<'a> {
    /// Resolves the size and the image of the options.
    pub async fn new(provider: &'a Ec2, options: &'a Options) -> Result<Self, Error> {
        let client = provider.client().await?;
        let find = || async {
            let size = provider.size(&options.size).await?;
            let architecture = if supports(&size, "arm64") {
                ArchitectureValues::Arm64
            } else {
                ArchitectureValues::X8664
            };
            let image = match provider.saved_ami(&options.image).await? {
                Some(image) => image,
                None => image::find(&client, &options.image, &architecture).await?,
            };
            Ok::<_, Error>((size, image))
        };
        let key = format!("{} {}", options.size, options.image);
        let (size, image) = provider.common.found.get(&key, find).await?;
        Ok(Order {
            provider,
            client,
            options,
            size,
            image,
        })
    }

    /// The root disk of the image.
    pub fn root(&self) -> Option<&EbsBlockDevice> {
        let mut devices = self.image.block_device_mappings().iter();
        let root = self.image.root_device_name();
        devices.find(|device| device.device_name() == root)?.ebs()
    }

    /// Orders the instance.
    pub async fn place(&self, create: &Create) -> Result<Instance, Error> {
        let key = match self.named_key() {
            Some(key) => key,
            None => self.own_key().await?,
        };
        let groups = self.groups().await?;
        let token = Token::take(self.provider, &create.name)?;
        let (begun, mut tried) = (Instant::now(), 0);
        loop {
            tried += 1;
            self.provider.common.take_turn().await;
            let error = match self.send(create, &key, &groups, &token).await {
                Ok(answer) => {
                    let instances = answer.instances.unwrap_or_default();
                    return instances.into_iter().next().ok_or_else(|| Error::Failed {
                        provider: NAME.to_owned(),
                        what: format!("ordering `{}`", create.name),
                        cause: "the response contains no instance".to_owned(),
                    });
                }
                Err(error) => error,
            };
            let outcome = Outcome::of(&error);
            if outcome == Outcome::Refused {
                // The next order needs a new token.
                token.forget();
            }
            if begun.elapsed() > outcome.patience() {
                if outcome == Outcome::TooEarly {
                    // The group or the key was removed since it was looked up.
                    self.provider.common.groups.clear();
                    self.provider.common.keys.clear();
                }
                return Err(self.refused(create, &error).await);
            }
            sleep(pause(tried)).await;
            // Only EC2 itself can tell by the token whether it received the order.
            if outcome == Outcome::Unclear
                && let Some(found) = self.provider.named(&create.name).await?
            {
                token.forget();
                return Ok(found);
            }
        }
    }

    async fn send(
        &self,
        create: &Create,
        key: &str,
        groups: &[String],
        token: &Token,
    ) -> Result<RunInstancesOutput, SdkError<RunInstancesError>> {
        let options = self.options;
        let tags = self.tags(create);
        let mut kinds = vec![ResourceType::Instance, ResourceType::Volume];
        if options.bid.is_some() {
            kinds.push(ResourceType::SpotInstancesRequest);
        }
        let specifications = kinds.into_iter().map(|kind| {
            TagSpecification::builder()
                .resource_type(kind)
                .set_tags(Some(tags.clone()))
                .build()
        });
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            // Containers on the instance are one hop further away.
            .http_put_response_hop_limit(2)
            .build();
        let placement = options
            .placement
            .as_ref()
            .map(|zone| Placement::builder().availability_zone(zone).build());
        let user_data = options.user_data.as_deref();
        let once = Config::builder().retry_config(RetryConfig::disabled());
        self.client
            .run_instances()
            .image_id(self.image.image_id().unwrap_or_default())
            .instance_type(options.size.as_str().into())
            .min_count(1)
            .max_count(1)
            .key_name(key)
            .set_security_group_ids(Some(groups.to_vec()))
            .set_subnet_id(options.subnet.clone())
            .set_placement(placement)
            .set_user_data(user_data.map(|text| BASE64.encode(text.as_bytes())))
            .set_ipv6_address_count(options.ipv6.then_some(1))
            .set_block_device_mappings(self.disk())
            .set_instance_market_options(options.bid.as_deref().map(spot))
            .metadata_options(metadata)
            .set_tag_specifications(Some(specifications.collect()))
            .client_token(&token.text)
            .customize()
            .config_override(once)
            .send()
            .await
    }

    async fn refused(&self, create: &Create, error: &SdkError<RunInstancesError>) -> Error {
        if error.code() == Some("SpotMaxPriceTooLow")
            && let Ok(Some(low)) = self.provider.too_low(self.options).await
        {
            return low;
        }
        explain(&format!("ordering `{}`", create.name), error)
    }

    fn tags(&self, create: &Create) -> Vec<Tag> {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let prefix = &self.provider.prefix;
        let said = &self.options.image;
        let publishers = image::user(said, self.image.name().unwrap_or_default());
        let of_image = saved_image::user(&self.image).unwrap_or(publishers);
        let user = self.options.user.as_deref().unwrap_or(of_image);
        let mut tags = vec![
            tag(TAG_NAME, &format!("{prefix}{}", create.name)),
            tag(TAG_PREFIX, prefix),
            tag(TAG_STATE, "creating"),
            tag(TAG_IMAGE, said),
            tag(TAG_USER, user),
        ];
        if self.options.protect {
            tags.push(tag(TAG_PROTECT, "true"));
        }
        tags.push(tag(TAG_PROJECT, &create.owner.project));
        let manifest = create.owner.manifest.iter();
        tags.extend(manifest.map(|manifest| tag(TAG_MANIFEST, manifest)));
        let own = self.options.tags.iter();
        tags.extend(own.map(|(key, value)| tag(key, value)));
        tags
    }

    /// The root disk, if the user gave its size.
    fn disk(&self) -> Option<Vec<BlockDeviceMapping>> {
        let size = self.options.disk?;
        let disk = EbsBlockDevice::builder()
            .volume_size(size)
            .volume_type(VolumeType::Gp3)
            .delete_on_termination(true)
            .build();
        let name = self.image.root_device_name().unwrap_or("/dev/xvda");
        Some(vec![
            BlockDeviceMapping::builder()
                .device_name(name)
                .ebs(disk)
                .build(),
        ])
    }

    /// The key pair that the user named, by option or in the environment.
    pub fn named_key(&self) -> Option<String> {
        let set = || {
            env::var("AWS_KEYPAIR_NAME")
                .ok()
                .filter(|name| !name.is_empty())
        };
        self.options.key_pair.clone().or_else(set)
    }

    /// Imports hitc's public key into EC2 if it is missing. Returns its name there.
    async fn own_key(&self) -> Result<String, Error> {
        let keys = &self.provider.common.keys;
        keys.get("", || self.import_key()).await
    }

    async fn import_key(&self) -> Result<String, Error> {
        let key = self.provider.key()?;
        let digest = HEXLOWER.encode(&Sha256::digest(key.public.as_bytes()));
        let name = format!("hitc-{}", &digest[..12]);
        let imported = self
            .client
            .import_key_pair()
            .key_name(&name)
            .public_key_material(Blob::new(key.public.as_bytes()))
            .send()
            .await;
        match imported {
            Ok(_) => Ok(name),
            Err(error) if code(&error) == "InvalidKeyPair.Duplicate" => Ok(name),
            Err(error) => Err(explain("importing hitc's key", &error)),
        }
    }

    /// The subnet that the user named.
    pub async fn subnet(&self) -> Result<Option<Subnet>, Error> {
        let Some(id) = &self.options.subnet else {
            return Ok(None);
        };
        let answer = self.client.describe_subnets().subnet_ids(id).send().await;
        let subnets = match answer {
            Ok(answer) => answer.subnets.unwrap_or_default(),
            Err(error) if code(&error).starts_with("InvalidSubnetID") => Vec::new(),
            Err(error) => return Err(explain("looking for the subnet", &error)),
        };
        match subnets.into_iter().next() {
            Some(subnet) => Ok(Some(subnet)),
            None => Err(Error::missing(
                "subnet",
                id,
                [],
                Some("check that it is in this region"),
            )),
        }
    }

    /// The id of the subnet's network (VPC), or of the default one.
    pub async fn network(&self) -> Result<String, Error> {
        let key = self.options.subnet.as_deref().unwrap_or_default();
        let networks = &self.provider.common.networks;
        networks.get(key, || self.find_network()).await
    }

    async fn find_network(&self) -> Result<String, Error> {
        if let Some(subnet) = self.subnet().await? {
            return Ok(subnet.vpc_id.unwrap_or_default());
        }
        let answer = self
            .client
            .describe_vpcs()
            .filters(by("is-default", "true"))
            .send()
            .await
            .map_err(|error| explain("looking for the default network", &error))?;
        let mut networks = answer.vpcs.unwrap_or_default().into_iter();
        let network = networks.find_map(|network| network.vpc_id);
        network.ok_or_else(|| {
            Error::invalid(
                "this region has no default network (VPC)".to_owned(),
                Some(
                    "name a subnet with `subnet=ID`, or create the default network with `aws ec2 \
                     create-default-vpc`"
                        .to_owned(),
                ),
            )
        })
    }
}

/// What an error says about an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// EC2 refused it.
    Refused,
    /// EC2 refused it because there were too many at once.
    TooMany,
    /// EC2 does not know the new group or key everywhere yet.
    TooEarly,
    /// EC2 may or may not have received it.
    Unclear,
}

impl Outcome {
    fn of(error: &SdkError<RunInstancesError>) -> Self {
        match error {
            SdkError::ConstructionFailure(_) => Outcome::Refused,
            SdkError::ServiceError(service) => match code(error) {
                "RequestLimitExceeded" | "Throttling" | "ThrottlingException" => Outcome::TooMany,
                NO_GROUP | "InvalidKeyPair.NotFound" => Outcome::TooEarly,
                "InternalError" | "InternalFailure" | "ServiceUnavailable" | "Unavailable" => {
                    Outcome::Unclear
                }
                // A lack of capacity is a 5xx too, but lasts. A response of success that cannot be decoded
                // says that EC2 received the order.
                "" if service.raw().status().as_u16() >= 500 || is_garbled(error) => {
                    Outcome::Unclear
                }
                _ => Outcome::Refused,
            },
            _ => Outcome::Unclear,
        }
    }

    /// How long the same order is sent again.
    fn patience(self) -> Duration {
        match self {
            Outcome::Refused => Duration::ZERO,
            Outcome::TooMany => LIMIT_TIMEOUT,
            Outcome::TooEarly => VISIBLE_TIMEOUT,
            Outcome::Unclear => UNCLEAR_TIMEOUT,
        }
    }
}

/// The pause after a number of tries: longer each time, and of another length for each order.
fn pause(tried: u32) -> Duration {
    let most = PAUSE_MOST.min(PAUSE * 2_u32.pow(tried.min(8) - 1));
    most.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// A spot instance, which runs while the spot price is not above the bid.
fn spot(bid: &str) -> InstanceMarketOptionsRequest {
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(SpotMarketOptions::builder().max_price(bid).build())
        .build()
}
