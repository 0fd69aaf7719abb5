//! Which keys are offered to a server, and in which order.

use std::path::PathBuf;

use russh::keys::{Certificate, PublicKey, agent::AgentIdentity};

use crate::ssh::{
    Error, Identity, Target,
    keyring::{Keyring, certificate, certificate_beside, public_of},
};

/// One key, with or without a certificate, and who can sign with it.
pub(super) struct Offer {
    /// What it is called in messages.
    pub label: String,
    pub public: PublicKey,
    pub certificate: Option<Certificate>,
    pub signer: Signer,
}

#[derive(Clone)]
pub(super) enum Signer {
    /// A private key file.
    File(PathBuf),
    /// The agent that listens here.
    Agent(PathBuf),
}

/// What can be offered, and what could not be used and why.
#[derive(Default)]
pub(super) struct Offers {
    pub list: Vec<Offer>,
    pub unusable: Vec<String>,
    certificates: Vec<Certificate>,
    held: Vec<(PathBuf, AgentIdentity)>,
}

impl Offers {
    /// In OpenSSH's order: certificates of the agent, the key of the provider or of `--identity`,
    /// the configured keys that the agent has, its others, the rest of the configured ones.
    pub async fn new(target: &Target, keyring: &Keyring) -> Result<Self, Error> {
        let mut offers = Offers::default();
        offers.ask_agent(target, keyring).await;
        let files = offers.read_files(target, keyring)?;
        if !target.identities_only {
            offers.add_held_certificates();
        }
        let (first, others): (Vec<_>, Vec<_>) =
            files
                .iter()
                .enumerate()
                .partition(|(at, (identity, public))| {
                    *at == 0 && identity.named || offers.holder(public).is_some()
                });
        for (_, (identity, public)) in first {
            let signer = match offers.holder(public) {
                Some(socket) => Signer::Agent(socket),
                None => Signer::File(identity.path.clone()),
            };
            offers.add(identity.path.display().to_string(), public, &signer);
        }
        if !target.identities_only {
            offers.add_held(&files);
        }
        for (_, (identity, public)) in others {
            let signer = Signer::File(identity.path.clone());
            offers.add(identity.path.display().to_string(), public, &signer);
        }
        Ok(offers)
    }

    async fn ask_agent(&mut self, target: &Target, keyring: &Keyring) {
        let Some(socket) = &target.agent else {
            return;
        };
        match keyring.agent(socket).await.as_ref() {
            Ok(identities) => {
                let held = identities.iter().cloned();
                self.held
                    .extend(held.map(|identity| (socket.clone(), identity)));
            }
            Err(cause) => self.unusable.push(cause.clone()),
        }
    }

    /// The public halves of the key files. One that somebody named must be usable.
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
                Err(cause) if identity.named => {
                    return Err(Error::Identity {
                        host: target.name.clone(),
                        path: path.clone(),
                        cause,
                    });
                }
                // As OpenSSH: the public half says which key of the agent's is meant.
                Err(cause) => match public_of(path).filter(|key| self.holder(key).is_some()) {
                    Some(public) => files.push((identity, public)),
                    // One of the names that OpenSSH tries by itself, or that is not there today.
                    None if !path.exists() => {}
                    None => self.unusable.push(format!("{} ({cause})", path.display())),
                },
            }
            self.add_certificate(certificate_beside(path));
        }
        Ok(files)
    }

    fn add_certificate(&mut self, found: Result<Option<Certificate>, String>) {
        match found {
            Ok(certificate) => self.certificates.extend(certificate),
            Err(cause) => self.unusable.push(cause),
        }
    }

    /// The agent that has this key.
    fn holder(&self, key: &PublicKey) -> Option<PathBuf> {
        self.held
            .iter()
            .find_map(|(socket, identity)| match identity {
                AgentIdentity::PublicKey { key: held, .. } if held.key_data() == key.key_data() => {
                    Some(socket.clone())
                }
                _ => None,
            })
    }

    fn add(&mut self, label: String, public: &PublicKey, signer: &Signer) {
        let certificates = self.certificates.iter();
        let own = certificates.filter(|certificate| certificate.public_key() == public.key_data());
        let mut offers: Vec<Offer> = own
            .map(|certificate| Offer {
                label: format!("{label} with its certificate"),
                public: public.clone(),
                certificate: Some(certificate.clone()),
                signer: signer.clone(),
            })
            .collect();
        offers.push(Offer {
            label,
            public: public.clone(),
            certificate: None,
            signer: signer.clone(),
        });
        self.list.extend(offers);
    }

    /// The keys of the agent that are in no file.
    fn add_held(&mut self, files: &[(&Identity, PublicKey)]) {
        for (socket, identity) in self.held.clone() {
            let AgentIdentity::PublicKey { key, comment } = identity else {
                continue;
            };
            let is_known = |(_, known): &(_, PublicKey)| known.key_data() == key.key_data();
            if !files.iter().any(is_known) {
                let label = format!("{comment} of the agent");
                self.add(label, &key, &Signer::Agent(socket));
            }
        }
    }

    fn add_held_certificates(&mut self) {
        for (socket, identity) in &self.held {
            if let AgentIdentity::Certificate {
                certificate,
                comment,
            } = identity
            {
                self.list.push(Offer {
                    label: format!("{comment} of the agent, with its certificate"),
                    public: PublicKey::new(certificate.public_key().clone(), comment.clone()),
                    certificate: Some(certificate.clone()),
                    signer: Signer::Agent(socket.clone()),
                });
            }
        }
    }
}
