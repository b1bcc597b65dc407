//! The samples of a run.

use std::collections::BTreeMap;

use anyhow::Result;

use super::competitor::Competitor;

/// What one competitor did at one item.
#[derive(Default)]
pub(super) struct Cell {
    /// What was measured, in the order of the rounds.
    pub(super) values: Vec<f64>,
    /// Why a round failed, if one did.
    pub(super) failure: Option<String>,
}

impl Cell {
    /// The middle of the samples.
    pub(super) fn median(&self) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// The least sample: the one that other work on the machine disturbed least.
    pub(super) fn least(&self) -> Option<f64> {
        self.values.iter().copied().min_by(f64::total_cmp)
    }
}

/// All samples, by item and competitor.
pub(super) struct Samples {
    /// The competitors, in the order of the columns.
    pub(super) names: Vec<String>,
    cells: BTreeMap<(String, String), Cell>,
}

impl Samples {
    pub(super) fn new(all: &[Competitor]) -> Samples {
        Samples { names: all.iter().map(|who| who.name.clone()).collect(), cells: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, item: &str, who: &str, sample: Result<f64>) {
        let cell = self.cells.entry((item.to_owned(), who.to_owned())).or_default();
        match sample {
            Ok(value) => cell.values.push(value),
            Err(error) => {
                eprintln!("{item}, {who}: failed: {error:#}");
                cell.failure = Some(format!("{error:#}"));
            }
        }
    }

    pub(super) fn get(&self, item: &str, who: &str) -> Option<&Cell> {
        self.cells.get(&(item.to_owned(), who.to_owned()))
    }

    pub(super) fn has_failed(&self, item: &str, who: &str) -> bool {
        self.get(item, who).is_some_and(|cell| cell.failure.is_some())
    }

    /// Number of failures of competitors whose name begins so.
    pub(super) fn failures_of(&self, who: &str) -> usize {
        self.cells.iter().filter(|((_, name), cell)| name.starts_with(who) && cell.failure.is_some()).count()
    }

    /// The ratios to native of the medians and of the least samples.
    pub(super) fn ratios(&self, item: &str, who: &str) -> Option<(f64, f64)> {
        let (cell, native) = (self.get(item, who)?, self.get(item, "native")?);
        let ratio = |value: Option<f64>, base: Option<f64>| match (value, base) {
            (Some(value), Some(base)) if base > 0.0 => Some(value / base),
            _ => None,
        };
        Some((ratio(cell.median(), native.median())?, ratio(cell.least(), native.least())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_outliers_and_a_failure_keeps_what_was_measured() {
        let mut samples = Samples { names: Vec::new(), cells: BTreeMap::new() };
        for value in [5.0, 1.0, 900.0] {
            samples.add("x", "ours", Ok(value));
            samples.add("x", "native", Ok(1.0));
        }
        samples.add("x", "ours", Err(anyhow::anyhow!("killed")));
        let cell = samples.get("x", "ours").expect("measured");
        assert_eq!((cell.median(), cell.least()), (Some(5.0), Some(1.0)));
        assert_eq!(samples.ratios("x", "ours"), Some((5.0, 1.0)));
        assert_eq!(samples.failures_of("ours"), 1);
    }
}
