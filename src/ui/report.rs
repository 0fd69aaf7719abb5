//! Renders errors. All errors are rendered here.

use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::core::{
    diagnostic::Diagnostic,
    text::{escape_controls_in_lines, replace_controls},
};

/// How many characters of a message are shown.
const LONGEST: usize = 4000;

/// Renders an error: the message, excerpts of the user's files with a caret, notes and help.
///
/// Control characters are escaped: the texts quote servers, clouds and files. Line ends are kept,
/// because the renderer indents the lines that follow.
pub fn render(diagnostic: &Diagnostic, color: bool) -> String {
    let message = escape_controls_in_lines(&diagnostic.message);
    let message = shortened(&message);
    let notes: Vec<_> = diagnostic
        .notes
        .iter()
        .map(|note| escape_controls_in_lines(note))
        .collect();
    let help = diagnostic.help.as_deref().map(escape_controls_in_lines);
    let title = Level::ERROR.primary_title(&*message);
    let mut group = Group::with_title(title);
    let texts: Vec<_> = diagnostic
        .excerpts
        .iter()
        .map(|excerpt| replace_controls(&excerpt.source.text))
        .collect();
    for (excerpt, text) in diagnostic.excerpts.iter().zip(&texts) {
        let end = excerpt.source.text.len();
        let span = excerpt.span.start.min(end)..excerpt.span.end.min(end);
        let mut annotation = AnnotationKind::Primary.span(span);
        if !excerpt.label.is_empty() {
            annotation = annotation.label(&excerpt.label);
        }
        let snippet = Snippet::source(&**text)
            .path(&excerpt.source.name)
            .annotation(annotation);
        group = group.element(snippet);
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    if diagnostic.excerpts.is_empty() {
        // Without an excerpt, notes and help have titles of their own.
        let notes = notes
            .iter()
            .map(|note| Level::NOTE.secondary_title(&**note));
        let help = help.iter().map(|help| Level::HELP.secondary_title(&**help));
        let titles = notes.chain(help).map(Group::with_title);
        let lines: Vec<String> = [group]
            .into_iter()
            .chain(titles)
            .map(|group| renderer.render(&[group]))
            .collect();
        return lines.join("\n");
    }
    for note in &notes {
        group = group.element(Level::NOTE.message(&**note));
    }
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(&**help));
    }
    renderer.render(&[group])
}

/// Cuts a long text, such as one that quotes a value of megabytes.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        None => text.into(),
        Some((end, _)) => format!("{} … ({} bytes)", &text[..end], text.len()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::diagnostic::{Kind, Source};

    /// Found by fuzzing: the renderer replaces C0 only.
    #[test]
    fn an_excerpt_has_no_control_characters() {
        let source = Source::new("it.yml", "a: \u{9b}2Jx\u{202e}\r\n");
        let error = Diagnostic::new(Kind::Usage, "wrong").at(&source, 3..8);
        let shown = render(&error, false);
        assert!(
            shown.contains("a: ¿2Jx\u{fffd}") && shown.contains("^^^^"),
            "{shown}"
        );
        assert!(
            !shown.contains(|c: char| c.is_control() && c != '\n'),
            "{shown:?}"
        );
    }

    #[test]
    fn everything_is_shown() {
        let source = Source::new("hello.yml", "web:\n  imgae: x\n");
        let diagnostic = Diagnostic::new(Kind::Usage, "unknown key `imgae`")
            .at(&source, 7..12)
            .note("a fact\nover two lines")
            .help("did you mean `image`?".to_owned());
        let expected = "\
error: unknown key `imgae`
 --> hello.yml:2:3
  |
2 |   imgae: x
  |   ^^^^^
  |
  = note: a fact
          over two lines
  = help: did you mean `image`?";
        assert_eq!(render(&diagnostic, false), expected);
    }

    #[test]
    fn a_long_message_is_cut() {
        let error = Diagnostic::new(
            Kind::Usage,
            format!("invalid size `{}`", "é".repeat(100_000)),
        );
        let shown = render(&error, false);
        assert!(shown.ends_with("é … (200015 bytes)"), "{}", shown.len());
    }

    #[test]
    fn without_an_excerpt() {
        let diagnostic = Diagnostic::new(Kind::Failed, "host `web`: lost")
            .note("last lines:\na\nb")
            .help("look".to_owned());
        assert_eq!(
            render(&diagnostic, false),
            "error: host `web`: lost\nnote: last lines:\n      a\n      b\nhelp: look"
        );
    }

    #[test]
    fn a_note_cannot_forge_an_error() {
        let diagnostic = Diagnostic::new(Kind::Failed, "web: \u{1b}[2Jlost")
            .note("a\r\nerror: forged\u{1b}[31m")
            .help("b\r".to_owned());
        assert_eq!(
            render(&diagnostic, false),
            "error: web: \\x1b[2Jlost\nnote: a\\r\n      error: forged\\x1b[31m\nhelp: b\\r"
        );
    }

    #[test]
    fn a_span_past_the_end_is_the_end() {
        let source = Source::new("x", "a\n");
        let diagnostic = Diagnostic::new(Kind::Usage, "m").at(&source, 50..60);
        assert!(render(&diagnostic, false).starts_with("error: m\n"));
    }
}
