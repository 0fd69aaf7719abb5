//! JSON Web Tokens (RFC 7519), signed with RS256 (RFC 7518, section 3.3).

use data_encoding::BASE64URL_NOPAD;
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value as Json, json};

/// Why a token could not be signed. Names no part of the key.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// The text is no private key.
    #[error("the private key is not valid PEM (RFC 7468)")]
    Pem,
    /// It is a key of another kind, or too small.
    #[error("the private key is not an RSA key of 2048 to 4096 bits")]
    NotRsa,
    /// The signature failed.
    #[error("signing failed: {0}")]
    Sign(rustls::Error),
}

/// Returns a token with these claims. `key` is an RSA private key as PEM, PKCS #8 or PKCS #1, and `id`
/// names it for the receiver.
pub(super) fn sign(claims: &Json, key: &str, id: Option<&str>) -> Result<String, JwtError> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| JwtError::Pem)?;
    let key = any_supported_type(&key).map_err(|_| JwtError::NotRsa)?;
    let signer = key
        .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
        .ok_or(JwtError::NotRsa)?;
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = id {
        header["kid"] = id.into();
    }
    let encode = |part: &Json| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = signer.sign(signed.as_bytes()).map_err(JwtError::Sign)?;
    Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_none() {
        let fails = |key: &str| sign(&json!({}), key, None).unwrap_err().to_string();
        assert!(fails("nonsense").contains("not valid PEM"));
        let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(fails(pem).contains("not an RSA key"));
    }
}
