//! Fingerprints for shadow mode: of a stored body and of its request's fields, to compare with
//! later responses of the origin.
//!
//! Plain values; no field's value is stored. Clients accept different codings, so a body may arrive
//! in another coding than the stored one. The first fingerprint in each coding is remembered, and
//! later bodies are compared with it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::body::Coding;

/// The number of codings in which a body is compared.
const CODINGS: usize = 4;

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyComparison {
    /// The same bytes.
    Same,
    /// Other bytes.
    Different,
    /// Unknown: this is the first body in its coding.
    Unknown,
}

/// A request field or cookie: the number of its name, and a fingerprint of its value under a secret
/// of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldValue {
    /// The number of the name.
    pub name: u16,
    /// The fingerprint of the value.
    pub value: u32,
}

/// The fingerprints of a response's body and of the request that fetched it.
#[derive(Debug)]
pub struct ShadowFingerprint {
    /// The fingerprint of the body in each coding; zero where none has arrived.
    bodies: [AtomicU64; CODINGS],
    /// The fields of the request, ordered by name.
    fields: Box<[FieldValue]>,
}

/// Returns the place of a coding in the table of bodies.
const fn slot(coding: Coding) -> usize {
    match coding {
        Coding::Identity => 0,
        Coding::Zstd => 1,
        Coding::Brotli => 2,
        Coding::Gzip => 3,
    }
}

impl ShadowFingerprint {
    /// Makes the fingerprint of a response to a request with these fields. No body has arrived yet.
    pub fn new(mut fields: Vec<FieldValue>) -> Self {
        fields.sort_unstable();
        Self { bodies: Default::default(), fields: fields.into_boxed_slice() }
    }

    /// Compares a body with the first one in this coding, which is remembered.
    pub fn compare(&self, coding: Coding, fingerprint: u64) -> BodyComparison {
        // Zero means none. Taking one fingerprint in 2⁶⁴ for another does no harm.
        let fingerprint = fingerprint.max(1);
        let first = &self.bodies[slot(coding)];
        match first.compare_exchange(0, fingerprint, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => BodyComparison::Unknown,
            Err(known) if known == fingerprint => BodyComparison::Same,
            Err(_) => BodyComparison::Different,
        }
    }

    /// Returns the numbers of the names whose values differ between the request and one with
    /// `fields`. A name absent from one of them differs too.
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

    /// Returns the bytes of the fingerprint.
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
    fn differing_names_are_listed_once_and_absent_differs_from_present() {
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
