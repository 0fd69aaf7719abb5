//! Whether a server is the one that it should be.

use russh::keys::{Certificate, HashAlg, PublicKey, ssh_key::certificate::CertType};

use super::{Error, HostKey, HostKeyStatus, Target};

/// A host key that was seen for the first time.
#[derive(Clone, Debug)]
pub struct NewHostKey {
    /// Its SHA-256 fingerprint.
    pub fingerprint: String,
    /// It is on record from now on.
    pub is_recorded: bool,
}

/// Judges the key that a server shows. A key that nobody knew is given back in words.
pub(super) fn judge(target: &Target, key: &PublicKey) -> Result<Option<NewHostKey>, Error> {
    let fingerprint = || key.fingerprint(HashAlg::Sha256).to_string();
    let changed = |record: String| Error::HostKeyChanged {
        host: target.name.clone(),
        address: target.known_as(),
        fingerprint: fingerprint(),
        record,
    };
    match &target.host_key {
        HostKey::Pinned(known) if known.key_data() == key.key_data() => Ok(None),
        HostKey::Pinned(_) => Err(changed("the provider says so".to_owned())),
        HostKey::KnownHosts { hosts, .. } => {
            let (name, port) = target.host_name();
            let mut learned = None;
            let mut verdict = hosts.check(name, port, key)?;
            if verdict == HostKeyStatus::New {
                if hosts.strict {
                    return Err(Error::HostKeyUnknown {
                        host: target.name.clone(),
                        address: target.known_as(),
                        fingerprint: fingerprint(),
                    });
                }
                verdict = hosts.add(name, port, key)?;
                learned = Some(NewHostKey {
                    fingerprint: fingerprint(),
                    is_recorded: hosts.records(),
                });
            }
            match verdict {
                HostKeyStatus::Known | HostKeyStatus::New => Ok(learned),
                HostKeyStatus::Changed { record } => Err(changed(record)),
                HostKeyStatus::Revoked { record } => Err(Error::HostKeyRevoked {
                    host: target.name.clone(),
                    address: target.known_as(),
                    record,
                }),
            }
        }
    }
}

/// A host's certificate counts if an authority on record signed it for this name, and it is
/// in force.
pub(super) fn judge_certificate(target: &Target, certificate: &Certificate) -> Result<(), Error> {
    let fail = |cause: &str| Error::HostCertificate {
        host: target.name.clone(),
        address: target.known_as(),
        cause: cause.to_owned(),
    };
    let HostKey::KnownHosts { hosts, .. } = &target.host_key else {
        return Err(fail("nobody asked for one"));
    };
    let (name, port) = target.host_name();
    let authorities = hosts.authorities(name, port)?;
    let fingerprints: Vec<_> = authorities
        .iter()
        .map(|key| key.fingerprint(HashAlg::Sha256))
        .collect();
    // The authority itself may be revoked, and so may the key.
    for key in [certificate.signature_key(), certificate.public_key()] {
        let key = PublicKey::from(key.clone());
        if let HostKeyStatus::Revoked { record } = hosts.check(name, port, &key)? {
            return Err(Error::HostKeyRevoked {
                host: target.name.clone(),
                address: target.known_as(),
                record,
            });
        }
    }
    if certificate.cert_type() != CertType::Host {
        return Err(fail("it is a user's"));
    }
    if !certificate.critical_options().is_empty() {
        return Err(fail("it has options that are not understood"));
    }
    let is_ours = |principal: &String| principal.eq_ignore_ascii_case(name);
    if !certificate.valid_principals().iter().any(is_ours) {
        return Err(fail(&format!("it is not for `{name}`")));
    }
    certificate
        .validate(&fingerprints)
        .map_err(|error| fail(&error.to_string()))
}
