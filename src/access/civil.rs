//! Calendar dates in the two forms that log lines use, UTC always.

use std::fmt;

use jiff::civil::DateTime;

use crate::clock::Timestamp;
use crate::syntax::date;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Prints the form of NCSA logs, to the second: `10/Oct/2000:13:55:36 +0000`.
pub(super) fn ncsa(at: Timestamp) -> impl fmt::Display {
    let at = date::civil(at);
    fmt::from_fn(move |f| {
        let month = MONTHS[usize::from(at.month().unsigned_abs()) - 1];
        let (year, day, hour, minute, second) = (at.year(), at.day(), at.hour(), at.minute(), at.second());
        write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    })
}

/// Prints the form of RFC 3339, to the millisecond: `2000-10-10T13:55:36.000Z`.
pub(super) fn rfc3339(at: Timestamp) -> impl fmt::Display {
    let at: DateTime = date::civil(at);
    fmt::from_fn(move |f| write!(f, "{at:.3}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let check = |millis: i64, expected: [&str; 2]| {
            let at = Timestamp::from_millis(millis);
            assert_eq!([ncsa(at).to_string(), rfc3339(at).to_string()], expected);
        };
        check(0, ["01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00.000Z"]);
        check(971_186_136_007, ["10/Oct/2000:13:55:36 +0000", "2000-10-10T13:55:36.007Z"]);
        check(951_782_400_000, ["29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00.000Z"]);
        check(1_709_251_199_999, ["29/Feb/2024:23:59:59 +0000", "2024-02-29T23:59:59.999Z"]);
        check(1_709_251_200_000, ["01/Mar/2024:00:00:00 +0000", "2024-03-01T00:00:00.000Z"]);
        check(4_107_542_400_000, ["01/Mar/2100:00:00:00 +0000", "2100-03-01T00:00:00.000Z"]);
        check(-1, ["31/Dec/1969:23:59:59 +0000", "1969-12-31T23:59:59.999Z"]);
    }

    #[test]
    fn every_third_day_of_six_centuries_agrees_with_the_http_date() {
        for day in (0..600 * 366).step_by(3) {
            let at = Timestamp::from_secs(day * 86_400 + 3_723);
            let logged = ncsa(at).to_string();
            let date = &logged[..11].replace('/', " ");
            let expected = format!("{date} 01:02:03 GMT");
            assert!(date::header_value(at).to_str().unwrap().ends_with(&expected), "{expected}");
        }
    }
}
