//! Verifies the host key or certificate that a server presents.

use russh::keys::{Certificate, HashAlg, PublicKey, ssh_key::certificate::CertType};

use super::{Cause, Error, HostKey, HostKeyStatus, Target};

/// A host key that is seen for the first time.
#[derive(Clone, Debug)]
pub struct NewHostKey {
    /// The SHA-256 fingerprint.
    pub fingerprint: String,
    /// It was recorded in a known_hosts file.
    pub is_recorded: bool,
}

/// Verifies the key that a server presents. Records an unknown key, and returns it.
pub(super) async fn verify(target: &Target, key: &PublicKey) -> Result<Option<NewHostKey>, Error> {
    let fingerprint = || key.fingerprint(HashAlg::Sha256).to_string();
    let changed = |record: String| {
        target.error(Cause::HostKeyChanged {
            address: target.known_hosts_field(),
            fingerprint: fingerprint(),
            record,
        })
    };
    match &target.host_key {
        HostKey::Pinned(known) if known.key_data() == key.key_data() => Ok(None),
        HostKey::Pinned(_) => Err(changed("from the provider".to_owned())),
        HostKey::KnownHosts { hosts, .. } => {
            let (name, port) = target.known_hosts_name();
            let mut new = None;
            let mut status = hosts.check(name, port, key)?;
            if status == HostKeyStatus::New {
                if hosts.strict {
                    return Err(target.error(Cause::HostKeyUnknown {
                        address: target.known_hosts_field(),
                        fingerprint: fingerprint(),
                    }));
                }
                status = hosts.add(name, port, key).await?;
                new = Some(NewHostKey {
                    fingerprint: fingerprint(),
                    is_recorded: hosts.records_new_keys(),
                });
            }
            match status {
                HostKeyStatus::Known | HostKeyStatus::New => Ok(new),
                HostKeyStatus::Changed { record } => Err(changed(record)),
                HostKeyStatus::Revoked { record } => Err(target.error(Cause::HostKeyRevoked {
                    address: target.known_hosts_field(),
                    record,
                })),
            }
        }
    }
}

/// Verifies the certificate that a server presents: a recorded certificate authority must have
/// signed it for this host name, and it must be valid now.
pub(super) fn verify_certificate(target: &Target, certificate: &Certificate) -> Result<(), Error> {
    let fail = |cause: &str| {
        target.error(Cause::HostCertificate {
            address: target.known_hosts_field(),
            cause: cause.to_owned(),
        })
    };
    let HostKey::KnownHosts { hosts, .. } = &target.host_key else {
        return Err(fail("no certificate was requested"));
    };
    let (name, port) = target.known_hosts_name();
    let authorities = hosts.authorities(name, port)?;
    let fingerprints: Vec<_> = authorities
        .iter()
        .map(|key| key.fingerprint(HashAlg::Sha256))
        .collect();
    // Both the authority's key and the host's key may be revoked.
    for key in [certificate.signature_key(), certificate.public_key()] {
        let key = PublicKey::from(key.clone());
        if let HostKeyStatus::Revoked { record } = hosts.check(name, port, &key)? {
            return Err(target.error(Cause::HostKeyRevoked {
                address: target.known_hosts_field(),
                record,
            }));
        }
    }
    if certificate.cert_type() != CertType::Host {
        return Err(fail("it is a user certificate"));
    }
    if !certificate.critical_options().is_empty() {
        return Err(fail("it has unsupported critical options"));
    }
    let is_host = |principal: &String| principal.eq_ignore_ascii_case(name);
    if !certificate.valid_principals().iter().any(is_host) {
        return Err(fail(&format!("it is not valid for `{name}`")));
    }
    certificate
        .validate(&fingerprints)
        .map_err(|error| fail(&error.to_string()))
}
