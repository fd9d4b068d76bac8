//! A log-linear histogram: eight buckets for each power of two.
//!
//! Invariant: fixed size; a quantile is never below the true one and at most 12.5 % above it.

const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB;

/// Counts of values, with exact count, sum and maximum.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: Box::new([0; BUCKETS]),
            count: 0,
            sum: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Adds one value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// How many values were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all values, saturating.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value, or 0.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// How many values are below 2^`from`, from there to 2^(`from` + 1) and so on, and from 2^`to` on.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code))] // only said when it is exported
    pub(crate) fn by_power(&self, from: u32, to: u32) -> Vec<u64> {
        let mut ends = (from..=to)
            .map(|power| bucket(1 << power))
            .collect::<Vec<_>>();
        ends.push(BUCKETS);
        let mut start = 0;
        let counts = ends.into_iter().map(|end| {
            let count = self.buckets[start..end].iter().sum();
            start = end;
            count
        });
        counts.collect()
    }

    /// An upper bound of the value below which a share `q` (0 to 1) of all values lies; 0 if
    /// there is none.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = ((self.count as f64 * q).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max);
            }
        }
        self.max
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let exponent = 63 - value.leading_zeros();
    let sub = (value >> (exponent - SUB_BITS)) as usize & (SUB - 1);
    (exponent - SUB_BITS + 1) as usize * SUB + sub
}

/// The largest value in a bucket.
fn upper(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let shift = (index / SUB - 1) as u32;
    let low = ((SUB + index % SUB) as u64) << shift;
    low + ((1u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let index = bucket(value);
                assert!(index < BUCKETS && value <= upper(index), "{value}");
                assert!(index == 0 || value > upper(index - 1), "{value}");
            }
        }
        assert_eq!(upper(BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn powers_divide_all_values() {
        let mut histogram = Histogram::default();
        for value in [0, 1023, 1024, 2047, 2048, 1 << 20, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.by_power(10, 12), [2, 2, 1, 2]);
    }

    #[test]
    fn quantiles_are_close_from_above() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(value));
        for (q, exact) in [(0.5, 500), (0.99, 990), (1.0, 1000)] {
            let got = histogram.quantile(q);
            assert!(
                got >= exact && got as f64 <= exact as f64 * 1.125,
                "{q}: {got}"
            );
        }
        assert_eq!(
            (histogram.count(), histogram.sum(), histogram.max()),
            (1000, 500_500, 1000)
        );
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
