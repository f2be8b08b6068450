//! What the process takes of the machine, as Prometheus's client libraries tell it. It is read from Linux's `/proc`;
//! where there is none, or a value is not found in it, that metric is left out.

use std::fs;

use super::text::Page;

/// The process metrics of this process, which started at `started` seconds since 1970.
pub(super) fn render(page: &mut Page, started: f64) {
    page.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        started,
    );
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let (stat, status, limits) = (read("stat"), read("status"), read("limits"));
    if let Some(seconds) = cpu_seconds(&stat) {
        let help = "Total user and system CPU time spent in seconds.";
        page.counter("process_cpu_seconds_total", help, seconds);
    }
    // The directory that is being read has a descriptor too.
    let files = fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1));
    let files = files.ok();
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            status_bytes(&status, "VmRSS:"),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            status_bytes(&status, "VmSize:"),
        ),
        (
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            limit(&limits, "Max address space"),
        ),
        (
            "process_open_fds",
            "Number of open file descriptors.",
            files.map(|count| count as u64),
        ),
        (
            "process_max_fds",
            "Maximum number of open file descriptors.",
            limit(&limits, "Max open files"),
        ),
        (
            "process_threads",
            "Number of threads of the operating system.",
            status_value(&status, "Threads:"),
        ),
    ] {
        if let Some(value) = value {
            page.gauge(name, help, value);
        }
    }
}

/// User and system time of `/proc/self/stat`: its fields 14 and 15, where the second one, the program's name in
/// parentheses, may have blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some(user.saturating_add(system) as f64 / TICKS_A_SECOND)
}

/// A line of `/proc/self/status`.
fn status_value(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// A line of `/proc/self/status` in kibibytes.
fn status_bytes(status: &str, name: &str) -> Option<u64> {
    status_value(status, name)?.checked_mul(1024)
}

/// The soft limit of a line of `/proc/self/limits`; without a limit, the largest number.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

/// Linux counts in hundredths of a second there, whatever it does within.
const TICKS_A_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a ) b (c) S 1 2 3 4 5 6 7 8 9 10 250 31 0 0 20 0 3 0 99 1 2";
        assert_eq!(cpu_seconds(stat), Some(2.81));
        assert_eq!(cpu_seconds("7 (a) S 1 2"), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\tVmRSS: 1\nVmSize:\t    3000 kB\nVmRSS:\t     12 kB\nThreads:\t5\n";
        assert_eq!(status_bytes(status, "VmRSS:"), Some(12 << 10));
        assert_eq!(status_bytes(status, "VmSize:"), Some(3000 << 10));
        assert_eq!(status_value(status, "Threads:"), Some(5));
        assert_eq!(status_bytes(status, "VmSwap:"), None);
    }

    #[test]
    fn the_soft_limit_counts() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 20000                files\n\
                      Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024));
        assert_eq!(limit(limits, "Max address space"), Some(u64::MAX));
        assert_eq!(limit(limits, "Max locked memory"), None);
    }
}
