//! HTTP dates: parsed leniently in all three forms of RFC 9110 §5.6.7, printed as IMF-fixdate.
//!
//! The calendar is [`jiff::civil`]'s. Its civil types are used in place of its timestamps, since
//! those end a day before the last date that HTTP can write.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::clock::Timestamp;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// The start of Unix time on the calendar.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// The last second that an HTTP date can write, whose year has four digits: the end of 9999.
const SECS_MAX: u64 = 253_402_300_799;

/// Parses a date: names in any case, whatever the weekday says. `None` if it is no date.
///
/// One digit for the day is enough in each form. Everything else follows the RFC's grammar: a zone
/// other than GMT, a missing comma, repeated spaces or another separator make it no date. An
/// Expires that is no date lies in the past (RFC 9111 §5.3), so a mistake errs to the safe side.
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    fix_date(value).or_else(|| any_date(value))
}

/// Prints a time as an HTTP date. Times before 1970 become 1970, times after 9999 the end of 9999.
pub fn header_value(at: Timestamp) -> HeaderValue {
    let secs = u64::try_from(at.as_secs()).unwrap_or(0).min(SECS_MAX);
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
    HeaderValue::try_from(text).expect("an HTTP date is printable ASCII")
}

/// Returns the calendar date and time of `at` in UTC; the nearest one that the calendar has for
/// times beyond the years -9999 to 9999.
pub fn civil(at: Timestamp) -> DateTime {
    EPOCH.saturating_add(SignedDuration::from_millis(at.as_millis()))
}

/// Parses IMF-fixdate as servers print it, every part in its place: nearly all dates are of this
/// kind, and most messages have one. `None` says nothing about other forms.
fn fix_date(value: &[u8]) -> Option<Timestamp> {
    let digits = |at: usize| {
        let (tens, ones) = (value[at].wrapping_sub(b'0'), value[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| tens * 10 + ones)
    };
    let is_in_place = value.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len()
        && value[..3].iter().all(u8::is_ascii_alphabetic)
        && (&value[3..5], value[7], value[11], value[16]) == (b", ", b' ', b' ', b' ')
        && (value[19], value[22], &value[25..]) == (b':', b':', b" GMT");
    if !is_in_place {
        return None;
    }
    let name = [value[8], value[9], value[10]].map(|byte| byte.to_ascii_lowercase());
    let month = MONTHS.iter().position(|month| month.as_bytes() == name)?;
    let year = u16::from(digits(12)?) * 100 + u16::from(digits(14)?);
    timestamp((year, month, digits(5)?), (digits(17)?, digits(20)?, digits(23)?))
}

fn any_date(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let mut parts = [""; 6];
    let mut count = 0;
    for part in text.split(' ') {
        *parts.get_mut(count)? = part;
        count += 1;
    }
    let is_name = |name: &str| name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_gmt = |zone: &str| zone.eq_ignore_ascii_case("gmt");
    match parts[..count] {
        // IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
        [weekday, day, month, year, time, zone] if is_name(weekday.strip_suffix(',').unwrap_or("")) => {
            is_gmt(zone).then_some(from_text(number(year, 4, 4)?, month, day, time)?)
        }
        // RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
        [weekday, date, time, zone] if is_name(weekday.strip_suffix(',').unwrap_or("")) => {
            let (day, rest) = date.split_once('-')?;
            let (month, year) = rest.split_once('-')?;
            // The RFC reads a date that seems more than 50 years ahead as one in the past, which
            // needs a clock. A fixed turn at 70, where Unix time begins, reads every date of an
            // origin's lifetime the same, and errs to the past.
            let year = number(year, 2, 2)?;
            let year = if year < 70 { 2000 + year } else { 1900 + year };
            is_gmt(zone).then_some(from_text(year, month, day, time)?)
        }
        // asctime: Sun Nov  6 08:49:37 1994
        [weekday, month, "", day, time, year] | [weekday, month, day, time, year] if is_name(weekday) => {
            from_text(number(year, 4, 4)?, month, day, time)
        }
        _ => None,
    }
}

/// Parses digits only, from `least` to `most` of them.
fn number(text: &str, least: usize, most: usize) -> Option<u16> {
    let is_number = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn from_text(year: u16, month: &str, day: &str, time: &str) -> Option<Timestamp> {
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name))?;
    let two_digits = |text: &str, least| u8::try_from(number(text, least, 2)?).ok();
    let mut clock = time.split(':').map(|part| two_digits(part, 2));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if clock.next().is_some() {
        return None;
    }
    timestamp((year, month, two_digits(day, 1)?), (hour, minute, second))
}

/// Returns the time of a year, a month counted from 0, a day, an hour, a minute and a second;
/// `None` if the calendar has no such time.
fn timestamp((year, month, day): (u16, usize, u8), (hour, minute, second): (u8, u8, u8)) -> Option<Timestamp> {
    let small = |number: u8| i8::try_from(number).ok();
    // The grammar allows a leap second, which the calendar does not have: it is the second behind
    // :59.
    let is_leap_second = second == 60;
    let second = if is_leap_second { 59 } else { second };
    let (year, month) = (i16::try_from(year).ok()?, i8::try_from(month + 1).ok()?);
    let at = DateTime::new(year, month, small(day)?, small(hour)?, small(minute)?, small(second)?, 0).ok()?;
    Some(Timestamp::from_secs(at.duration_since(EPOCH).as_secs() + i64::from(is_leap_second)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, secs: impl Into<Option<i64>>) {
        assert_eq!(parse(text.as_bytes()).map(Timestamp::as_secs), secs.into(), "{text:?}");
    }

    #[test]
    fn s5_6_7_three_forms_of_one_moment() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 6 08:49:37 1994",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sunday, 6-Nov-94 08:49:37 GMT",
            " Sun, 06 Nov 1994 08:49:37 GMT\t",
        ] {
            check(text, 784_111_777);
        }
    }

    #[test]
    fn s5_6_7_names_in_any_case_and_any_weekday() {
        for text in ["THU, 18 Aug 2050 02:01:18 GMT", "Thu, 18 AUG 2050 02:01:18 GMT", "Mon, 18 aug 2050 02:01:18 gMT"]
        {
            check(text, 2_544_400_878);
        }
        check("Thursday, 18-Aug-50 02:01:18 GMT", 2_544_400_878);
        check("Thu Aug 18 02:01:18 2050", 2_544_400_878);
    }

    #[test]
    fn s5_6_7_what_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "784111777",
            "foo",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 2050 02:01:18 +0000",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 02:01 GMT",
            "Thu, 18 Aug 2050 02:01:18:00 GMT",
            "Thu, 018 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT GMT",
            "Thu, 18 August 2050 02:01:18 GMT",
            "Thu, +8 Aug 2050 02:01:18 GMT",
            "18 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT\u{e9}",
        ] {
            check(text, None);
        }
        assert_eq!(parse(b"Thu, 18 Aug 2050 02:01:18 GMT\xff"), None);
    }

    #[test]
    fn s5_6_7_ends_of_days_months_and_years() {
        check("Thu, 01 Jan 1970 00:00:00 GMT", 0);
        check("Wed, 31 Dec 1969 23:59:59 GMT", -1);
        check("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400);
        check("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800);
        check("Mon, 29 Feb 2100 00:00:00 GMT", None);
        check("Wed, 29 Feb 2023 00:00:00 GMT", None);
        check("Sat, 31 Apr 2022 00:00:00 GMT", None);
        check("Sat, 00 Apr 2022 00:00:00 GMT", None);
        check("Sat, 30 Apr 2022 24:00:00 GMT", None);
        check("Sat, 30 Apr 2022 23:60:00 GMT", None);
        check("Sat, 30 Apr 2022 23:59:61 GMT", None);
        check("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800);
        check("Tue, 19 Jan 2038 14:14:08 GMT", 2_147_523_248);
        check("Sun, 21 Nov 2286 04:46:39 GMT", 10_000_039_599);
        check("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799);
    }

    #[test]
    fn s5_6_7_two_digit_years_turn_at_seventy() {
        check("Thursday, 01-Jan-70 00:00:00 GMT", 0);
        check("Tuesday, 31-Dec-69 23:59:59 GMT", 3_155_759_999);
    }

    #[test]
    fn s5_6_7_printing_is_clamped_to_the_years_that_can_be_written() {
        for (secs, expected) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (-1, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (i64::MIN, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (253_402_300_800, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(header_value(Timestamp::from_secs(secs)), expected, "{secs}");
        }
    }

    #[test]
    fn the_calendar_is_clamped_to_its_years() {
        assert_eq!(civil(Timestamp::from_millis(-1)).to_string(), "1969-12-31T23:59:59.999");
        assert_eq!(civil(Timestamp::from_millis(i64::MAX)), DateTime::MAX);
        assert_eq!(civil(Timestamp::from_millis(i64::MIN)), DateTime::MIN);
    }

    proptest! {
        #[test]
        fn s5_6_7_printed_dates_are_parsed_back(secs in 0_i64..253_402_300_800) {
            let at = Timestamp::from_secs(secs);
            prop_assert_eq!(parse(header_value(at).as_bytes()), Some(at));
        }

        #[test]
        fn s5_6_7_the_short_path_agrees_with_the_long_one(text in "[A-Za-z]{3}, [0-9 ]{2} (Jan|feb|MAR|Dec|Foo) [0-9]{4} [0-9]{2}:[0-6][0-9]:[0-6][0-9] GM[Tt]") {
            let short = fix_date(text.as_bytes());
            prop_assert!(short.is_none() || short == any_date(text.as_bytes()));
        }

        #[test]
        fn s5_6_7_any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            parse(&bytes);
        }
    }
}
