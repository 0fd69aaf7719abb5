//! Logging in on a connection whose server is known.

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

use super::{Error, Target, client::Client, keyring::Keyring};
use crate::ssh::auth_keys::{Offer, Offers, Signer};

/// sshd hangs up after six (`MaxAuthTries` in sshd_config(5)).
const OFFERS: usize = 5;

/// How a login ended that did not fail.
pub(super) enum LoggedIn {
    Yes,
    /// The server wants this key, which is still encrypted.
    Locked(PathBuf),
}

/// Offers our keys, one after the other.
pub(super) async fn log_in(
    handle: &mut Handle<Client>,
    target: &Target,
    keyring: &Keyring,
) -> Result<LoggedIn, Error> {
    let Offers {
        list: offers,
        unusable: mut tried,
        ..
    } = Offers::new(target, keyring).await?;
    let count = offers.len();
    let mut wants_more = false;
    for offer in offers.into_iter().take(OFFERS) {
        let answer = offer.make(handle, target, keyring).await?;
        match answer {
            Some(AuthResult::Success) => return Ok(LoggedIn::Yes),
            Some(AuthResult::Failure {
                partial_success, ..
            }) => wants_more |= partial_success,
            None => match offer.signer {
                Signer::File(path) => return Ok(LoggedIn::Locked(path)),
                Signer::Agent(_) => {
                    tried.push(format!("{} (the agent would not sign)", offer.label));
                    continue;
                }
            },
        }
        tried.push(offer.label);
        if handle.is_closed() {
            break;
        }
    }
    if count > OFFERS {
        tried.push(format!(
            "and {} more that were not offered, because servers hang up after too many",
            count - OFFERS
        ));
    }
    Err(Error::Auth {
        host: target.name.clone(),
        user: target.user.clone(),
        address: target.endpoint(),
        tried: if tried.is_empty() {
            "there is none".to_owned()
        } else {
            tried.join(", ")
        },
        wants_more,
    })
}

impl Offer {
    /// Offers the key. None if the one who should sign did not.
    async fn make(
        &self,
        handle: &mut Handle<Client>,
        target: &Target,
        keyring: &Keyring,
    ) -> Result<Option<AuthResult>, Error> {
        let lost = |_| Error::Lost {
            host: target.name.clone(),
            doing: "logging in".to_owned(),
        };
        let user = target.user.as_str();
        let hash = if self.public.algorithm().is_rsa() {
            let best = handle.best_supported_rsa_hash().await.map_err(lost)?;
            // A server that does not say: what every server of this decade understands.
            best.unwrap_or(Some(HashAlg::Sha512))
        } else {
            None
        };
        match &self.signer {
            Signer::File(path) => {
                let file = keyring.file(path).map_err(|cause| Error::Identity {
                    host: target.name.clone(),
                    path: path.clone(),
                    cause,
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
                    // Whether the server wants it at all, before anybody is asked.
                    (None, certificate) => {
                        let result = match certificate {
                            Some(certificate) => {
                                handle
                                    .authenticate_certificate_with(
                                        user,
                                        certificate,
                                        hash,
                                        &mut Locked,
                                    )
                                    .await
                            }
                            None => {
                                let key = self.public.clone();
                                handle
                                    .authenticate_publickey_with(user, key, hash, &mut Locked)
                                    .await
                            }
                        };
                        return match result {
                            Ok(answer) => Ok(Some(answer)),
                            Err(StillLocked::Key) => Ok(None),
                            Err(StillLocked::Lost) => Err(lost(Protocol::Disconnect)),
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
                // What the agent refuses is no fault of the connection's.
                if handle.is_closed() {
                    return Err(lost(Protocol::Disconnect));
                }
                Ok(result.ok())
            }
        }
    }
}

/// In place of whoever signs with a key that is still encrypted.
struct Locked;

enum StillLocked {
    Key,
    Lost,
}

impl From<russh::SendError> for StillLocked {
    fn from(_: russh::SendError) -> Self {
        StillLocked::Lost
    }
}

impl russh::Signer for Locked {
    type Error = StillLocked;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        _: Option<HashAlg>,
        _: Vec<u8>,
    ) -> Result<Vec<u8>, StillLocked> {
        Err(StillLocked::Key)
    }
}
