//! The keys that are offered to a server, in their order.

use std::path::PathBuf;

use russh::keys::{Certificate, PublicKey, agent::AgentIdentity};

use super::{
    Cause, Error, Identity, Target,
    keyring::{Keyring, adjacent_certificate, certificate, public_key_of},
};

/// A key to authenticate with.
pub(super) struct AuthKey {
    /// The name of the key in messages.
    pub label: String,
    pub public: PublicKey,
    pub certificate: Option<Certificate>,
    pub signer: Signer,
}

/// What signs with a key.
#[derive(Clone)]
pub(super) enum Signer {
    /// A private key file.
    File(PathBuf),
    /// The agent with this socket.
    Agent(PathBuf),
}

/// The keys for a server.
#[derive(Default)]
pub(super) struct AuthKeys {
    /// The keys to offer, in their order.
    pub keys: Vec<AuthKey>,
    /// The keys that cannot be used, with the reason.
    pub unusable: Vec<String>,
    certificates: Vec<Certificate>,
    /// The keys of the agent, with its socket.
    in_agent: Vec<(PathBuf, AgentIdentity)>,
}

impl AuthKeys {
    /// Collects the keys in OpenSSH's order: the agent's certificates, the key of the provider or of
    /// `--identity`, the configured keys that the agent holds, the agent's other keys, the other
    /// configured keys.
    pub async fn collect(target: &Target, keyring: &Keyring) -> Result<Self, Error> {
        let mut all = AuthKeys::default();
        all.query_agent(target, keyring).await;
        let files = all.read_files(target, keyring)?;
        if !target.identities_only {
            all.add_agent_certificates();
        }
        let (first, others): (Vec<_>, Vec<_>) =
            files
                .iter()
                .enumerate()
                .partition(|(at, (identity, public))| {
                    *at == 0 && identity.is_required || all.agent_with(public).is_some()
                });
        for (_, (identity, public)) in first {
            let signer = match all.agent_with(public) {
                Some(socket) => Signer::Agent(socket),
                None => Signer::File(identity.path.clone()),
            };
            all.add(identity.path.display().to_string(), public, &signer);
        }
        if !target.identities_only {
            all.add_agent_keys(&files);
        }
        for (_, (identity, public)) in others {
            let signer = Signer::File(identity.path.clone());
            all.add(identity.path.display().to_string(), public, &signer);
        }
        Ok(all)
    }

    async fn query_agent(&mut self, target: &Target, keyring: &Keyring) {
        let Some(socket) = &target.agent else {
            return;
        };
        match keyring.agent(socket).await.as_ref() {
            Ok(identities) => {
                let identities = identities.iter().cloned();
                self.in_agent
                    .extend(identities.map(|identity| (socket.clone(), identity)));
            }
            Err(cause) => self.unusable.push(cause.clone()),
        }
    }

    /// Reads the public keys of the key files. A required key file that cannot be used is an error.
    fn read_files<'a>(
        &mut self,
        target: &'a Target,
        keyring: &Keyring,
    ) -> Result<Vec<(&'a Identity, PublicKey)>, Error> {
        let mut files = Vec::new();
        for path in &target.certificates {
            self.add_certificate(certificate(path));
        }
        for identity in &target.identities {
            let path = &identity.path;
            match keyring.file(path) {
                Ok(file) => files.push((identity, file.public)),
                Err(cause) if identity.is_required => {
                    let path = path.clone();
                    return Err(target.error(Cause::Identity { path, cause }));
                }
                // As OpenSSH: a public key file selects a key of the agent.
                Err(cause) => match public_key_of(path).filter(|k| self.agent_with(k).is_some()) {
                    Some(public) => files.push((identity, public)),
                    // A default key file, or a configured one, that does not exist.
                    None if !path.exists() => {}
                    None => self.unusable.push(format!("{} ({cause})", path.display())),
                },
            }
            self.add_certificate(adjacent_certificate(path));
        }
        Ok(files)
    }

    fn add_certificate(&mut self, found: Result<Option<Certificate>, String>) {
        match found {
            Ok(certificate) => self.certificates.extend(certificate),
            Err(cause) => self.unusable.push(cause),
        }
    }

    /// The socket of the agent that holds this key.
    fn agent_with(&self, key: &PublicKey) -> Option<PathBuf> {
        self.in_agent
            .iter()
            .find_map(|(socket, identity)| match identity {
                AgentIdentity::PublicKey { key: held, .. } if held.key_data() == key.key_data() => {
                    Some(socket.clone())
                }
                _ => None,
            })
    }

    /// Adds a key with each of its certificates, and without.
    fn add(&mut self, label: String, public: &PublicKey, signer: &Signer) {
        let certificates = self.certificates.iter();
        let matching =
            certificates.filter(|certificate| certificate.public_key() == public.key_data());
        let mut keys: Vec<AuthKey> = matching
            .map(|certificate| AuthKey {
                label: format!("{label} with its certificate"),
                public: public.clone(),
                certificate: Some(certificate.clone()),
                signer: signer.clone(),
            })
            .collect();
        keys.push(AuthKey {
            label,
            public: public.clone(),
            certificate: None,
            signer: signer.clone(),
        });
        self.keys.extend(keys);
    }

    /// Adds the agent's keys that are in no key file.
    fn add_agent_keys(&mut self, files: &[(&Identity, PublicKey)]) {
        for (socket, identity) in self.in_agent.clone() {
            let AgentIdentity::PublicKey { key, comment } = identity else {
                continue;
            };
            let is_known = |(_, known): &(_, PublicKey)| known.key_data() == key.key_data();
            if !files.iter().any(is_known) {
                let label = format!("{comment} in the agent");
                self.add(label, &key, &Signer::Agent(socket));
            }
        }
    }

    fn add_agent_certificates(&mut self) {
        for (socket, identity) in &self.in_agent {
            if let AgentIdentity::Certificate {
                certificate,
                comment,
            } = identity
            {
                self.keys.push(AuthKey {
                    label: format!("{comment} in the agent, with its certificate"),
                    public: PublicKey::new(certificate.public_key().clone(), comment.clone()),
                    certificate: Some(certificate.clone()),
                    signer: Signer::Agent(socket.clone()),
                });
            }
        }
    }
}
