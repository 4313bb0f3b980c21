//! Which cores the parts of a run use.

use crate::failure::{Failure, Result};

/// Empty lists mean all cores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) server: Vec<usize>,
    /// Redis, clients and the harness itself.
    pub(crate) others: Vec<usize>,
}

impl Cores {
    /// The server alone on the first cores, one per worker, and everything else on the rest.
    pub(crate) fn pinned(workers: usize, cores: usize) -> Result<Self> {
        if workers >= cores {
            return Err(Failure::new(format!(
                "--pin needs a core for the clients: use at most {} of the {cores} cores with \
                 --workers, or leave --pin out",
                cores.saturating_sub(1)
            )));
        }
        Ok(Self { server: (0..workers).collect(), others: (workers..cores).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_its_cores_alone() {
        let cores = Cores::pinned(1, 2).expect("two cores are enough");
        assert_eq!(cores, Cores { server: vec![0], others: vec![1] });
        assert!(Cores::pinned(2, 2).is_err());
    }
}
