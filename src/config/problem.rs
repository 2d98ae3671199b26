//! Problems of a configuration and their display: the same for syntax, types, ranges and
//! contradictions.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The bytes of the file that are wrong; `None` if they are not in the file (a flag or a
    /// missing key).
    pub span: Option<Range<usize>>,
    /// The key with its table, such as `memory.capacity`; empty if the syntax error hides it.
    pub key: String,
    /// The fault.
    pub what: String,
    /// The values that are allowed.
    pub allowed: String,
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Clone, Debug)]
pub struct ConfigProblems {
    /// The name of the file, as shown.
    file: String,
    text: String,
    list: Vec<ConfigProblem>,
}

impl ConfigProblems {
    /// Makes a report of `list` for the file called `file`, whose content is `text`.
    pub(super) fn new(file: &str, text: &str, mut list: Vec<ConfigProblem>) -> Self {
        list.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        Self { file: file.to_owned(), text: text.to_owned(), list }
    }

    /// Returns the problems in the order of the file.
    pub fn list(&self) -> &[ConfigProblem] {
        &self.list
    }

    /// Returns the line (from 1) of a problem.
    pub fn line(&self, problem: &ConfigProblem) -> Option<usize> {
        problem.span.as_ref().map(|span| line_of(&self.text, span.start))
    }

    /// Renders all problems; `styled` adds colours for a terminal.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let reports: Vec<_> = self.list.iter().map(|problem| renderer.render(&[self.group(problem)])).collect();
        reports.join("\n\n")
    }

    fn group<'a>(&'a self, problem: &'a ConfigProblem) -> Group<'a> {
        let title = match problem.key.as_str() {
            "" => problem.what.clone(),
            key => format!("`{key}`: {}", problem.what),
        };
        let group = Group::with_title(Level::ERROR.primary_title(title));
        let group = match &problem.span {
            Some(span) => group.element(
                Snippet::source(&self.text)
                    .path(&self.file)
                    .annotation(AnnotationKind::Primary.span(first_line(&self.text, span))),
            ),
            None => group.element(Origin::path(&self.file)),
        };
        group.element(Level::NOTE.with_name("allowed").message(&problem.allowed))
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigProblems {}

/// Returns the line (from 1) of a byte.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Ends a span at the end of its first line, so that a faulty table is shown by its header. Spans
/// are moved to character boundaries, since the parser may have stopped inside a character.
fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let floor = |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let (start, end) = (floor(span.start), floor(span.end));
    let end = text[start..].find('\n').map_or(end, |line| end.min(start + line));
    start..end.max(start)
}

/// Returns the known word that was most likely meant by `word`, if one is near enough.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Suggestions start to be useful when half of the letters are right: `capcity`, `stale_error`.
    const NEAR: f64 = 0.5;
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(nearness, _)| *nearness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let check = |word, expected| {
            let known = ["capacity", "object_bytes_max", "variants_max"];
            assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
        };
        check("capcity", Some("capacity"));
        check("variant_max", Some("variants_max"));
        check("Capacity", Some("capacity"));
        check("colour", None);
    }

    #[test]
    fn spans_end_with_their_line_and_keep_characters_whole() {
        let text = "a = 'ü'\nb = [\n1]\n";
        assert_eq!(first_line(text, &(4..8)), 4..8);
        assert_eq!(first_line(text, &(6..8)), 5..8);
        assert_eq!(first_line(text, &(13..17)), 13..14);
        assert_eq!(first_line(text, &(99..120)), text.len()..text.len());
        assert_eq!([line_of(text, 0), line_of(text, 9), line_of(text, 99)], [1, 2, 4]);
    }
}
