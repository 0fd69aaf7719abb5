//! A bounded run of the targets of fuzzing: their corpora, and mutations of these.

use std::{fs, process::Command};

use fastrand::Rng;
use hitc::fuzz::TARGETS;

use crate::support::sources;

const MUTATIONS: usize = 300;

/// The texts of a target's archive.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let archive = sources().join(format!("fuzz/corpus/{name}.tar.gz"));
    let folder = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(archive).arg("-C").arg(folder.path());
    assert!(unpack.status().unwrap().success(), "no corpus of {name}");
    let mut texts: Vec<Vec<u8>> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    texts.sort();
    texts
}

/// Removes, repeats, replaces or flips something, or inserts a part of another text.
fn mutate(text: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let range = |length: usize, random: &mut Rng| {
        let start = random.usize(..=length);
        start..random.usize(start..=length.min(start + 16))
    };
    let part = range(text.len(), random);
    match random.u8(..5) {
        0 => drop(text.drain(part)),
        1 => {
            let repeated = text[part.clone()].repeat(random.usize(1..8));
            text.splice(part.end..part.end, repeated);
        }
        2 => text[part].fill(random.u8(..)),
        3 => {
            if let Some(byte) = text.get_mut(part.start) {
                *byte ^= 1 << random.u8(..8);
            }
        }
        _ => {
            let inserted = &other[range(other.len(), random)];
            text.splice(part, inserted.iter().copied());
        }
    }
}

#[test]
fn what_others_wrote_makes_nothing_panic() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name}");
        for text in &corpus {
            target(text);
        }
        let mut random = Rng::with_seed(1);
        for _ in 0..MUTATIONS {
            let mut text = corpus[random.usize(..corpus.len())].clone();
            for _ in 0..random.u8(1..6) {
                let other = &corpus[random.usize(..corpus.len())];
                mutate(&mut text, other, &mut random);
            }
            target(&text);
        }
    }
}
