//! Reads typed lines, with editing, history and completion.

use std::path::{Path, PathBuf};

use rustyline::{
    Context, Editor, Helper, completion::Completer, error::ReadlineError, highlight::Highlighter,
    hint::Hinter, history::FileHistory, validate::Validator,
};

/// Reads lines from the terminal or from standard input.
pub struct LineReader {
    editor: Editor<Completions, FileHistory>,
    history: PathBuf,
}

/// The words that Tab completes.
struct Completions(Vec<String>);

impl LineReader {
    /// Creates a reader that completes these words and keeps its history in a file.
    pub fn new(history: &Path, words: Vec<String>) -> Result<Self, String> {
        let mut editor = Editor::new().map_err(|error| error.to_string())?;
        editor.set_helper(Some(Completions(words)));
        // The file does not exist the first time.
        let _ = editor.load_history(history);
        Ok(LineReader {
            editor,
            history: history.to_owned(),
        })
    }

    /// Reads the next line; none at the end of input. Ctrl-C discards the line.
    pub fn read(&mut self, prompt: &str) -> Option<String> {
        loop {
            match self.editor.readline(prompt) {
                Ok(line) => {
                    let added = self.editor.add_history_entry(&line);
                    if added.is_ok_and(|added| added) {
                        // Reading works without a history.
                        let _ = self.editor.save_history(&self.history);
                    }
                    return Some(line);
                }
                Err(ReadlineError::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Completer for Completions {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or_default();
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let start = typed.rfind(|c| !part_of_word(c)).map_or(0, |at| at + 1);
        let word = typed.get(start..).unwrap_or_default();
        let found = self.0.iter().filter(|known| known.starts_with(word));
        Ok((start, found.cloned().collect()))
    }
}

impl Hinter for Completions {
    type Hint = String;
}

impl Highlighter for Completions {}
impl Validator for Completions {}
impl Helper for Completions {}
