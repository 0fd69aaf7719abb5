//! The host key of a local server, read through the engine, which cannot be impersonated.

use std::{io::Read, time::Duration};

use bollard::{
    errors::Error as BollardError, query_parameters::DownloadFromContainerOptionsBuilder,
};
use futures_util::TryStreamExt;
use tokio::time::{Instant, sleep};

use super::{failed, refusal};
use crate::{
    docker::Engine,
    provider::{Error, Node},
    ssh::PublicKey,
};

const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

/// How long a server may take to make its host key, at its first boot.
const BOOT_TIMEOUT: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(30);

/// A server's host key. Waits for a server that has not made it yet.
pub(super) async fn host_key(engine: &Engine, node: &Node) -> Result<PublicKey, Error> {
    let what = format!("reading the host key of `{}`", node.name);
    let end = Instant::now() + BOOT_TIMEOUT;
    loop {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(HOST_KEY)
            .build();
        let archive: Result<Vec<_>, _> = engine
            .api()
            .download_from_container(&node.id, Some(options))
            .try_collect()
            .await;
        match archive {
            Ok(chunks) => {
                if let Some(key) = read_key(&chunks.concat()) {
                    return Ok(key);
                }
            }
            Err(BollardError::DockerResponseServerError {
                status_code: 404, ..
            }) => {}
            Err(error) => return Err(refusal(&what, &error)),
        }
        if Instant::now() >= end {
            return Err(failed(&what, "it has none; is it running?"));
        }
        sleep(RETRY).await;
    }
}

/// The key in an archive of one file; none if the file is not whole yet.
fn read_key(archive: &[u8]) -> Option<PublicKey> {
    let mut archive = tar::Archive::new(archive);
    let mut text = String::new();
    let mut file = archive.entries().ok()?.next()?.ok()?;
    file.read_to_string(&mut text).ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}
