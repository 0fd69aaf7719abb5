//! Finds the forms of secrets in a text: all at once, and also where a line cut them off.

use std::{collections::HashMap, ops::Range};

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::encoding::Form;

/// The shortest masked part of a form that was cut off.
const MIN_PART: usize = 12;
/// How many bytes at its beginning and end a form is searched by, if it can be cut off.
const EDGE: usize = 8;
/// The distance of the places in a long form by which a whole line in it is found.
const STEP: usize = 16;
/// The most patterns of the fastest automaton, which is large.
const MAX_FAST: usize = 4000;

/// What the occurrence of a pattern means.
#[derive(Clone, Copy)]
enum Pattern {
    /// It is a form.
    Whole,
    /// The form with this index may begin here.
    Begin(usize),
    /// The form with this index may end here.
    End(usize),
}

/// Finds forms in texts.
pub(super) struct Finder {
    /// None if there are more forms than it can have: then everything is masked.
    automaton: Option<AhoCorasick>,
    patterns: Vec<Pattern>,
    forms: Vec<Form>,
    /// Places in long forms, by the bytes that follow.
    inner: HashMap<[u8; STEP], (usize, usize)>,
    /// The length of the longest form.
    pub longest: usize,
}

impl Finder {
    pub fn new(forms: Vec<Form>) -> Self {
        let (mut patterns, mut texts) = (Vec::new(), Vec::new());
        let mut inner = HashMap::new();
        for (index, form) in forms.iter().enumerate() {
            let bytes = form.bytes.as_slice();
            if bytes.len() < 2 * EDGE {
                patterns.push(Pattern::Whole);
                texts.push(bytes);
                continue;
            }
            patterns.extend([Pattern::Begin(index), Pattern::End(index)]);
            texts.extend([&bytes[..EDGE], &bytes[bytes.len() - EDGE..]]);
            if form.is_dense && bytes.len() > 2 * STEP {
                let (chunks, _) = bytes.as_chunks::<STEP>();
                for (at, chunk) in chunks.iter().enumerate() {
                    inner.entry(*chunk).or_insert((index, at * STEP));
                }
            }
        }
        let kind = (texts.len() <= MAX_FAST).then_some(AhoCorasickKind::DFA);
        let automaton = AhoCorasick::builder().kind(kind).build(texts).ok();
        Finder {
            automaton,
            patterns,
            longest: forms.iter().map(|form| form.bytes.len()).max().unwrap_or(0),
            inner,
            forms,
        }
    }

    pub fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let Some(automaton) = &self.automaton else {
            return std::iter::once(0..text.len()).collect();
        };
        let mut found: Vec<Range<usize>> = Vec::new();
        // Repetitive texts have many places where a repetitive form may begin. After this many
        // compared bytes, the rest of such a text is masked.
        let mut budget = 64 * text.len() + 4096;
        for hit in automaton.find_overlapping_iter(text) {
            let range = match self.patterns[hit.pattern()] {
                Pattern::Whole => Some(hit.range()),
                Pattern::Begin(index) => self.begin(index, text, hit.start(), &mut budget),
                Pattern::End(index) => self.end(index, text, hit.end(), &mut budget),
            };
            found.extend(range);
            if budget == 0 {
                found.push(hit.start()..text.len());
                break;
            }
        }
        if !self.inner.is_empty() {
            self.whole_lines(text, &mut found);
        }
        merge(found)
    }

    /// A form that begins at `start`: all of it, or as much as its line has.
    fn begin(
        &self,
        index: usize,
        text: &[u8],
        start: usize,
        budget: &mut usize,
    ) -> Option<Range<usize>> {
        let Form { bytes, is_dense } = &self.forms[index];
        let rest = &text[start..];
        let same = rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        *budget = budget.saturating_sub(same);
        let is_cut = || same >= least(*is_dense) && is_end(&rest[same..]);
        (same == bytes.len() || is_cut()).then_some(start..start + same)
    }

    /// A form that ends at `end`: as much as its line has.
    fn end(
        &self,
        index: usize,
        text: &[u8],
        end: usize,
        budget: &mut usize,
    ) -> Option<Range<usize>> {
        let Form { bytes, is_dense } = &self.forms[index];
        let before = text[..end].iter().rev();
        let same = before
            .zip(bytes.iter().rev())
            .take_while(|(a, b)| a == b)
            .count();
        *budget = budget.saturating_sub(same);
        let start = end - same;
        let is_cut = same >= least(*is_dense) && is_start(&text[..start], *is_dense);
        is_cut.then_some(start..end)
    }

    /// Lines that are parts of long forms.
    fn whole_lines(&self, text: &[u8], found: &mut Vec<Range<usize>>) {
        let mut start = 0;
        for line in text.split(|byte| *byte == b'\n') {
            let trimmed = line.trim_ascii();
            let from = start + (line.len() - line.trim_ascii_start().len());
            start += line.len() + 1;
            if trimmed.len() < 2 * STEP {
                continue;
            }
            let is_within = |shift: usize| {
                let window = trimmed.get(shift..)?.first_chunk::<STEP>()?;
                let (index, at) = self.inner.get(window)?;
                let part = self.forms[*index].bytes.get(at.checked_sub(shift)?..)?;
                part.starts_with(trimmed).then_some(())
            };
            if (0..STEP).any(|shift| is_within(shift).is_some()) {
                found.push(from..from + trimmed.len());
            }
        }
    }
}

/// The shortest part of a form that is masked.
fn least(is_dense: bool) -> usize {
    if is_dense { EDGE } else { MIN_PART }
}

/// Whether a text was cut off before this.
fn is_end(after: &[u8]) -> bool {
    after.is_empty()
        || [&b"\n"[..], b"\r", "…".as_bytes(), b"..."]
            .iter()
            .any(|end| after.starts_with(end))
}

/// Whether a text continues after this.
fn is_start(before: &[u8], is_dense: bool) -> bool {
    // Indented lines.
    let before = if is_dense { trimmed(before) } else { before };
    before.is_empty() || before.ends_with(b"\n") || before.ends_with("…".as_bytes())
}

/// A text without the spaces at its end.
fn trimmed(text: &[u8]) -> &[u8] {
    let spaces = text.iter().rev().take_while(|byte| b" \t".contains(byte));
    &text[..text.len() - spaces.count()]
}

/// Sorts ranges, and joins those that overlap.
fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
