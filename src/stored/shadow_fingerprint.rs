//! What is kept beside a response in shadow mode, so that what the origin sends later can be held against it: fingerprints
//! of its body, and of the request fields that it came with.
//!
//! Plain values; no field's value is kept. Clients ask in the codings that they know, so a body may come in another coding
//! than the one that is kept: its first sight in each is remembered, and what comes after is compared with that.

use std::sync::atomic::{AtomicU64, Ordering};

use super::body::Coding;

/// The codings that a body is compared in.
const CODINGS: usize = 4;

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyComparison {
    /// The same bytes.
    Same,
    /// Other bytes.
    Different,
    /// Nobody can say: it is the first of its coding.
    Unknown,
}

/// A request field or cookie: the number of its name, and a fingerprint of its value under a secret of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldValue {
    /// The number of its name.
    pub name: u16,
    /// The fingerprint of its value.
    pub value: u32,
}

/// What a response was brought in by.
#[derive(Debug)]
pub struct ShadowFingerprint {
    /// The fingerprint of the body in each coding; zero where none was seen.
    bodies: [AtomicU64; CODINGS],
    /// The fields of the request, by their names.
    fields: Box<[FieldValue]>,
}

impl ShadowFingerprint {
    /// Makes the witness of a response that a request with these fields brought in. No body has been seen yet.
    pub fn new(mut fields: Vec<FieldValue>) -> Self {
        fields.sort_unstable();
        Self { bodies: Default::default(), fields: fields.into_boxed_slice() }
    }

    /// Holds a body against what was seen in this coding before. The first of a coding is remembered.
    pub fn compare(&self, coding: Coding, fingerprint: u64) -> BodyComparison {
        // Zero stands for none; that one fingerprint in 2⁶⁴ is taken for another is no loss.
        let fingerprint = fingerprint.max(1);
        let first = &self.bodies[coding as usize];
        match first.compare_exchange(0, fingerprint, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => BodyComparison::Unknown,
            Err(known) if known == fingerprint => BodyComparison::Same,
            Err(_) => BodyComparison::Different,
        }
    }

    /// Returns the numbers of the names whose values differ between that request and one with `fields`: absent from one of
    /// them counts too.
    pub fn differing(&self, mut fields: Vec<FieldValue>) -> Vec<u16> {
        fields.sort_unstable();
        let only_in = |one: &[FieldValue], other: &[FieldValue]| -> Vec<u16> {
            one.iter().filter(|field| other.binary_search(field).is_err()).map(|field| field.name).collect()
        };
        let mut names = only_in(&self.fields, &fields);
        names.extend(only_in(&fields, &self.fields));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns the bytes that it takes.
    pub fn bytes(&self) -> usize {
        16 + size_of::<Self>() + size_of_val(&*self.fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_coding_is_compared_with_its_own() {
        let fingerprints = ShadowFingerprint::new(Vec::new());
        let check = |coding, fingerprint, expected| assert_eq!(fingerprints.compare(coding, fingerprint), expected);
        check(Coding::Identity, 7, BodyComparison::Unknown);
        check(Coding::Identity, 7, BodyComparison::Same);
        check(Coding::Identity, 8, BodyComparison::Different);
        check(Coding::Gzip, 8, BodyComparison::Unknown);
        check(Coding::Gzip, 8, BodyComparison::Same);
        check(Coding::Zstd, 0, BodyComparison::Unknown);
        check(Coding::Zstd, 0, BodyComparison::Same);
        check(Coding::Zstd, 2, BodyComparison::Different);
    }

    #[test]
    fn what_differs_is_named_once_and_absent_is_not_the_same() {
        let of = |list: &[(u16, u32)]| list.iter().map(|&(name, value)| FieldValue { name, value }).collect::<Vec<_>>();
        let fingerprints = ShadowFingerprint::new(of(&[(3, 30), (1, 10), (2, 20)]));
        for (fields, expected) in [
            (&[(1, 10), (2, 20), (3, 30)][..], &[][..]),
            (&[(3, 30), (2, 21), (1, 10)], &[2]),
            (&[(2, 20), (3, 30), (9, 1)], &[1, 9]),
            (&[], &[1, 2, 3]),
        ] {
            assert_eq!(fingerprints.differing(of(fields)), expected, "{fields:?}");
        }
    }
}
