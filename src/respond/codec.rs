//! Renditions: encoding a body in a content coding, and decoding it again.
//!
//! This is pure CPU work of up to milliseconds. The output has its exact size, since the budget
//! counts it.

use std::cell::RefCell;
use std::io::{Read, Write};

use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use zstd::bulk::{Compressor, Decompressor};

use crate::stored::Coding;

/// The highest zstd level in use: above it the window exceeds the 8 MiB that clients must support
/// (RFC 9659).
const ZSTD_LEVEL_MAX: i32 = 19;

/// Brotli's window in bits. It is fitted to the body; 4 MiB is enough for pages and keeps the
/// encoder's memory small.
const BROTLI_WINDOW: std::ops::RangeInclusive<u32> = 16..=22;

thread_local! {
    /// One context per thread with its level, since making one costs a third of a small body's
    /// compression.
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Encodes `body` into a box of its exact size; `level` is zstd's, and is mapped onto the other
/// codings' scales.
///
/// `None` if the result is not smaller by at least a twentieth: then the client's work is not worth
/// it.
pub fn encode(body: &[u8], coding: Coding, level: i32) -> Option<Box<[u8]>> {
    let bytes_max = body.len() - body.len().div_ceil(20);
    let encoded = match coding {
        Coding::Identity => return None,
        Coding::Zstd => encode_zstd(body, bytes_max, level)?,
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 3), gzip_level(level));
            encoder.write_all(body).ok()?;
            encoder.finish().ok()?
        }
        Coding::Brotli => {
            let mut encoded = Vec::with_capacity(body.len() / 3);
            brotli::BrotliCompress(&mut &*body, &mut encoded, &brotli_params(body.len(), level)).ok()?;
            encoded
        }
    };
    // A `Vec` may keep more than its length, and shrinking in place is up to the allocator: copy
    // it.
    (encoded.len() <= bytes_max).then(|| Box::from(&encoded[..]))
}

/// Compresses into a buffer that ends where compression stops being worthwhile.
fn encode_zstd(body: &[u8], bytes_max: usize, level: i32) -> Option<Vec<u8>> {
    let level = level.min(ZSTD_LEVEL_MAX);
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some((at, compressor)) => {
                if *at != level {
                    compressor.set_compression_level(level).ok()?;
                    *at = level;
                }
                compressor
            }
            None => &mut kept.insert((level, Compressor::new(level).ok()?)).1,
        };
        let mut encoded = Vec::with_capacity(bytes_max);
        compressor.compress_to_buffer(body, &mut encoded).ok()?;
        Some(encoded)
    })
}

fn gzip_level(level: i32) -> Compression {
    Compression::new(match level {
        ..=1 => 1,
        2 => 4,
        3..=9 => 6,
        _ => 9,
    })
}

/// Quality 5 is usual for content that is compressed on the fly; above 9 Brotli searches at length,
/// for files that are compressed once.
fn brotli_params(body_bytes: usize, level: i32) -> BrotliEncoderParams {
    let window = usize::BITS - body_bytes.leading_zeros();
    BrotliEncoderParams {
        quality: match level {
            ..=2 => 4,
            3..=9 => 5,
            _ => 9,
        },
        lgwin: window.clamp(*BROTLI_WINDOW.start(), *BROTLI_WINDOW.end()) as i32,
        size_hint: body_bytes,
        ..BrotliEncoderParams::default()
    }
}

/// Decodes the output of [`encode`]; `body_bytes` is the expected length, and a bound.
///
/// `None` if the bytes are damaged or have another length.
pub fn decode(encoded: &[u8], coding: Coding, body_bytes: u64) -> Option<Box<[u8]>> {
    let length = usize::try_from(body_bytes).ok()?;
    let body = match coding {
        Coding::Identity => encoded.to_vec(),
        Coding::Zstd => decode_zstd(encoded, length)?,
        Coding::Gzip => read_bounded(GzDecoder::new(encoded), length)?,
        Coding::Brotli => read_bounded(brotli::Decompressor::new(encoded, 4096), length)?,
    };
    (body.len() == length).then(|| body.into_boxed_slice())
}

fn decode_zstd(encoded: &[u8], length: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new().ok()?),
        };
        let mut body = Vec::new();
        body.try_reserve_exact(length).ok()?;
        decompressor.decompress_to_buffer(encoded, &mut body).ok()?;
        Some(body)
    })
}

/// Reads to the end, where checksums are compared, but at most one byte past `length`.
fn read_bounded(reader: impl Read, length: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    body.try_reserve_exact(length).ok()?;
    reader.take((length as u64).saturating_add(1)).read_to_end(&mut body).ok()?;
    Some(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    fn page(bytes: usize) -> Vec<u8> {
        b"<li><a href=\"/items/"
            .iter()
            .copied()
            .cycle()
            .zip(0_usize..)
            .map(|(b, at)| b ^ (at / 97 % 3) as u8)
            .take(bytes)
            .collect()
    }

    /// Makes bytes that no coding shrinks.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(bytes)
        .collect()
    }

    #[test]
    fn a_page_gets_smaller_and_comes_back() {
        let body = page(40_000);
        for coding in CODINGS {
            for level in [-3, 1, 3, 7, 12, 3] {
                let encoded = encode(&body, coding, level).unwrap();
                assert!(encoded.len() < body.len() / 2, "{coding:?} {level}");
                assert_eq!(decode(&encoded, coding, 40_000).as_deref(), Some(&body[..]), "{coding:?} {level}");
            }
        }
    }

    #[test]
    fn a_body_that_does_not_shrink_is_not_encoded() {
        for coding in CODINGS {
            assert_eq!(encode(&noise(5000), coding, 3), None, "{coding:?}");
            assert_eq!(encode(b"", coding, 3), None, "{coding:?}");
            assert_eq!(encode(b"short", coding, 3), None, "{coding:?}");
        }
        assert_eq!(encode(&page(5000), Coding::Identity, 3), None);
        // A body that fails leaves the thread's context usable.
        assert!(encode(&page(5000), Coding::Zstd, 5).is_some());
    }

    #[test]
    fn the_gain_must_be_a_twentieth() {
        // 4,000 bytes of noise and a tail that shrinks to nearly nothing, around a twentieth of the
        // whole.
        for (tail, want) in [(150, false), (400, true)] {
            let mut body = noise(4000);
            body.extend(vec![b' '; tail]);
            assert_eq!(encode(&body, Coding::Zstd, 3).is_some(), want, "{tail}");
            assert_eq!(encode(&body, Coding::Gzip, 3).is_some(), want, "{tail}");
        }
    }

    #[test]
    fn decoding_is_bounded_by_the_length() {
        let body = vec![b'a'; 100_000];
        for coding in CODINGS {
            let encoded = encode(&body, coding, 3).unwrap();
            assert!(decode(&encoded, coding, 100_000).is_some(), "{coding:?}");
            assert_eq!(decode(&encoded, coding, 99_999), None, "{coding:?}");
            assert_eq!(decode(&encoded, coding, 100_001), None, "{coding:?}");
            assert_eq!(decode(&encoded, coding, 0), None, "{coding:?}");
            assert_eq!(decode(&encoded, coding, u64::MAX), None, "{coding:?}");
        }
        assert_eq!(decode(b"abc", Coding::Identity, 3).as_deref(), Some(&b"abc"[..]));
        assert_eq!(decode(b"abc", Coding::Identity, 2), None);
    }

    #[test]
    fn damaged_bytes_are_not_decoded() {
        let body = page(20_000);
        for coding in CODINGS {
            let encoded = encode(&body, coding, 3).unwrap();
            assert_eq!(decode(&encoded[..encoded.len() - 1], coding, 20_000), None, "{coding:?} cut");
            assert_eq!(decode(&encoded[1..], coding, 20_000), None, "{coding:?} shifted");
            assert_eq!(decode(b"", coding, 20_000), None, "{coding:?} empty");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_body_comes_back_as_it_was(
            seed in prop::collection::vec(any::<u8>(), 1..200), repeats in 1_usize..60, level in -5_i32..12,
        ) {
            let body = seed.repeat(repeats);
            for coding in CODINGS {
                if let Some(encoded) = encode(&body, coding, level) {
                    prop_assert!(encoded.len() < body.len());
                    let decoded = decode(&encoded, coding, body.len() as u64);
                    prop_assert_eq!(decoded.as_deref(), Some(&body[..]));
                }
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for coding in CODINGS {
                if let Some(body) = decode(&bytes, coding, 1000) {
                    prop_assert_eq!(body.len(), 1000);
                }
            }
        }
    }
}
