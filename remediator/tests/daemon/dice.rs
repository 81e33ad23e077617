//! Chance that can be repeated.

use std::str::FromStr;

use jiff::Timestamp;

/// Numbers that look random and follow from the seed: splitmix64.
pub(crate) struct Dice(u64);

impl Dice {
    /// By `SATELLITE_SEED`, or, where that is not set, by a seed that is printed.
    pub(crate) fn from_environment() -> Self {
        let clock = u64::from(Timestamp::now().subsec_nanosecond().unsigned_abs());
        let seed = from_environment("SATELLITE_SEED").unwrap_or(clock);
        eprintln!("SATELLITE_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

pub(crate) fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}
