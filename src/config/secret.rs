//! Secrets: the token of the admin side, in the file or in one of its own. None is ever printed.

use std::fmt;
use std::io::Read;
use std::path::Path;

/// The fewest characters of a token: beyond what anybody can try over a network.
const CHARS_MIN: usize = 16;
/// The most characters of a token, and so the most that is read of its file.
const CHARS_MAX: usize = 512;

/// What a token may be.
pub(super) const ALLOWED: &str =
    "16 to 512 visible ASCII characters without spaces, such as what `openssl rand -hex 32` prints";

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Reads a secret; the error does not repeat it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it has a character that is none of visible ASCII".to_owned());
        }
        match text.len() {
            CHARS_MIN..=CHARS_MAX => Ok(Self(text.to_owned())),
            length => Err(format!("{length} characters are too {}", if length < CHARS_MIN { "few" } else { "many" })),
        }
    }

    /// Reads the secret that is all that a file has in it, but for white space at its ends.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let unreadable = |error| format!("{} cannot be read: {error}", file.display());
        let mut bytes = Vec::new();
        let most = 2 * CHARS_MAX as u64;
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(unreadable)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is no text", file.display()))?;
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
        check("0123456789abcde", Some("15 characters are too few"));
        check("", Some("0 characters are too few"));
        check(&"x".repeat(513), Some("513 characters are too many"));
        check("0123456789 abcdef", Some("none of visible ASCII"));
        check("0123456789abcdef\u{e9}", Some("none of visible ASCII"));
    }

    #[test]
    fn a_file_has_nothing_but_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        assert_eq!(Secret::read(&file).unwrap().expose(), "0123456789abcdef");
        std::fs::write(&file, "short\n").unwrap();
        assert!(Secret::read(&file).unwrap_err().ends_with("token: 5 characters are too few"));
        std::fs::write(&file, "x".repeat(1 << 20)).unwrap();
        assert!(Secret::read(&file).unwrap_err().contains("too many"));
        std::fs::write(&file, b"\xff\xfe").unwrap();
        assert!(Secret::read(&file).unwrap_err().contains("is no text"));
        assert!(Secret::read(&folder.path().join("none")).unwrap_err().contains("cannot be read"));
    }
}
