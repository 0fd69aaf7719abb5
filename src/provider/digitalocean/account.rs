//! What the token may do. DigitalOcean does not list a token's scopes: they are tried, with requests that
//! name what does not exist, so that they have no effect.

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::DigitalOcean;
use crate::{
    http::{ApiRequest, Method},
    provider::{Error, Finding, Verdict},
};

/// An id that no droplet has: the largest number that JSON has for certain.
const NO_DROPLET: u64 = (1 << 53) - 1;

/// An id that no volume has.
const NO_VOLUME: &str = "00000000-0000-4000-8000-000000000000";

/// A name that no image or tag has.
const NOTHING: &str = "hitc-check-does-not-exist";

/// <https://docs.digitalocean.com/reference/api/digitalocean/#operation/account_get>
#[derive(Deserialize)]
struct Account {
    droplet_limit: u64,
    status: String,
    #[serde(default)]
    status_message: String,
}

impl DigitalOcean {
    /// Tries what hitc needs.
    pub(super) async fn try_account(&self) -> Result<Vec<Finding>, Error> {
        let account: Account = self.read(ApiRequest::get("/v2/account"), "account").await?;
        let droplets = self.droplets().await?.len();
        let state = if account.status == "active" {
            Finding::new("account", Verdict::Ok, account.status)
        } else {
            Finding::new("account", Verdict::Missing, account.status_message)
        };
        let limit = account.droplet_limit;
        let is_reached = droplets as u64 >= limit;
        let used = format!("{droplets} with hitc's tag, of at most {limit} in all");
        let room = if is_reached {
            Verdict::Missing
        } else {
            Verdict::Ok
        };
        let mut findings = vec![state, Finding::new("room for droplets", room, used)];
        let tried = requests()
            .into_iter()
            .map(|(scope, request)| self.try_scope(scope, request));
        findings.extend(join_all(tried).await);
        Ok(findings)
    }

    async fn try_scope(&self, scope: &str, request: ApiRequest) -> Finding {
        let (verdict, detail) = match self.ask(request).await {
            Ok(_) => (Verdict::Ok, String::new()),
            Err(Error::Api(error, _)) => match error.status() {
                Some(403) => (
                    Verdict::Missing,
                    "create a token with this scope".to_owned(),
                ),
                // Permitted, and refused for what it names.
                Some(404 | 422) => (Verdict::Ok, String::new()),
                _ => (Verdict::Unknown, error.to_string()),
            },
            Err(error) => (Verdict::Unknown, error.to_string()),
        };
        Finding::new(scope, verdict, detail)
    }
}

/// The scopes that hitc needs, and a request for each that changes nothing. `docs/digitalocean.md` says what
/// each is for.
fn requests() -> Vec<(&'static str, ApiRequest)> {
    let list = |path: &str| ApiRequest::get(format!("/v2/{path}?per_page=1"));
    let post = |path: &str, body: Json| ApiRequest::post(format!("/v2/{path}"), body);
    let order = json!({"name": "hitc-check", "size": NOTHING, "image": NOTHING, "region": NOTHING});
    let no_resources =
        json!({"resources": [{"resource_id": NO_DROPLET.to_string(), "resource_type": "droplet"}]});
    let untag = ApiRequest::new(
        Method::DELETE,
        format!("/v2/tags/{NOTHING}/resources"),
        Some(no_resources.clone()),
    );
    vec![
        ("regions:read", list("regions")),
        ("sizes:read", list("sizes")),
        ("image:read", list("images")),
        ("actions:read", list("actions")),
        ("droplet:create", post("droplets", order)),
        (
            "droplet:update",
            post(
                &format!("droplets/{NO_DROPLET}/actions"),
                json!({"type": "power_on"}),
            ),
        ),
        (
            "droplet:delete",
            ApiRequest::delete(format!("/v2/droplets/{NO_DROPLET}")),
        ),
        (
            "image:delete",
            ApiRequest::delete(format!("/v2/images/{NO_DROPLET}")),
        ),
        ("block_storage:read", list("volumes")),
        (
            "block_storage:delete",
            ApiRequest::delete(format!("/v2/volumes/{NO_VOLUME}")),
        ),
        ("ssh_key:read", list("account/keys")),
        (
            "ssh_key:create",
            post(
                "account/keys",
                json!({"name": "hitc-check", "public_key": NOTHING}),
            ),
        ),
        ("tag:read", list("tags")),
        (
            "tag:create",
            post(&format!("tags/{NOTHING}/resources"), no_resources),
        ),
        ("tag:delete", untag),
        ("firewall:read", list("firewalls")),
        ("reserved_ip:read", list("reserved_ips")),
    ]
}
