//! Numbers and tables as the commands print them.

use std::fmt::Write as _;

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};

/// Appends a table under its title.
pub(super) fn section(page: &mut String, title: &str, table: Table) {
    let _ = writeln!(page, "\n{title}\n{table}");
}

/// Makes a table whose columns, except the first, are numbers aligned to the right.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Writes a share as a percentage; `-` if there is none.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// Writes a byte count in the binary unit that suits it.
pub(super) fn bytes(count: u64) -> String {
    ByteSize(count).display().iec().to_string()
}

/// Writes a latency in the unit that suits it; `-` if there is none.
pub(super) fn micros(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us @ ..1_000) => format!("{us} µs"),
        Some(us @ 1_000..1_000_000) => format!("{:.1} ms", us as f64 / 1e3),
        Some(us) => format!("{:.1} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_suit_their_numbers() {
        let check = |us: Option<u64>, text: &str| assert_eq!(micros(us), text);
        check(None, "-");
        check(Some(999), "999 µs");
        check(Some(1_000), "1.0 ms");
        check(Some(999_900), "999.9 ms");
        check(Some(1_000_000), "1.0 s");
        assert_eq!((percent(None), percent(Some(0.9999))), ("-".to_owned(), "100.0 %".to_owned()));
    }
}
