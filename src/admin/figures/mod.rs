//! The figures: each number of `/stats` and `/metrics` that stands by itself, described once.
//!
//! A row of the table in `admin/figures/table.rs` says where the figure appears, its unit, its
//! meaning, and how to read it. `/stats`, `/metrics` and the reference in [`crate::docs::watching`]
//! are made from the rows. Lists, maps by reason and histograms are no figures: `admin/stats/` and
//! `admin/prometheus/` build them.

mod figure;
mod table;

pub(super) use figure::{Figure, FigureKind, FigureUnit};
pub(super) use table::{FAMILIES, FIGURES};

/// Renders the reference of all figures as a Markdown table, one row per figure.
pub fn figure_reference() -> String {
    let mut page = String::from("| in `/stats` | in `/metrics` | unit | meaning |\n|---|---|---|---|\n");
    let code = |name: Option<String>| name.map_or_else(|| "–".to_owned(), |name| format!("`{name}`"));
    for figure in FIGURES {
        let (path, series) = (code(figure.path.map(str::to_owned)), code(figure.series()));
        let meaning = figure.help.replace('|', "\\|").replace('*', "\\*");
        page.push_str(&format!("| {path} | {series} | {} | {meaning}. |\n", figure.unit.name()));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::readings::tests::busy;
    use super::super::stats::Stats;
    use super::*;

    #[test]
    fn a_figure_has_one_path_and_one_series_and_a_sentence() {
        let mut names = BTreeSet::new();
        for figure in FIGURES {
            let appears: Vec<String> = figure.path.map(str::to_owned).into_iter().chain(figure.series()).collect();
            assert!(!appears.is_empty(), "{}", figure.help);
            for name in appears {
                assert!(names.insert(name.clone()), "{name} is described twice");
            }
            let is_plain = !figure.help.ends_with('.') && figure.help.starts_with(|first: char| !first.is_lowercase());
            assert!(is_plain, "{}", figure.help);
        }
    }

    #[test]
    fn figures_agree_with_stats() {
        let readings = busy();
        let stats = serde_json::to_value(Stats::from(&readings)).unwrap();
        for figure in FIGURES {
            let Some(path) = figure.path else { continue };
            let found = stats.pointer(&format!("/{}", path.replace('.', "/")));
            assert_eq!(found, Some(&(figure.read)(&readings).json()), "{path}");
        }
    }

    #[test]
    fn labels_belong_to_a_family() {
        let labelled: BTreeSet<&str> = FIGURES
            .iter()
            .filter_map(|figure| figure.metric.filter(|metric| !metric.labels.is_empty()))
            .map(|metric| metric.name)
            .collect();
        assert_eq!(labelled, FAMILIES.iter().map(|(name, _)| *name).collect());
    }
}
