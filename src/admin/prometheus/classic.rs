//! The classic text format (version 0.0.4), for clients that do not request OpenMetrics: `promtool
//! check metrics`, and collectors other than Prometheus.
//!
//! The classic format has the same samples. Its comments name a counter with the suffix `_total`,
//! know no units and no info type, and there is no end mark.

/// The content type.
pub(in super::super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rewrites the comments of an OpenMetrics text.
pub(super) fn of(text: &str) -> String {
    let mut classic = String::with_capacity(text.len() + 1_024);
    let mut help = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let help = help.take().map_or("", |(_, help)| help);
            for comment in [["# HELP ", name, suffix, " ", help, "\n"], ["# TYPE ", name, suffix, " ", kind, "\n"]] {
                classic.extend(comment);
            }
        } else if !line.starts_with('#') {
            classic.push_str(line);
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_rewritten_and_samples_stay() {
        let text = "# HELP a_seconds How \"long\".\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                    a_seconds_sum{x=\"# TYPE\"} 1.5\n# HELP b Some.\n# TYPE b counter\nb_total 2\n\
                    # HELP c What.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_seconds How \"long\".\n# TYPE a_seconds histogram\na_seconds_sum{x=\"# TYPE\"} 1.5\n\
                        # HELP b_total Some.\n# TYPE b_total counter\nb_total 2\n\
                        # HELP c_info What.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(of(text), expected);
    }
}
