//! Public key authentication on a connection whose host key is verified.

use std::path::PathBuf;

use russh::{
    Error as Protocol,
    client::{AuthResult, Handle},
    keys::{
        HashAlg, PrivateKeyWithHashAlg,
        agent::{AgentIdentity, client::AgentClient},
    },
};
use tokio::net::UnixStream;

use super::{
    Cause, Error, Target,
    auth_keys::{AuthKey, AuthKeys, Signer},
    client::ClientHandler,
    keyring::Keyring,
};

/// How many keys are offered. sshd closes the connection after six attempts (`MaxAuthTries` in
/// sshd_config(5)).
const MAX_KEYS: usize = 5;

/// The result of a login that did not fail.
pub(super) enum LoginOutcome {
    LoggedIn,
    /// The server accepts this private key, which is still encrypted.
    KeyLocked(PathBuf),
}

/// Offers the keys one after the other, until the server accepts one.
pub(super) async fn log_in(
    handle: &mut Handle<ClientHandler>,
    target: &Target,
    keyring: &Keyring,
) -> Result<LoginOutcome, Error> {
    let AuthKeys {
        keys,
        unusable: mut tried,
        ..
    } = AuthKeys::collect(target, keyring).await?;
    let count = keys.len();
    let mut wants_more = false;
    for key in keys.into_iter().take(MAX_KEYS) {
        match key.authenticate(handle, target, keyring).await? {
            Some(AuthResult::Success) => return Ok(LoginOutcome::LoggedIn),
            Some(AuthResult::Failure {
                partial_success, ..
            }) => wants_more |= partial_success,
            None => match key.signer {
                Signer::File(path) => return Ok(LoginOutcome::KeyLocked(path)),
                Signer::Agent(_) => {
                    tried.push(format!("{} (the agent refused to sign)", key.label));
                    continue;
                }
            },
        }
        tried.push(key.label);
        if handle.is_closed() {
            break;
        }
    }
    if count > MAX_KEYS {
        tried.push(format!(
            "and {} more that were not offered, because servers limit the number of attempts",
            count - MAX_KEYS
        ));
    }
    Err(target.error(Cause::Auth {
        user: target.user.clone(),
        address: target.endpoint(),
        tried: if tried.is_empty() {
            "no key found".to_owned()
        } else {
            format!("tried {}", tried.join(", "))
        },
        wants_more,
    }))
}

impl AuthKey {
    /// Authenticates with the key. Returns none if the signature is missing: the key file is locked,
    /// or the agent refused to sign.
    async fn authenticate(
        &self,
        handle: &mut Handle<ClientHandler>,
        target: &Target,
        keyring: &Keyring,
    ) -> Result<Option<AuthResult>, Error> {
        let lost = |_| {
            target.error(Cause::Lost {
                doing: "logging in".to_owned(),
            })
        };
        let user = target.user.as_str();
        let hash = if self.public.algorithm().is_rsa() {
            let best = handle.best_supported_rsa_hash().await.map_err(lost)?;
            // A server that does not announce its algorithms: supported since OpenSSH 7.2 (2016).
            best.unwrap_or(Some(HashAlg::Sha512))
        } else {
            None
        };
        match &self.signer {
            Signer::File(path) => {
                let file = keyring.file(path).map_err(|cause| {
                    let path = path.clone();
                    target.error(Cause::Identity { path, cause })
                })?;
                let result = match (file.private, self.certificate.clone()) {
                    (Some(key), Some(certificate)) => {
                        handle
                            .authenticate_openssh_cert(user, key, certificate)
                            .await
                    }
                    (Some(key), None) => {
                        let key = PrivateKeyWithHashAlg::new(key, hash);
                        handle.authenticate_publickey(user, key).await
                    }
                    // Asks the server whether it accepts the key, before the user is asked for the
                    // passphrase.
                    (None, certificate) => {
                        let result = match certificate {
                            Some(certificate) => {
                                handle
                                    .authenticate_certificate_with(
                                        user,
                                        certificate,
                                        hash,
                                        &mut LockedKeySigner,
                                    )
                                    .await
                            }
                            None => {
                                let key = self.public.clone();
                                handle
                                    .authenticate_publickey_with(
                                        user,
                                        key,
                                        hash,
                                        &mut LockedKeySigner,
                                    )
                                    .await
                            }
                        };
                        return match result {
                            Ok(answer) => Ok(Some(answer)),
                            Err(LockedKeyError::SignatureNeeded) => Ok(None),
                            Err(LockedKeyError::ConnectionLost) => Err(lost(Protocol::Disconnect)),
                        };
                    }
                };
                result.map(Some).map_err(lost)
            }
            Signer::Agent(socket) => {
                let Ok(mut agent) = AgentClient::<UnixStream>::connect_uds(socket).await else {
                    return Ok(None);
                };
                let result = match self.certificate.clone() {
                    Some(certificate) => {
                        handle
                            .authenticate_certificate_with(user, certificate, hash, &mut agent)
                            .await
                    }
                    None => {
                        let key = self.public.clone();
                        handle
                            .authenticate_publickey_with(user, key, hash, &mut agent)
                            .await
                    }
                };
                // Tells a refusal of the agent from a broken connection.
                if handle.is_closed() {
                    return Err(lost(Protocol::Disconnect));
                }
                Ok(result.ok())
            }
        }
    }
}

/// Signs for a key that is still encrypted: fails as soon as the server accepts the key and a
/// signature is needed.
struct LockedKeySigner;

enum LockedKeyError {
    SignatureNeeded,
    ConnectionLost,
}

impl From<russh::SendError> for LockedKeyError {
    fn from(_: russh::SendError) -> Self {
        LockedKeyError::ConnectionLost
    }
}

impl russh::Signer for LockedKeySigner {
    type Error = LockedKeyError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        _: Option<HashAlg>,
        _: Vec<u8>,
    ) -> Result<Vec<u8>, LockedKeyError> {
        Err(LockedKeyError::SignatureNeeded)
    }
}
