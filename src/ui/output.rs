//! What commands on hosts write, in the form that the user wants.

use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;

use crate::core::event::Stream;

/// How the output of several hosts is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputStyle {
    /// As it comes, each line with its host.
    #[default]
    Prefix,
    /// That of each host in one piece, when it has ended.
    Group,
    /// That of hosts that wrote the same once, at the end.
    Fold,
    /// As it comes, byte by byte.
    Raw,
    /// Everything that happens, one JSON object a line.
    Json,
}

/// How many bytes of a host's output wait in memory; more wait in a file.
const MEMORY: usize = 256 * 1024;

/// Output that is shown later.
#[derive(Default)]
pub(super) struct Held(Mutex<BTreeMap<String, Pieces>>);

/// The lines of one host, in their order, and what they amount to.
struct Pieces {
    file: SpooledTempFile,
    digest: Sha256,
}

/// What several hosts wrote alike.
pub(super) struct Piece {
    pub hosts: Vec<String>,
    pub lines: Vec<(Stream, Vec<u8>)>,
}

impl Held {
    /// Keeps a line of a host. Fails if there is no room on the disk.
    pub fn push(&self, host: &str, stream: Stream, line: &[u8]) -> std::io::Result<()> {
        let mut held = self.lock();
        let pieces = held.entry(host.to_owned()).or_insert_with(|| Pieces {
            file: SpooledTempFile::new(MEMORY),
            digest: Sha256::new(),
        });
        let mut frame = vec![stream as u8];
        frame.extend((line.len() as u64).to_be_bytes());
        frame.extend(line);
        pieces.digest.update(&frame);
        pieces.file.write_all(&frame)
    }

    /// Gives back what a host wrote.
    pub fn take(&self, host: &str) -> std::io::Result<Option<Piece>> {
        let pieces = self.lock().remove(host);
        pieces
            .map(|pieces| {
                Ok(Piece {
                    hosts: vec![host.to_owned()],
                    lines: pieces.lines()?,
                })
            })
            .transpose()
    }

    /// Gives back what all hosts wrote: of those that wrote the same, once. What most of them
    /// wrote comes first.
    pub fn fold(&self) -> std::io::Result<Vec<Piece>> {
        let held = std::mem::take(&mut *self.lock());
        let mut alike: BTreeMap<Vec<u8>, (Vec<String>, Pieces)> = BTreeMap::new();
        for (host, pieces) in held {
            let digest = pieces.digest.clone().finalize().to_vec();
            let (hosts, _) = alike.entry(digest).or_insert_with(|| (Vec::new(), pieces));
            hosts.push(host);
        }
        let mut alike: Vec<_> = alike.into_values().collect();
        alike.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        alike
            .into_iter()
            .map(|(hosts, pieces)| {
                Ok(Piece {
                    hosts,
                    lines: pieces.lines()?,
                })
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pieces>> {
        // A thread that died with the lock held has left a sound map behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pieces {
    fn lines(mut self) -> std::io::Result<Vec<(Stream, Vec<u8>)>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut lines = Vec::new();
        let mut head = [0; 9];
        while self.file.read_exact(&mut head).is_ok() {
            let [stream, length @ ..] = head;
            let length = u64::from_be_bytes(length);
            let mut line = Vec::new();
            (&mut self.file).take(length).read_to_end(&mut line)?;
            let stream = if stream == Stream::Stdout as u8 {
                Stream::Stdout
            } else {
                Stream::Stderr
            };
            lines.push((stream, line));
        }
        Ok(lines)
    }
}

/// What stands over a piece.
pub(super) fn heading(hosts: &[String]) -> String {
    match hosts {
        [host] => format!("{host}:"),
        hosts => format!("{} hosts: {}", hosts.len(), hosts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_wrote_the_same_are_one() {
        let held = Held::default();
        for host in ["b", "a", "c"] {
            held.push(host, Stream::Stdout, b"same\n").unwrap();
        }
        held.push("c", Stream::Stderr, b"more").unwrap();
        let folded = held.fold().unwrap();
        let headings: Vec<String> = folded.iter().map(|piece| heading(&piece.hosts)).collect();
        assert_eq!(headings, ["2 hosts: a, b", "c:"]);
        assert_eq!(
            folded[1].lines,
            [
                (Stream::Stdout, b"same\n".to_vec()),
                (Stream::Stderr, b"more".to_vec())
            ]
        );
        assert!(held.fold().unwrap().is_empty());
    }
}
