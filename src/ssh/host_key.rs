//! Verifies the host key or certificate that a server presents.

use russh::keys::{Certificate, HashAlg, PublicKey, ssh_key::certificate::CertType};

use super::{Cause, Error, HostKey, HostKeyStatus, Target, error::FROM_PROVIDER};

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
        HostKey::Pinned(_) => Err(changed(FROM_PROVIDER.to_owned())),
        HostKey::KnownHosts { hosts, .. } => {
            let (name, port) = target.known_hosts_name();
            let mut new = None;
            let mut status = hosts.check(name, port, key)?;
            if status == HostKeyStatus::New {
                // To accept it would let anyone who can intercept the connection go around the
                // authority, by presenting a plain key.
                if !hosts.authorities(name, port)?.is_empty() {
                    return Err(target.error(Cause::HostKeyUncertified {
                        address: target.known_hosts_field(),
                        fingerprint: fingerprint(),
                    }));
                }
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

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, sync::Arc, time::Duration};

    use super::*;
    use crate::ssh::{KnownHosts, Route, known_hosts::KnownHostsOptions};

    const A: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDVZ1zhcXgPXvWVZvKQPj8GgEH7NKkfLPbIEJzVBM2E";
    const B: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGS3ZmKGR4LRIQSj6qvpA4CWuTnBjzhxPdVxDyEr1W5V";

    /// The server web.corp, with this known_hosts file.
    fn target(file: PathBuf) -> Target {
        let hosts = KnownHosts::new(KnownHostsOptions {
            files: vec![file.clone()],
            record_in: Some(file),
            ..KnownHostsOptions::default()
        });
        Target {
            name: "web".to_owned(),
            alias: "web".to_owned(),
            address: "web.corp".to_owned(),
            port: 22,
            user: "root".to_owned(),
            identities: Vec::new(),
            certificates: Vec::new(),
            agent: None,
            identities_only: false,
            host_key: HostKey::KnownHosts {
                hosts: Arc::new(hosts),
                alias: None,
            },
            route: Route::Direct,
            connect_timeout: Duration::from_secs(1),
            keepalive: Duration::from_secs(1),
            forward_agent: false,
            unconfigured: false,
        }
    }

    #[tokio::test]
    async fn a_certificate_authority_cannot_be_bypassed_with_a_plain_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let key = PublicKey::from_openssh(A).unwrap();
        let try_with = async |lines: &str| {
            fs::write(&file, lines).unwrap();
            let tried = verify(&target(file.clone()), &key).await;
            let is_recorded = fs::read_to_string(&file).unwrap() != lines;
            tried
                .map(|new| (new.is_some(), is_recorded))
                .map_err(|error| matches!(error.cause, Cause::HostKeyUncertified { .. }))
        };
        assert_eq!(
            try_with(&format!("@cert-authority *.corp {B}\n")).await,
            Err(true)
        );
        // The authority's own key vouches for certificates only.
        assert_eq!(
            try_with(&format!("@cert-authority *.corp {A}\n")).await,
            Err(true)
        );
        // A recorded key, and a host of which the authority is none.
        let recorded = format!("@cert-authority * {B}\nweb.corp {A}\n");
        assert_eq!(try_with(&recorded).await, Ok((false, false)));
        assert_eq!(
            try_with(&format!("@cert-authority *.example {B}\n")).await,
            Ok((true, true))
        );
    }
}
