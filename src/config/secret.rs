//! Secrets: the admin token, in the configuration or in a file of its own. A secret is never
//! printed.

use std::fmt;
use std::io::Read;
use std::path::Path;

/// The minimum length of a token: beyond what anybody can guess over a network.
const CHARS_MIN: usize = 16;
/// The maximum length of a token, which also limits how much of its file is read.
const CHARS_MAX: usize = 512;

/// A description of a valid token.
pub(super) const ALLOWED: &str =
    "16 to 512 visible ASCII characters without spaces, such as the output of `openssl rand -hex 32`";

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Parses a secret; the error does not repeat it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("only visible ASCII characters without spaces are allowed".to_owned());
        }
        match text.len() {
            CHARS_MIN..=CHARS_MAX => Ok(Self(text.to_owned())),
            length if length < CHARS_MIN => Err(format!("too short ({length} characters; at least {CHARS_MIN})")),
            length => Err(format!("too long ({length} characters; at most {CHARS_MAX})")),
        }
    }

    /// Reads a secret from a file that contains nothing else, except white space at either end.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let unreadable = |error| format!("cannot read {}: {error}", file.display());
        let mut bytes = Vec::new();
        let most = 2 * CHARS_MAX as u64;
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(unreadable)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not a text file", file.display()))?;
        Self::parse(text.trim()).map_err(|what| format!("{}: {what}", file.display()))
    }

    /// Returns the secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_not_repeated() {
        let check = |text: &str, what: Option<&str>| {
            let printed = Secret::parse(text).map(|secret| format!("{secret:?}"));
            assert!(printed.as_ref().unwrap_or_else(|what| what).contains(what.unwrap_or("not shown")), "{printed:?}");
            assert!(text.is_empty() || !format!("{printed:?}").contains(text));
        };
        check("0123456789abcdef", None);
        check("0123456789abcde", Some("too short (15 characters; at least 16)"));
        check("", Some("too short (0 characters; at least 16)"));
        check(&"x".repeat(513), Some("too long (513 characters; at most 512)"));
        check("0123456789 abcdef", Some("only visible ASCII"));
        check("0123456789abcdef\u{e9}", Some("only visible ASCII"));
    }

    #[test]
    fn a_file_has_nothing_but_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        assert_eq!(Secret::read(&file).unwrap().expose(), "0123456789abcdef");
        std::fs::write(&file, "short\n").unwrap();
        assert!(Secret::read(&file).unwrap_err().ends_with("token: too short (5 characters; at least 16)"));
        std::fs::write(&file, "x".repeat(1 << 20)).unwrap();
        assert!(Secret::read(&file).unwrap_err().contains("too long"));
        std::fs::write(&file, b"\xff\xfe").unwrap();
        assert!(Secret::read(&file).unwrap_err().contains("is not a text file"));
        assert!(Secret::read(&folder.path().join("none")).unwrap_err().contains("cannot read"));
    }
}
