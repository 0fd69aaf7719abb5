//! Access tokens of OAuth 2.0 (RFC 6749), cached until shortly before they expire.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use reqwest::{StatusCode, Url, header::CONTENT_TYPE};
use serde_json::Value as Json;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Network, client, jwt,
    jwt::JwtError,
    read_text,
    retry::{MAX_ATTEMPTS, MAX_RETRY_AFTER, backoff, is_rate_limited, is_transient, retry_after},
    root_cause,
};
use crate::core::diagnostic::{Diagnostic, Kind};

/// The time limit of one attempt.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The lifetime of an assertion, and of a token whose response names none. The longest that Google
/// accepts (<https://developers.google.com/identity/protocols/oauth2/service-account>).
const LIFETIME: Duration = Duration::from_hours(1);

/// The longest lifetime that is believed. A longer one would overflow the clock.
const LONGEST: Duration = Duration::from_hours(24);

/// A request for a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// The token endpoint.
    pub url: String,
    /// The fields of the form.
    pub form: BTreeMap<String, String>,
    /// What is signed, and sent as the field `assertion` (RFC 7523).
    pub assertion: Option<Assertion>,
}

/// A signed statement of who asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Assertion {
    /// The claims, except for `iat` and `exp`.
    pub claims: serde_json::Map<String, Json>,
    /// The RSA private key, as PEM.
    pub key: String,
    /// The id of the key.
    pub id: Option<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The assertion could not be signed.
    #[error("{url}: {cause}")]
    Unsigned {
        /// The token endpoint.
        url: String,
        /// What is wrong with the key.
        cause: JwtError,
    },
    /// The endpoint rejected the request.
    #[error("{url}: access token refused: {message} (status {status})")]
    Refused {
        /// The token endpoint.
        url: String,
        /// The status of the response.
        status: u16,
        /// The error of the response.
        message: String,
    },
    /// There was no response, or an invalid one.
    #[error("{url}: no access token: {cause}")]
    NoAnswer {
        /// The token endpoint.
        url: String,
        /// What went wrong.
        cause: String,
    },
}

impl From<TokenError> for Diagnostic {
    fn from(error: TokenError) -> Self {
        let (kind, code) = match &error {
            TokenError::Unsigned { .. } => (Kind::Usage, None),
            TokenError::Refused { status, .. } => (Kind::Usage, Some(u32::from(*status))),
            TokenError::NoAnswer { .. } => (Kind::Failed, None),
        };
        let mut diagnostic = Diagnostic::new(kind, error.to_string());
        diagnostic.code = code;
        diagnostic
    }
}

struct Token {
    text: String,
    /// A tenth of its lifetime before it expires.
    renew_at: Instant,
}

/// The tokens of a run.
#[derive(Default)]
pub struct AccessTokens {
    network: Network,
    tokens: Mutex<HashMap<TokenRequest, Token>>,
}

impl AccessTokens {
    /// No tokens yet; they are requested over this network.
    pub fn over(network: &Network) -> Self {
        AccessTokens {
            network: network.clone(),
            tokens: Mutex::default(),
        }
    }

    /// Forgets all tokens.
    pub async fn clear(&self) {
        self.tokens.lock().await.clear();
    }

    /// Returns a token, which is requested if there is none, if it is about to expire, or if it is
    /// `refused`, a token that the API did not accept. Of several callers, one requests it.
    pub async fn get(
        &self,
        request: &TokenRequest,
        refused: Option<&str>,
    ) -> Result<String, TokenError> {
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(request)
            && token.renew_at > self.network.now()
            && refused != Some(&token.text)
        {
            return Ok(token.text.clone());
        }
        let token = request.send(&self.network).await?;
        let text = token.text.clone();
        tokens.insert(request.clone(), token);
        Ok(text)
    }
}

impl TokenRequest {
    /// Sends the request, again if that may help.
    async fn send(&self, network: &Network) -> Result<Token, TokenError> {
        let mut attempt = 1;
        loop {
            let (error, retry) = match self.send_once(network).await {
                Ok(token) => return Ok(token),
                Err(failed) => failed,
            };
            match retry {
                Some(pause) if attempt < MAX_ATTEMPTS => {
                    let pause = pause.unwrap_or_else(|| backoff(attempt));
                    network.sleep(pause).await;
                }
                _ => return Err(error),
            }
            attempt += 1;
        }
    }

    /// Sends the request once. An error says whether to retry, and perhaps after which pause.
    async fn send_once(
        &self,
        network: &Network,
    ) -> Result<Token, (TokenError, Option<Option<Duration>>)> {
        let no_answer = |cause: String| TokenError::NoAnswer {
            url: self.url.clone(),
            cause,
        };
        let body = self.body().map_err(|cause| {
            let url = self.url.clone();
            (TokenError::Unsigned { url, cause }, None)
        })?;
        let client = client(TIMEOUT).map_err(|error| (no_answer(root_cause(&error)), None))?;
        let asked = network.now();
        let sending = client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let response = network.send(sending).await.map_err(|error| {
            let retry = (!error.is_final()).then_some(None);
            (no_answer(error.cause()), retry)
        })?;
        let (status, pause) = (response.status(), retry_after(response.headers()));
        let text = read_text(response).await;
        let text = text.map_err(|error| (no_answer(error.to_string()), Some(None)))?;
        let body: Json = serde_json::from_str(&text).unwrap_or_default();
        if !status.is_success() {
            let may_help = is_rate_limited(status) || is_transient(status);
            let is_short = pause.is_none_or(|pause| pause <= MAX_RETRY_AFTER);
            let retry = (may_help && is_short).then_some(pause);
            return Err((self.refusal(status, &body), retry));
        }
        let Some(text) = body["access_token"].as_str() else {
            return Err((no_answer("the response has no token".to_owned()), None));
        };
        let lifetime = body["expires_in"].as_u64().map(Duration::from_secs);
        Ok(Token {
            text: text.to_owned(),
            renew_at: asked + lifetime.unwrap_or(LIFETIME).min(LONGEST) * 9 / 10,
        })
    }

    /// The form, encoded.
    fn body(&self) -> Result<String, JwtError> {
        // Encodes queries as forms are encoded. The address is not used.
        let Ok(mut form) = Url::parse("http://form") else {
            return Ok(String::new());
        };
        form.query_pairs_mut().extend_pairs(&self.form);
        if let Some(assertion) = &self.assertion {
            let signed = assertion.sign()?;
            form.query_pairs_mut().append_pair("assertion", &signed);
        }
        Ok(form.query().unwrap_or_default().to_owned())
    }

    /// The error of a response (RFC 6749, section 5.2).
    fn refusal(&self, status: StatusCode, body: &Json) -> TokenError {
        let texts = ["error", "error_description"].map(|key| body[key].as_str());
        let texts: Vec<&str> = texts.into_iter().flatten().collect();
        let message = if texts.is_empty() {
            status.canonical_reason().unwrap_or("refused").to_owned()
        } else {
            texts.join(": ")
        };
        TokenError::Refused {
            url: self.url.clone(),
            status: status.as_u16(),
            message,
        }
    }
}

impl Assertion {
    fn sign(&self) -> Result<String, JwtError> {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), now.into());
        claims.insert(
            "exp".to_owned(),
            (now + LIFETIME.as_secs().cast_signed()).into(),
        );
        jwt::sign(&Json::Object(claims), &self.key, self.id.as_deref())
    }
}
