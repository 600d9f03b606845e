//! Medians, and how ours stands to the yardstick. No mean and no best-of: on a shared machine both tell of the neighbours.

/// The value below which `share` of the samples lie. Sorts them.
pub(crate) fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let mut left = share * f64::from(u32::try_from(samples.len()).unwrap_or(u32::MAX));
    let mut at = samples.first().copied().unwrap_or(f64::NAN);
    for sample in samples.iter() {
        at = *sample;
        left -= 1.0;
        if left < 0.0 {
            break;
        }
    }
    at
}

/// The middle one.
pub(crate) fn median(samples: &[f64]) -> f64 {
    percentile(&mut samples.to_vec(), 0.5)
}

/// Ours beside the yardstick, over all pairs of runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// The median of our runs.
    pub(crate) ours: f64,
    /// The median of the yardstick's runs.
    pub(crate) yardstick: f64,
    /// The one divided by the other.
    pub(crate) ratio: f64,
    /// The lowest and the highest ratio of one pair.
    pub(crate) spread: (f64, f64),
}

impl Comparison {
    /// Of runs that were made by turns.
    pub(crate) fn of(pairs: &[(f64, f64)]) -> Self {
        let ours = median(&pairs.iter().map(|(ours, _)| *ours).collect::<Vec<_>>());
        let yardstick = median(&pairs.iter().map(|(_, yardstick)| *yardstick).collect::<Vec<_>>());
        let ratios = || pairs.iter().map(|(ours, yardstick)| ours / yardstick);
        let spread = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(f64::NEG_INFINITY, f64::max));
        Self { ours, yardstick, ratio: ours / yardstick, spread }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_taken() {
        let mut samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        let rows = [(0.0, 1.0), (0.5, 3.0), (0.79, 4.0), (0.99, 5.0), (1.0, 5.0)];
        for (share, expected) in rows {
            assert!((percentile(&mut samples, share) - expected).abs() < 1e-9, "{share}");
        }
        assert!((percentile(&mut [7.0], 0.99) - 7.0).abs() < 1e-9);
        assert!(percentile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn a_comparison_is_the_ratio_of_the_medians_and_not_the_best_ratio() {
        let comparison = Comparison::of(&[(10.0, 10.0), (30.0, 10.0), (20.0, 5.0)]);
        assert!((comparison.ours - 20.0).abs() < 1e-9 && (comparison.yardstick - 10.0).abs() < 1e-9);
        assert!((comparison.ratio - 2.0).abs() < 1e-9);
        assert!((comparison.spread.0 - 1.0).abs() < 1e-9 && (comparison.spread.1 - 4.0).abs() < 1e-9);
    }
}
