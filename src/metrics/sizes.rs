//! The sizes of responses: body bytes in cells whose bounds grow by a factor of four.

/// The number of bounds. One more cell counts the bodies above all of them.
pub(super) const SIZE_BOUNDS: usize = 12;

/// The first bound is 2 to this power: 256 bytes, a small JSON document.
const FIRST_BITS: u32 = 8;

/// Returns the bounds in bytes, ascending; each cell includes its bound.
pub(crate) fn size_bounds() -> [u64; SIZE_BOUNDS] {
    std::array::from_fn(|cell| 1 << (FIRST_BITS as usize + 2 * cell))
}

/// The number of bodies in each cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes([u64; SIZE_BOUNDS + 1]);

impl Sizes {
    /// Returns the number of bodies in each cell; the last cell is for those above all bounds.
    pub fn cells(&self) -> &[u64; SIZE_BOUNDS + 1] {
        &self.0
    }

    /// Counts a body. On the path of every hit: a few instructions without a branch.
    pub(super) fn count(&mut self, bytes: u64) {
        let bits = u64::BITS - bytes.saturating_sub(1).leading_zeros();
        let cell = bits.saturating_sub(FIRST_BITS).div_ceil(2) as usize;
        self.0[cell.min(SIZE_BOUNDS)] += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (number, more) in self.0.iter_mut().zip(&other.0) {
            *number += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_cell() {
        let check = |bytes: u64, cell: usize| {
            let mut sizes = Sizes::default();
            sizes.count(bytes);
            assert_eq!(sizes.cells().iter().position(|number| *number == 1), Some(cell), "{bytes}");
        };
        check(0, 0);
        check(1, 0);
        for (cell, bound) in size_bounds().into_iter().enumerate() {
            check(bound, cell);
            check(bound + 1, cell + 1);
        }
        check(u64::MAX, SIZE_BOUNDS);
        assert_eq!((size_bounds()[0], size_bounds()[SIZE_BOUNDS - 1]), (256, 1 << 30));
    }
}
