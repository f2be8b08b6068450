//! What client libraries of Prometheus tell of a process, as Linux has it under `/proc/self`. What cannot be
//! found out is left out.

use std::fs;

use super::text::Page;

/// The metrics of this process.
pub(super) fn render(page: &mut Page) {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&read("stat")) {
        page.counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            seconds,
        );
    }
    // The directory that is being read has a descriptor too.
    let open = fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1));
    let (status, limits) = (read("status"), read("limits"));
    for (name, help, value) in [
        (
            "process_open_fds",
            "Number of open file descriptors.",
            open.ok().map(|count| count as f64),
        ),
        (
            "process_max_fds",
            "Maximum number of open file descriptors.",
            limit(&limits, "Max open files"),
        ),
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            bytes(&status, "VmRSS:"),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            bytes(&status, "VmSize:"),
        ),
        (
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            limit(&limits, "Max address space"),
        ),
    ] {
        if let Some(value) = value {
            page.gauge(name, help, value);
        }
    }
}

/// Of the fields after the name, which may have anything in it, the 12th and the 13th, in hundredths.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11);
    let user: f64 = ticks.next()?.parse().ok()?;
    let system: f64 = ticks.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn bytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// The limit that holds now; the largest number where there is none.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// What Linux tells programs in, whatever it counts in itself.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read() {
        let stat = "17 (a) b) S 1 17 17 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 5 0 1234 1000 200";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("17 a"), None);
        let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t       3 kB\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(3072.0));
        assert_eq!(bytes(status, "VmSize:"), Some(2_097_152.0));
        assert_eq!(bytes("", "VmRSS:"), None);
        let limits = "Max address space         unlimited            unlimited            bytes\n\
                      Max open files            1024                 4096                 files\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(limit(limits, "Max address space"), Some(u64::MAX as f64));
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let mut page = Page::default();
        render(&mut page);
        let page = page.finish();
        for name in [
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_open_fds",
        ] {
            let lines: Vec<_> = page.lines().filter(|line| line.starts_with(name)).collect();
            assert_eq!(
                lines.len(),
                1,
                "{name} has one sample without labels: {lines:?}"
            );
            assert!(lines[0].starts_with(&format!("{name} ")), "{lines:?}");
        }
    }
}
