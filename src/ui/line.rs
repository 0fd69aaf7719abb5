//! Lines that are typed, with editing, history and completion.

use std::path::{Path, PathBuf};

use rustyline::{
    Context, Editor, Helper, completion::Completer, error::ReadlineError, highlight::Highlighter,
    hint::Hinter, history::FileHistory, validate::Validator,
};

/// Reads lines until there are no more.
pub struct LineReader {
    editor: Editor<Words, FileHistory>,
    history: PathBuf,
}

/// What can be completed.
struct Words(Vec<String>);

impl LineReader {
    /// A reader that completes these words, and remembers lines in a file.
    pub fn new(history: &Path, words: Vec<String>) -> Result<Self, String> {
        let mut editor = Editor::new().map_err(|error| error.to_string())?;
        editor.set_helper(Some(Words(words)));
        // The first time there is none.
        let _ = editor.load_history(history);
        Ok(LineReader {
            editor,
            history: history.to_owned(),
        })
    }

    /// The next line; none at the end. Ctrl-C begins the line anew.
    pub fn read(&mut self, prompt: &str) -> Option<String> {
        loop {
            match self.editor.readline(prompt) {
                Ok(line) => {
                    let added = self.editor.add_history_entry(&line);
                    if added.is_ok_and(|added| added) {
                        // A history that cannot be written is no reason to stop.
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

impl Completer for Words {
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

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}
