//! The client of EC2. Credentials and region follow the rules of AWS's own tools.

use std::{env, fs, path::Path, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableRegionProvider,
    imds::client::error::ImdsError, meta::region::RegionProviderChain,
    profile::ProfileFileRegionProvider, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::{
    Client,
    config::ProvideCredentials,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider as Tls, rustls_provider::CryptoMode},
};

use super::NAME;
use crate::{
    core::{
        diagnostic::{Kind, plain},
        event::Events,
    },
    provider::{Error, error::Refusal},
};

/// The timeouts of one attempt and of all attempts.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_mins(3);
/// The most attempts of a request.
pub(super) const TRIES: u32 = 5;

/// The first and the longest pause between two polls.
pub(super) const STATE_PAUSE: Duration = Duration::from_millis(500);
pub(super) const STATE_PAUSE_MOST: Duration = Duration::from_secs(5);

/// How long EC2 may take to know a new id, group or key everywhere
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>).
pub(super) const VISIBLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The code of the error that a security group does not exist.
pub(super) const NO_GROUP: &str = "InvalidGroup.NotFound";

/// The environment variables that configure credentials (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>).
const VARIABLES: [&str; 7] = [
    "AWS_CONFIG_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SHARED_CREDENTIALS_FILE",
];

/// Loads the settings from the environment, the profile, and the instance if this machine is one.
/// `region` replaces the region of all of them.
pub(super) async fn settings(
    home: &Path,
    region: Option<&str>,
    events: &Events,
) -> Result<SdkConfig, Error> {
    // Without this check, the SDK asks the instance metadata service, which takes seconds to time out
    // on other machines.
    if !has_credentials(home) {
        return Err(not_configured("no credentials".to_owned()));
    }
    let http = Builder::new()
        .tls_provider(Tls::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(TRY_TIMEOUT)
        .operation_timeout(TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    // AWS's own tools treat an empty region or profile as none; the SDK does not.
    if env::var("AWS_REGION").is_ok_and(|region| region.is_empty()) {
        loader = loader.region(ProfileFileRegionProvider::new());
    }
    if env::var("AWS_PROFILE").is_ok_and(|name| name.is_empty()) {
        loader = loader.profile_name("default");
    }
    if let Some(region) = region {
        let own = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        let own = own.region().await;
        if own.is_some_and(|own| own.as_ref() == region) {
            let text =
                format!("`ec2_regions` names {region}, which is the region of `ec2` already");
            let help = "remove it from `config(#{ ec2_regions: […] })`".to_owned();
            return Err(Error::invalid(text, Some(help)));
        }
        loader = loader.region(Region::new(region.to_owned()));
    }
    let settings = loader
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
        .timeout_config(timeouts)
        .app_name(aws_config::AppName::new("hitc").map_err(|e| not_configured(e.to_string()))?)
        .load()
        .await;
    let Some(credentials) = settings.credentials_provider() else {
        return Err(not_configured("no credentials".to_owned()));
    };
    let credentials = credentials.provide_credentials().await;
    let credentials = credentials.map_err(|error| {
        // Other clouds have a metadata service of the same address.
        let is_missing = matches!(error, CredentialsError::CredentialsNotLoaded(_))
            || is_of_metadata(&error) && !is_instance();
        match profile() {
            // Expired credentials: the user has servers, and wants to see them.
            _ if !is_missing => no_credentials(bottom(&error)),
            Some(name) => no_credentials(format!("no credentials in profile `{name}`")),
            None => not_configured("no credentials".to_owned()),
        }
    })?;
    events.hide(credentials.secret_access_key());
    if let Some(token) = credentials.session_token() {
        events.hide(token);
    }
    if settings
        .region()
        .is_none_or(|region| region.as_ref().is_empty())
    {
        return Err(Error::NotConfigured {
            provider: NAME.to_owned(),
            cause: "no region".to_owned(),
            help: "set AWS_REGION, or `region` in ~/.aws/config".to_owned(),
        });
    }
    Ok(settings)
}

/// A client with these settings.
pub(super) fn client(settings: &SdkConfig) -> Client {
    Client::new(settings)
}

fn has_credentials(home: &Path) -> bool {
    let is_set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let files = ["credentials", "config"];
    VARIABLES.iter().any(is_set)
        || files
            .iter()
            .any(|file| home.join(".aws").join(file).exists())
        || is_instance()
}

/// Whether this machine is an instance of EC2.
fn is_instance() -> bool {
    let vendor = fs::read_to_string("/sys/class/dmi/id/sys_vendor");
    vendor.is_ok_and(|vendor| vendor.starts_with("Amazon EC2"))
}

/// Whether an error is of the metadata service of instances.
fn is_of_metadata(error: &CredentialsError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<ImdsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// The profile that the environment names.
fn profile() -> Option<String> {
    env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty())
}

fn no_credentials(cause: String) -> Error {
    let help = match profile() {
        Some(name) => format!(
            "check that profile `{name}` exists in ~/.aws; if it does, log in again: `aws sso login --profile {name}`"
        ),
        None => "log in again: `aws sso login`, or renew the keys in ~/.aws/credentials".to_owned(),
    };
    Error::Refused(Box::new(Refusal {
        provider: NAME.to_owned(),
        what: "getting credentials".to_owned(),
        cause,
        code: None,
        request: None,
        kind: Kind::Usage,
        help: Some(help),
    }))
}

fn not_configured(cause: String) -> Error {
    Error::NotConfigured {
        provider: NAME.to_owned(),
        cause,
        help: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run \
               `aws configure`"
            .to_owned(),
    }
}

/// The error of a request, with what it was for.
pub(super) fn explain<E>(what: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + RequestId + 'static,
    SdkError<E>: RequestId,
{
    let code = error.code().map(str::to_owned);
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    let cause = match (error.message(), status) {
        (Some(message), _) => message.to_owned(),
        (None, Some(status)) if code.is_none() && status >= 300 => format!("status {status}"),
        (None, _) => bottom(error),
    };
    let expired = [
        "RequestExpired",
        "AuthFailure",
        "ExpiredToken",
        "InvalidClientTokenId",
    ];
    let (kind, help) = match code.as_deref() {
        Some(code) if expired.contains(&code) => (
            Kind::Usage,
            Some("the credentials are invalid or have expired; renew them"),
        ),
        Some("UnauthorizedOperation") => (
            Kind::Usage,
            Some("these credentials lack the permission; ask the administrator of the account"),
        ),
        Some("InstanceLimitExceeded" | "VcpuLimitExceeded" | "MaxSpotInstanceCountExceeded") => (
            Kind::Failed,
            Some("request a higher quota from AWS, or terminate servers that are not needed"),
        ),
        Some("RulesPerSecurityGroupLimitExceeded") => (
            Kind::Failed,
            Some(
                "write fewer or larger networks in the firewall, or request a higher quota for the rules \
                 of a security group from AWS",
            ),
        ),
        Some("VolumeModificationRateExceeded" | "IncorrectModificationState") => (
            Kind::Failed,
            Some("EC2 limits how often a volume is changed; try again in some hours"),
        ),
        _ => (Kind::Failed, None),
    };
    Error::Refused(Box::new(Refusal {
        provider: NAME.to_owned(),
        what: what.to_owned(),
        cause,
        code,
        request: error.request_id().map(str::to_owned),
        kind,
        help: help.map(str::to_owned),
    }))
}

/// The root cause. The messages above it repeat what hitc says itself.
fn bottom(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    plain(root)
}

/// Whether the response has a status of success, but cannot be decoded.
pub(super) fn is_garbled<E>(error: &SdkError<E>) -> bool {
    let response = error.raw_response();
    response.is_some_and(|response| response.status().is_success())
}

/// The code of an error, such as `InvalidInstanceID.NotFound`.
pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error.code().unwrap_or_default()
}
