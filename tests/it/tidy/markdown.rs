//! As much of Markdown as the check of the documentation needs.

use std::collections::{BTreeMap, BTreeSet};

/// The links, names and anchors of a page of Markdown, each with its line.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The targets of links, images and definitions.
    pub(crate) links: Vec<(usize, String)>,
    /// The labels of `[text][label]` and `[label]`.
    pub(crate) references: Vec<(usize, String)>,
    /// The labels of `[text][label]` alone.
    pub(crate) follows_text: BTreeSet<String>,
    /// The labels of `[label]: target`.
    pub(crate) definitions: BTreeSet<String>,
    /// The spans in code style inside the text; blocks of code are left out.
    pub(crate) code: Vec<(usize, String)>,
    /// The anchors of the headings, as hosts of repositories and rustdoc make them.
    pub(crate) anchors: BTreeSet<String>,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut fence: Option<&str> = None;
        let mut headings: BTreeMap<String, usize> = BTreeMap::new();
        let mut paragraph = String::new();
        let mut first_line = 1;
        // The blank line at the end closes the last paragraph.
        for (at, line) in text.lines().chain([""]).enumerate() {
            let trimmed = line.trim_start();
            let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
            let is_text = fence.is_none() && mark.is_none() && !trimmed.is_empty();
            fence = if fence.is_none() { mark } else { fence.filter(|_| fence != mark) };
            if is_text {
                page.heading(trimmed, &mut headings);
                paragraph.push_str(line);
                paragraph.push('\n');
            } else {
                page.paragraph(&paragraph, first_line);
                paragraph.clear();
                first_line = at + 2;
            }
        }
        page
    }

    fn heading(&mut self, line: &str, headings: &mut BTreeMap<String, usize>) {
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')) else {
            return;
        };
        let kept = |character: &char| character.is_alphanumeric() || [' ', '-', '_'].contains(character);
        let slug: String = title.trim().to_lowercase().chars().filter(kept).collect();
        let slug = slug.replace(' ', "-");
        let before = headings.entry(slug.clone()).or_default();
        self.anchors.insert(if *before == 0 { slug } else { format!("{slug}-{before}") });
        *before += 1;
    }

    /// Reads code spans and links from left to right.
    fn paragraph(&mut self, text: &str, first_line: usize) {
        let line_at = |at: usize| first_line + text[..at].matches('\n').count();
        let mut at = 0;
        while let Some(next) = text[at..].find(['`', '[', ']']) {
            at += next;
            let rest = &text[at..];
            if rest.starts_with('`') {
                let ticks = &rest[..rest.len() - rest.trim_start_matches('`').len()];
                let inside = &rest[ticks.len()..];
                let Some(end) = inside.find(ticks) else {
                    at += ticks.len();
                    continue;
                };
                self.code.push((line_at(at), inside[..end].to_owned()));
                at += end + 2 * ticks.len();
            } else if let Some(target) = rest.strip_prefix("](") {
                let target = target.split([')', ' ', '\n']).next().unwrap_or_default();
                self.links.push((line_at(at), target.trim_matches(['<', '>']).to_owned()));
                at += 2;
            } else if let Some(label) =
                rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(label, _)| label)
            {
                self.label(text, at, label, line_at(at));
                // The text of a link to another site names what is there, not what is here.
                let target = rest[label.len() + 2..].strip_prefix('(').and_then(|target| target.split(')').next());
                at += if target.is_some_and(|target| target.contains("://")) { label.len() + 2 } else { 1 };
            } else {
                at += 1;
            }
        }
    }

    /// `[label]` at `at`: a definition, a reference, or the text of a link, which is left to what
    /// follows.
    fn label(&mut self, text: &str, at: usize, label: &str, line: usize) {
        let behind = &text[at + label.len() + 2..];
        let begins_line = text[..at].ends_with('\n') || at == 0;
        if let Some(target) = behind.strip_prefix(": ").filter(|_| begins_line) {
            self.definitions.insert(label.to_owned());
            self.links.push((line, target.split_whitespace().next().unwrap_or_default().to_owned()));
        } else if text[..at].ends_with(']') {
            self.follows_text.insert(label.to_owned());
            self.references.push((line, label.to_owned()));
        } else if !behind.starts_with(['(', '[']) {
            self.references.push((line, label.to_owned()));
        }
    }
}
