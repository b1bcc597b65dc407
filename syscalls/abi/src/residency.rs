//! What of a range of memory is resident (`man 5 proc_pid_smaps`).

/// The figures of one mapping, in bytes, by Linux's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Residency {
    pub rss: u64,
    /// Proportional: pages shared with others count by their part.
    pub pss: u64,
    pub shared_clean: u64,
    pub shared_dirty: u64,
    pub private_clean: u64,
    pub private_dirty: u64,
    pub referenced: u64,
    pub anonymous: u64,
    pub swap: u64,
}

impl Residency {
    /// Returns a figure by its name in `smaps`.
    pub fn field(&mut self, name: &str) -> Option<&mut u64> {
        self.fields().into_iter().find(|(known, _)| *known == name).map(|(_, field)| field)
    }

    /// Adds the figures of another range.
    pub fn add(&mut self, other: Residency) {
        self.add_share(other, 1, 1);
    }

    /// Adds `part` of `whole` of the figures of another range.
    pub fn add_share(&mut self, mut other: Residency, part: u64, whole: u64) {
        for ((_, sum), (_, figure)) in self.fields().into_iter().zip(other.fields()) {
            let share = u128::from(*figure) * u128::from(part) / u128::from(whole.max(1));
            *sum = sum.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
        }
    }

    fn fields(&mut self) -> [(&'static str, &mut u64); 9] {
        [
            ("Rss", &mut self.rss),
            ("Pss", &mut self.pss),
            ("Shared_Clean", &mut self.shared_clean),
            ("Shared_Dirty", &mut self.shared_dirty),
            ("Private_Clean", &mut self.private_clean),
            ("Private_Dirty", &mut self.private_dirty),
            ("Referenced", &mut self.referenced),
            ("Anonymous", &mut self.anonymous),
            ("Swap", &mut self.swap),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_added_up_and_fields_have_names() {
        let mut sum = Residency::default();
        sum.add_share(Residency { rss: 30, pss: 7, ..Residency::default() }, 1, 3);
        sum.add(Residency { rss: 1, ..Residency::default() });
        assert_eq!((sum.rss, sum.pss), (11, 2));
        assert_eq!(sum.field("Rss").copied(), Some(11));
        assert_eq!(sum.field("Size"), None);
    }
}
