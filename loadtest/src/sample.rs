//! CPU and memory of processes, from /proc.

use crate::clock::SECOND_NS;
use std::fs;

/// Nanoseconds of CPU that the processes have used, user and system, all threads together.
///
/// The scheduler's own account per thread is exact; `stat` counts in steps of 10 ms but keeps the
/// time of threads that have ended. The larger one is right to within such a step.
pub(crate) fn cpu_ns(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| threads_ns(*pid).max(stat_ns(*pid))).sum()
}

fn threads_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn stat_ns(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th after it.
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks * (SECOND_NS / rustix::param::clock_ticks_per_second())
}

/// Resident KiB of the processes: exact, from a walk over their pages, or where that is not allowed
/// the kernel's running count.
pub(crate) fn resident_kib(pids: &[u32]) -> u64 {
    let exact = |pid| line_kib(&format!("/proc/{pid}/smaps_rollup"), "Rss:");
    let counted = |pid| line_kib(&format!("/proc/{pid}/status"), "VmRSS:");
    pids.iter().map(|pid| exact(pid).or_else(|| counted(pid)).unwrap_or(0)).sum()
}

/// Nanoseconds of CPU that everything on the machine has used, and the host has taken from it.
pub(crate) fn machine_ns() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers: Vec<u64> =
        text.lines().next().unwrap_or_default().split_whitespace().flat_map(str::parse).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let ticks: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|place| numbers.get(*place)).sum();
    ticks * (SECOND_NS / rustix::param::clock_ticks_per_second())
}

fn line_kib(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

/// Whether such a process runs.
pub(crate) fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}/stat")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_cpu_and_memory() {
        let own = [std::process::id()];
        let before = cpu_ns(&own);
        while cpu_ns(&own) < before + 2_000_000 {}
        assert!(resident_kib(&own) > 100);
        assert!(exists(own[0]));
        assert_eq!((cpu_ns(&[u32::MAX]), resident_kib(&[u32::MAX])), (0, 0));
    }
}
