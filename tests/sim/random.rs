//! Numbers that depend on a seed alone (`SplitMix64`).

#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound.max(1))).unwrap_or(0)
    }

    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// One of the bits of a mask.
    pub fn bit(&mut self, mask: u64) -> Option<u32> {
        if mask == 0 {
            return None;
        }
        let mut nth = self.below(mask.count_ones());
        let mut left = mask;
        loop {
            let bit = left.trailing_zeros();
            if nth == 0 {
                return Some(bit);
            }
            nth -= 1;
            left &= left - 1;
        }
    }
}
