//! Tokens (RFC 9110 §5.6.2): the alphabet of methods, field names, codings and directives.

/// Tells whether `byte` may stand in a token (RFC 9110 §5.6.2).
#[inline]
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[byte as usize]
}

/// Tells whether `text` is a token: one token byte or more, and nothing else.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// The token bytes as a table, since every byte of a list is looked up.
static TOKEN_BYTES: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 256 {
        let is_mark = matches!(
            byte as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        table[byte] = is_mark || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_6_2_a_token_is_one_token_byte_or_more() {
        for text in ["a", "Cache-Control", "!#$%&'*+-.^_`|~09azAZ"] {
            assert!(is_token(text.as_bytes()), "{text}");
        }
        for text in [&b""[..], b"a b", b"a,", b"\"a\"", b"a=b", b"a/b", b"(a)", b"a\x7f", b"\xe9", b"a\0"] {
            assert!(!is_token(text), "{text:?}");
        }
        let delimiters = br#"(),/:;<=>?@[\]{}""#;
        let expected = |byte: &u8| byte.is_ascii_graphic() && !delimiters.contains(byte);
        assert!((0..=u8::MAX).all(|byte| is_token_byte(byte) == expected(&byte)));
    }
}
