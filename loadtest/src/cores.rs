//! Which cores the parts of a run use.

use crate::failure::{Failure, Result};
use std::sync::OnceLock;

/// Empty lists mean all cores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) server: Vec<usize>,
    /// Redis, clients and the harness itself.
    pub(crate) others: Vec<usize>,
}

impl Cores {
    /// The server alone on the first cores, one per worker, and everything else on the rest.
    pub(crate) fn pinned(workers: usize, cores: &[usize]) -> Result<Self> {
        match cores.split_at_checked(workers) {
            Some((server, others)) if !others.is_empty() => {
                Ok(Self { server: server.to_vec(), others: others.to_vec() })
            }
            _ => Err(Failure::new(format!(
                "--pin needs a core for the clients: use at most {} of the {} cores with \
                 --workers, or leave --pin out",
                cores.len().saturating_sub(1),
                cores.len()
            ))),
        }
    }
}

/// The cores that the harness was given, whatever it keeps itself to later.
pub(crate) fn given() -> &'static [usize] {
    static GIVEN: OnceLock<Vec<usize>> = OnceLock::new();
    GIVEN.get_or_init(|| {
        let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_its_cores_alone() {
        let cores = Cores::pinned(1, &[2, 5]).expect("two cores are enough");
        assert_eq!(cores, Cores { server: vec![2], others: vec![5] });
        assert!(Cores::pinned(2, &[0, 1]).is_err());
        assert!(Cores::pinned(3, &[0, 1]).is_err());
    }
}
