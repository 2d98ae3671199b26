//! Calendar dates in the two forms that log lines use, from milliseconds since the Unix epoch, UTC always.

use std::fmt;

use crate::clock::Timestamp;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days of the 400 years after which the Gregorian calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// Days from 1 March 0000 to 1 January 1970.
const EPOCH_DAYS: i64 = 719_468;

/// A point in time as a calendar writes it (UTC, proleptic Gregorian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    year: i64,
    /// 1 to 12.
    month: u8,
    /// 1 to 31.
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    millis: u16,
}

impl Civil {
    /// Makes the calendar form of `at`.
    pub(super) fn from_timestamp(at: Timestamp) -> Self {
        let second_of_day = at.as_secs().rem_euclid(86_400);
        let (year, month, day) = date(at.as_secs().div_euclid(86_400));
        Self {
            year,
            month,
            day,
            hour: (second_of_day / 3600) as u8,
            minute: (second_of_day / 60 % 60) as u8,
            second: (second_of_day % 60) as u8,
            millis: at.as_millis().rem_euclid(1000) as u16,
        }
    }

    /// Prints the form of NCSA logs, to the second: `10/Oct/2000:13:55:36 +0000`.
    pub(super) fn ncsa(self) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            let month = MONTHS[usize::from(self.month) - 1];
            let Self { year, day, hour, minute, second, .. } = self;
            write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
        })
    }

    /// Prints the form of RFC 3339, to the millisecond: `2000-10-10T13:55:36.000Z`.
    pub(super) fn rfc3339(self) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            let Self { year, month, day, hour, minute, second, millis } = self;
            write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
        })
    }
}

/// Returns year, month and day of a day counted from 1 January 1970.
///
/// Years are counted from 1 March, so that the leap day is a year's last day and the months before it have a fixed
/// pattern of lengths: five months take 153 days.
fn date(day_of_unix: i64) -> (i64, u8, u8) {
    let days = day_of_unix + EPOCH_DAYS;
    let era = days.div_euclid(ERA_DAYS);
    let day_of_era = days.rem_euclid(ERA_DAYS);
    // A year has 365 days; take away the leap days of 4 years, put back those of 100, take away the one of 400.
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn both_forms() {
        let check = |millis: i64, ncsa: &str, rfc3339: &str| {
            let civil = Civil::from_timestamp(Timestamp::from_millis(millis));
            assert_eq!((civil.ncsa().to_string().as_str(), civil.rfc3339().to_string().as_str()), (ncsa, rfc3339));
        };
        check(0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00.000Z");
        check(971_186_136_007, "10/Oct/2000:13:55:36 +0000", "2000-10-10T13:55:36.007Z");
        check(951_782_400_000, "29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00.000Z");
        check(1_709_251_199_999, "29/Feb/2024:23:59:59 +0000", "2024-02-29T23:59:59.999Z");
        check(1_709_251_200_000, "01/Mar/2024:00:00:00 +0000", "2024-03-01T00:00:00.000Z");
        check(4_107_542_400_000, "01/Mar/2100:00:00:00 +0000", "2100-03-01T00:00:00.000Z");
        check(-1, "31/Dec/1969:23:59:59 +0000", "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_third_day_of_six_centuries_agrees_with_httpdate() {
        for day in (0..600 * 366).step_by(3) {
            let at = UNIX_EPOCH + Duration::from_secs(day * 86_400 + 3_723);
            let civil = Civil::from_timestamp(Timestamp::from_secs((day * 86_400 + 3_723) as i64));
            let month = MONTHS[usize::from(civil.month) - 1];
            let tail = format!("{:02} {month} {:04} 01:02:03 GMT", civil.day, civil.year);
            assert!(httpdate::fmt_http_date(at).ends_with(&tail), "{tail}");
        }
    }
}
