//! Ordering an instance.

use std::{
    env, fs,
    io::ErrorKind,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use aws_sdk_ec2::{
    Client, Config,
    config::retry::RetryConfig,
    error::{ProvideErrorMetadata, SdkError},
    operation::run_instances::{RunInstancesError, RunInstancesOutput},
    primitives::Blob,
    types::{
        ArchitectureType, ArchitectureValues, BlockDeviceMapping, EbsBlockDevice, HttpTokensState,
        Image, Instance, InstanceMarketOptionsRequest, InstanceMetadataOptionsRequest, MarketType,
        Placement, ResourceType, SpotMarketOptions, Subnet, Tag, TagSpecification, VolumeType,
    },
};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::{
    Ec2, NAME, TAG_IMAGE, TAG_MANIFEST, TAG_NAME, TAG_PREFIX, TAG_PROJECT, TAG_PROTECT, TAG_STATE,
    TAG_USER, by,
    client::{TRIES, code, explain},
    image,
    options::Options,
};
use crate::{
    project::make_private_folder,
    provider::{Create, Error},
};

/// How long EC2 remembers a token, in seconds (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>
/// says a day at least).
const TOKEN_AGE: u64 = 12 * 60 * 60;

/// The pause before an order is sent again, times the number of attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// An instance to be ordered, with its options resolved.
pub(super) struct Order<'a> {
    provider: &'a Ec2,
    pub client: Client,
    pub options: &'a Options,
    image: Image,
}

impl<'a> Order<'a> {
    /// Resolves the size and the image of the options.
    pub async fn new(provider: &'a Ec2, options: &'a Options) -> Result<Self, Error> {
        let client = provider.client().await?;
        let size = provider.size(&options.size).await?;
        let processor = size.processor_info();
        let arm = processor.is_some_and(|info| {
            info.supported_architectures()
                .contains(&ArchitectureType::Arm64)
        });
        let architecture = if arm {
            ArchitectureValues::Arm64
        } else {
            ArchitectureValues::X8664
        };
        let image = image::find(&client, &options.image, &architecture).await?;
        Ok(Order {
            provider,
            client,
            options,
            image,
        })
    }

    /// Checks that the zone, subnet, security groups and key pair exist.
    pub async fn check(&self) -> Result<(), Error> {
        if let Some(zone) = &self.options.placement {
            let answer = self.client.describe_availability_zones().send().await;
            let zones = answer.map_err(|error| explain("listing the zones", &error))?;
            let names = zones.availability_zones().iter();
            let names: Vec<&str> = names.filter_map(|zone| zone.zone_name()).collect();
            if !names.contains(&zone.as_str()) {
                return Err(Error::missing("placement", zone, names, None));
            }
        }
        self.subnet().await?;
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

    /// Orders the instance.
    pub async fn place(&self, create: &Create) -> Result<Instance, Error> {
        let key = match self.named_key() {
            Some(key) => key,
            None => self.own_key().await?,
        };
        let groups = self.groups().await?;
        let token = Token::take(self.provider, create)?;
        let mut tried = 0;
        loop {
            tried += 1;
            let error = match self.send(create, &key, &groups, &token).await {
                Ok(answer) => {
                    token.forget();
                    let instances = answer.instances.unwrap_or_default();
                    return instances.into_iter().next().ok_or_else(|| Error::Failed {
                        provider: NAME.to_owned(),
                        what: format!("ordering `{}`", create.name),
                        cause: "the response contains no instance".to_owned(),
                    });
                }
                Err(error) => error,
            };
            if !is_passing(&error) {
                // EC2 refused the order. The next one needs a new token.
                token.forget();
                return Err(self.refused(create, &error).await);
            }
            if tried == TRIES {
                return Err(self.refused(create, &error).await);
            }
            sleep(PAUSE * tried).await;
            // EC2 may have received the order. Only EC2 itself can tell by the token.
            if let Some(found) = self.provider.named(&create.name).await? {
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
        let user = image::user(said, self.image.name().unwrap_or_default());
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
    fn named_key(&self) -> Option<String> {
        let set = || {
            env::var("AWS_KEYPAIR_NAME")
                .ok()
                .filter(|name| !name.is_empty())
        };
        self.options.key_pair.clone().or_else(set)
    }

    /// Imports hitc's public key into EC2 if it is missing. Returns its name there.
    async fn own_key(&self) -> Result<String, Error> {
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
    async fn subnet(&self) -> Result<Option<Subnet>, Error> {
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

    /// The network of the subnet, or the default one.
    pub async fn network(&self) -> Result<Option<String>, Error> {
        if let Some(subnet) = self.subnet().await? {
            return Ok(subnet.vpc_id);
        }
        let answer = self
            .client
            .describe_vpcs()
            .filters(by("is-default", "true"))
            .send()
            .await
            .map_err(|error| explain("looking for the default network", &error))?;
        let mut networks = answer.vpcs.unwrap_or_default().into_iter();
        Ok(networks.find_map(|network| network.vpc_id))
    }
}

/// Whether a retry may succeed.
fn is_passing(error: &SdkError<RunInstancesError>) -> bool {
    let busy = [
        "RequestLimitExceeded",
        "Throttling",
        "InternalError",
        "Unavailable",
    ];
    match error {
        SdkError::ConstructionFailure(_) => false,
        // A lack of capacity is a 5xx too, but lasts.
        SdkError::ServiceError(service) => {
            let code = code(error);
            busy.contains(&code) || code.is_empty() && service.raw().status().as_u16() >= 500
        }
        // EC2 may or may not have received it.
        _ => true,
    }
}

/// A spot instance, which runs while the spot price is not above the bid.
fn spot(bid: &str) -> InstanceMarketOptionsRequest {
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(SpotMarketOptions::builder().max_price(bid).build())
        .build()
}

/// The idempotency token of an order, by which EC2 recognizes a repeated request. It is kept in a file
/// until the outcome is known.
pub(super) struct Token {
    path: PathBuf,
    text: String,
}

impl Token {
    fn path(provider: &Ec2, name: &str) -> PathBuf {
        let file = format!("{NAME}-{}{name}", provider.prefix);
        provider.data.join("orders").join(file)
    }

    fn take(provider: &Ec2, create: &Create) -> Result<Self, Error> {
        let fail = |error: std::io::Error| Error::Failed {
            provider: NAME.to_owned(),
            what: "keeping the token of an order".to_owned(),
            cause: error.to_string(),
        };
        let path = Token::path(provider, &create.name);
        make_private_folder(path.parent().unwrap_or(&provider.data)).map_err(fail)?;
        let is_old = fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok())
            .is_some_and(|age| age.as_secs() >= TOKEN_AGE);
        if is_old {
            fs::remove_file(&path).map_err(fail)?;
        }
        let bytes: [u8; 16] = std::array::from_fn(|_| fastrand::u8(..));
        let text = format!("hitc-{}", HEXLOWER.encode(&bytes));
        // Two processes that order at the same time use the token of the first.
        let folder = path.parent().unwrap_or(&provider.data);
        let file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        fs::write(file.path(), &text).map_err(fail)?;
        let text = match file.persist_noclobber(&path) {
            Ok(_) => text,
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                fs::read_to_string(&path).map_err(fail)?
            }
            Err(error) => return Err(fail(error.error)),
        };
        Ok(Token { path, text })
    }

    /// Forgets the token of a server that exists or was terminated: the next order is a new one.
    pub(super) fn forget_of(provider: &Ec2, name: &str) {
        // See below.
        let _ = fs::remove_file(Token::path(provider, name));
    }

    fn forget(&self) {
        // A stale token does no harm: an order looks for an existing instance first.
        let _ = fs::remove_file(&self.path);
    }
}
