//! What an error looks like. Every error is rendered here, and only here.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::core::diagnostic::Diagnostic;

/// Renders an error: the message, the lines of the user's files with a caret, facts, what to do.
pub fn render(diagnostic: &Diagnostic, color: bool) -> String {
    let title = Level::ERROR.primary_title(&diagnostic.message);
    let mut group = Group::with_title(title);
    for excerpt in &diagnostic.excerpts {
        let end = excerpt.source.text.len();
        let span = excerpt.span.start.min(end)..excerpt.span.end.min(end);
        let mut annotation = AnnotationKind::Primary.span(span);
        if !excerpt.label.is_empty() {
            annotation = annotation.label(&excerpt.label);
        }
        let snippet = Snippet::source(&excerpt.source.text)
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
        // Without lines of a file there is nothing to hang the facts under.
        let notes = diagnostic
            .notes
            .iter()
            .map(|note| Level::NOTE.secondary_title(note));
        let help = diagnostic
            .help
            .iter()
            .map(|help| Level::HELP.secondary_title(help));
        let facts = notes.chain(help).map(Group::with_title);
        let lines: Vec<String> = [group]
            .into_iter()
            .chain(facts)
            .map(|group| renderer.render(&[group]))
            .collect();
        return lines.join("\n");
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    renderer.render(&[group])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::diagnostic::{Kind, Source};

    #[test]
    fn everything_is_shown() {
        let source = Source::new("hello.yml", "web:\n  imgae: x\n");
        let diagnostic = Diagnostic::new(Kind::Usage, "there is no `imgae`")
            .at(&source, 7..12)
            .note("a fact\nover two lines")
            .help("did you mean `image`?".to_owned());
        let expected = "\
error: there is no `imgae`
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
    fn a_span_past_the_end_is_the_end() {
        let source = Source::new("x", "a\n");
        let diagnostic = Diagnostic::new(Kind::Usage, "m").at(&source, 50..60);
        assert!(render(&diagnostic, false).starts_with("error: m\n"));
    }
}
