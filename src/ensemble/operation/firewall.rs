//! Executes operations on firewalls.

use super::{
    Execution, Operation, Options,
    server::{misplaced, refuse_stronger},
};
use crate::{
    core::diagnostic::Diagnostic,
    ensemble::resource::firewall::{decode, refuse_foreign},
    iptables::Firewall,
};

impl Execution<'_> {
    /// Executes an operation on the firewall of a server. Returns whether anything was changed.
    pub(super) async fn firewall(
        &self,
        server: &str,
        operation: &Operation,
    ) -> Result<bool, Diagnostic> {
        let node = self.current(server)?;
        self.locked(&node, async {
            let changed = match operation {
                Operation::ApplyFirewall { options, keep } => {
                    self.apply_firewall(server, options, keep).await
                }
                Operation::Deferred { options, may, .. } => {
                    refuse_stronger(server, super::Kind::ApplyFirewall, may)?;
                    // A later step closes what is open now.
                    let installed = self.world.firewall(&node).await?;
                    let open = installed.and_then(|found| found.rules.ok());
                    let keep = open.iter().flat_map(Firewall::rules);
                    let keep: Vec<String> = keep
                        .map(|(ports, source)| format!("{ports} {source}"))
                        .collect();
                    self.apply_firewall(server, options, &keep).await
                }
                Operation::ClearFirewall => {
                    let installed = self.world.firewall(&node).await?;
                    let is_ours = installed.is_some_and(|found| found.owner.is(self.owner));
                    if is_ours {
                        self.world.set_firewall(&node, None, self.owner).await?;
                    }
                    Ok(is_ours)
                }
                Operation::KeepCloudFirewall => return self.keep_open(&node).await,
                _ => Err(misplaced(server)),
            }?;
            if changed {
                self.keep_open(&node).await?;
            }
            Ok(changed)
        })
        .await
    }

    /// Loads a firewall, with some rules of the one that the server has.
    async fn apply_firewall(
        &self,
        server: &str,
        options: &Options,
        keep: &[String],
    ) -> Result<bool, Diagnostic> {
        let node = self.current(server)?;
        let value = self.resolve(server, options)?;
        let mut wanted = decode(self.manifest, server, &value)?;
        let kept = Firewall::from_lines(&keep.join("\n"));
        let kept = kept.map_err(|_| misplaced(server))?;
        wanted = wanted.and(&kept);
        let installed = self.world.firewall(&node).await?;
        if let Some(installed) = &installed {
            refuse_foreign(server, installed, self.owner, self.request)?;
            let is_ours = installed.owner.is(self.owner);
            if is_ours && installed.rules.as_ref() == Ok(&wanted) {
                return Ok(false);
            }
        }
        self.world
            .set_firewall(&node, Some(&wanted), self.owner)
            .await?;
        Ok(true)
    }
}
