//! Units as people write them: byte counts such as `256MiB`.
//!
//! This module only parses and prints. The configuration checks which values a key allows.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, as the configuration and the stats write it: `64KiB`, `1GiB`, or a bare
/// integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ByteCount(pub u64);

impl fmt::Display for ByteCount {
    /// Prints the largest binary unit that divides the count, so that the text parses back to the
    /// same count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim().parse::<bytesize::ByteSize>().map(|size| Self(size.as_u64())).map_err(|_| {
            format!("`{text}` is not a size: write a number with a unit, such as \"64KiB\", \"10MiB\" or \"1GiB\"")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_print_what_they_parse() {
        for text in ["0", "1", "1400", "64KiB", "256MiB", "1GiB", "3TiB", "1536KiB"] {
            assert_eq!(text.parse::<ByteCount>().unwrap().to_string(), text);
        }
        assert_eq!("10kb".parse::<ByteCount>().unwrap(), ByteCount(10_000));
        assert!("ten".parse::<ByteCount>().unwrap_err().contains("64KiB"));
    }
}
