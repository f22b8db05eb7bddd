//! Which folders are listed together, and which alone. Pure: made from how many files were seen in each.
//!
//! On a store that lists by path, one listing that runs through small folders is cheaper than a request for each; past a
//! large folder it would read what is known already, so that is asked alone for what lies behind its newest name.

/// A folder with at most so many files is swept: reading them all costs less than a request of its own, which is worth
/// about 500 keys (a page of a thousand takes about three times as long as an empty one).
pub(super) const MOST_SWEPT: u64 = 350;

/// Files of a page.
const PAGE: u64 = 1000;

/// Listings at a time; each is worth at least so many pages, as the last page of each is not full.
const MOST_SWEEPS: u64 = 8;
const PAGES_OF_SWEEP: u64 = 4;

/// How the folders of a look are listed. Numbers are indices of the folders.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Each is one listing through these, in order.
    pub(super) sweeps: Vec<Vec<usize>>,
    /// Each is asked for what is new.
    pub(super) alone: Vec<usize>,
}

/// Plans for folders in the order of their paths, each with the files that were seen in it; `None`: never looked at.
pub(super) fn by_path(folders: &[Option<u64>], most_swept: u64) -> Plan {
    let mut plan = Plan::default();
    let mut swept = Vec::new();
    for (index, files) in folders.iter().enumerate() {
        if files.is_none_or(|files| files <= most_swept) {
            swept.push(index);
        } else {
            plan.alone.push(index);
        }
    }
    let weight = |index: &usize| folders[*index].unwrap_or(1).max(1);
    let total: u64 = swept.iter().map(weight).sum();
    let sweeps = (total / PAGE / PAGES_OF_SWEEP).clamp(1, MOST_SWEEPS);
    let share = total.div_ceil(sweeps).max(1);
    let mut so_far = 0;
    for index in swept {
        let of = usize::try_from(so_far / share).unwrap_or_default();
        while plan.sweeps.len() <= of {
            plan.sweeps.push(Vec::new());
        }
        so_far += weight(&index);
        plan.sweeps[of].push(index);
    }
    plan.sweeps.retain(|folders| !folders.is_empty());
    plan
}

/// Plans for a store that lists in no order to rely on, and so cannot pass anything over: one listing of the whole base,
/// or one of each folder. `beside` are files below the base that no folder of these holds.
pub(super) fn whole_or_each(folders: &[Option<u64>], beside: u64, most_swept: u64) -> Plan {
    let files: u64 = folders.iter().map(|files| files.unwrap_or(1)).sum::<u64>() + beside;
    let all: Vec<usize> = (0..folders.len()).collect();
    if folders.len() > 1 && files <= most_swept * folders.len() as u64 {
        Plan { sweeps: vec![all], alone: Vec::new() }
    } else {
        Plan { sweeps: Vec::new(), alone: all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_folders_are_swept_and_large_ones_asked() {
        let plan = by_path(&[Some(3), None, Some(1_000_000), Some(350), Some(351)], MOST_SWEPT);
        assert_eq!(plan, Plan { sweeps: vec![vec![0, 1, 3]], alone: vec![2, 4] });
        assert_eq!(by_path(&[], MOST_SWEPT), Plan::default());
    }

    #[test]
    fn many_files_are_swept_side_by_side_in_even_parts() {
        let plan = by_path(&vec![Some(5); 10_000], MOST_SWEPT);
        assert_eq!(plan.sweeps.len(), 8, "50 pages, at least 4 each");
        assert_eq!(plan.sweeps.iter().map(Vec::len).sum::<usize>(), 10_000);
        assert!(plan.sweeps.iter().all(|folders| (1_200..=1_300).contains(&folders.len())));
        assert_eq!(by_path(&vec![Some(300); 10_000], MOST_SWEPT).sweeps.len(), 8);
        assert_eq!(by_path(&vec![Some(1); 100], MOST_SWEPT).sweeps.len(), 1);
    }

    #[test]
    fn one_listing_is_not_made_where_it_reads_too_much() {
        assert_eq!(whole_or_each(&[Some(3), Some(4)], 10, MOST_SWEPT).sweeps, [vec![0, 1]]);
        assert_eq!(whole_or_each(&[Some(3), Some(4)], 10_000, MOST_SWEPT).alone, [0, 1]);
        assert_eq!(whole_or_each(&[Some(3)], 0, MOST_SWEPT).alone, [0]);
    }
}
