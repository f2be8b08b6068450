//! What was seen of one row, as figures with their bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Cluster, NAMES};
use crate::figures::{Figure, show};
use crate::honest::{GUARD_KIB, Seen, WAIT_MAX, memory_kib, processor_time};
use crate::logs::Logged;
use crate::rows::Row;

/// What nodes take of memory, in KiB, and of processors.
#[derive(Clone, Default)]
pub(crate) struct Taken {
    pub(crate) resident: Vec<u64>,
    most: Vec<u64>,
    processor: Vec<Duration>,
}

impl Taken {
    pub(crate) fn by(cluster: &Cluster) -> Self {
        let mut taken = Self::default();
        for node in &cluster.nodes {
            let pid = node.pid();
            let kib = |field| memory_kib(pid, field).unwrap_or_default();
            taken.resident.push(kib("VmRSS"));
            taken.most.push(kib("VmHWM"));
            taken
                .processor
                .push(processor_time(pid).unwrap_or_default());
        }
        taken
    }
}

/// Everything that was seen.
pub(crate) struct Evidence<'a> {
    pub(crate) row: &'a Row,
    pub(crate) seen: Seen,
    pub(crate) logged: Logged,
    /// Nodes that ended, and how.
    pub(crate) dead: BTreeMap<String, String>,
    /// A node was killed for its memory.
    pub(crate) guarded: bool,
    /// Before the attack, at its end, and some time after it.
    pub(crate) taken: [Taken; 3],
    pub(crate) lasted: Duration,
}

impl Evidence<'_> {
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut figures = self.about_writes();
        figures.extend(self.about_memory());
        figures.extend(self.about_members());
        figures.push(self.about_health());
        figures.push(self.about_warnings());
        figures.push(self.about_name());
        figures.push(self.about_the_dead());
        figures
    }

    fn about_writes(&self) -> Vec<Figure> {
        let writes = &self.seen.writes;
        let latencies = paced(&writes.latencies, PACE);
        let at = |q: usize| match latencies.len() {
            0 => Err(WAIT_MAX),
            // The nearest rank: of a few, the most.
            len => Ok(latencies[(len * q).div_ceil(100).max(1) - 1]),
        };
        let told = |q| at(q).map_or_else(|_| "-".to_owned(), show);
        let count = writes.latencies.len();
        let refused: u64 = writes.refused.values().sum();
        let unseen = writes.unanswered + writes.late;
        let p50 = format!("{} of {count} posted", told(50));
        let mut figures = vec![
            Figure::told("POST on one to GET on another, p50", p50),
            Figure::time_or("POST on one to GET on another, p99", at(99), LATENCY_MAX).brief("p99"),
            Figure::told("POST on one to GET on another, max", told(100)),
            Figure::count("writes refused", refused, 0).brief("refused"),
            Figure::count("writes not answered, not seen in 15 s", unseen, 0).brief("unseen"),
        ];
        if refused > 0 {
            let told = format!("{:?}: {}", writes.refused, writes.last_refusal);
            figures.push(Figure::told("refused with", told));
        }
        figures
    }

    fn about_memory(&self) -> Vec<Figure> {
        let [begin, end, after] = &self.taken;
        let mb = |kib: &[u64]| {
            let all = kib.iter().map(|kib| (kib * 1024 / 1_000_000).to_string());
            all.collect::<Vec<_>>().join(", ")
        };
        // A node that was killed has no figures any more.
        let most = end.most.iter().chain(&after.most).copied().max();
        let at_least = if self.guarded { GUARD_KIB } else { 0 };
        let most = most.unwrap_or_default().max(at_least);
        let used = end.processor.iter().zip(&begin.processor);
        let used = used.map(|(end, begin)| show(end.saturating_sub(*begin)));
        let used = used.collect::<Vec<_>>().join(", ");
        vec![
            Figure::told("memory before, of each node, MB", mb(&begin.resident)),
            Figure::megabytes("memory, most of any node", most, MEMORY_MAX_MB).brief("memory"),
            Figure::told("memory at the end of the attack, MB", mb(&end.resident)),
            Figure::told("memory later, MB", mb(&after.resident)),
            Figure::told(
                "processor time of each node",
                format!("{used} in {}", show(self.lasted)),
            ),
        ]
    }

    fn about_members(&self) -> Vec<Figure> {
        let views = &self.seen.views;
        // Of those that ended it is true.
        let of_healthy = |said: &BTreeMap<(String, String), u64>| {
            let wrong = said.iter();
            let wrong = wrong.filter(|((_, about), _)| !self.dead.contains_key(about));
            wrong.map(|(_, times)| times).sum::<u64>()
        };
        let failed = of_healthy(&self.logged.failed) + of_healthy(&views.missing);
        let suspected = of_healthy(&self.logged.suspected);
        let mut figures = vec![
            Figure::count("healthy members called failed, or not shown", failed, 0).brief("failed"),
            Figure::told("healthy members suspected", suspected.to_string()),
        ];
        if let Some(max) = self.row.members_max {
            let most = views.members_most;
            figures.push(Figure::count("members shown, at most", most, max));
            // The hostile member itself ends without a word.
            let failed_max = max.saturating_sub(NAMES.len() as u64);
            let most = views.failed_most;
            figures.push(Figure::count(
                "failed members shown, at most",
                most,
                failed_max,
            ));
        }
        figures
    }

    fn about_health(&self) -> Figure {
        let all = self.seen.health.iter();
        let slowest = all.map(|it| it.latencies.iter().copied().max().unwrap_or_default());
        let silent = self.seen.health.iter().map(|it| it.silent);
        let worst = slowest.chain(silent).max().unwrap_or_default();
        Figure::time("/-/healthy, longest without an answer", worst, HEALTH_MAX).brief("health")
    }

    fn about_warnings(&self) -> Figure {
        let warnings = &self.logged.warnings;
        let most = warnings.iter().max_by_key(|(_, count)| **count);
        let most = most.map_or_else(String::new, |(message, _)| {
            let short: String = message.chars().take(40).collect();
            format!(" (\"{short}\")")
        });
        let count = warnings.values().sum();
        let what = format!("warnings, of all nodes{most}");
        Figure::count(what, count, self.row.warnings_max).brief("warnings")
    }

    fn about_name(&self) -> Figure {
        let by_log = self.logged.naming.iter();
        let by_log = by_log.map(|(message, count)| format!("{count} x {message:?}"));
        let by_metric = self.seen.views.naming.keys();
        let by_metric = by_metric.map(|name| format!("metric {name}"));
        let named: Vec<String> = by_log.chain(by_metric).collect();
        let said = named.join(", ");
        let what = "the hostile member is named";
        if self.row.named {
            Figure::yes(what, !named.is_empty(), said).brief("named")
        } else {
            Figure::told(what, if said.is_empty() { "no" } else { &said })
        }
    }

    /// Who has ended, and how.
    fn about_the_dead(&self) -> Figure {
        let told = self.dead.iter();
        let told = told.map(|(name, status)| format!("{name}: {status}"));
        let mut told = told.collect::<Vec<_>>().join(", ");
        if self.guarded {
            told += ", for taking over 4 GB";
        }
        Figure::yes("all nodes are still running", self.dead.is_empty(), told)
    }
}

/// The latencies, sorted, as a client would see that posts at a pace and waits for none: while one write
/// took long, others would have begun, and waited for the rest of that time.
fn paced(latencies: &[Duration], pace: Duration) -> Vec<Duration> {
    let mut all = Vec::new();
    for &latency in latencies {
        let mut left = latency;
        all.push(left);
        while left > pace * 2 {
            left -= pace;
            all.push(left);
        }
    }
    all.sort_unstable();
    all
}

/// About as often as writes are posted while nothing is slow.
const PACE: Duration = Duration::from_millis(25);
/// The bounds.
pub(crate) const MEMORY_MAX_MB: u64 = 300;
const LATENCY_MAX: Duration = Duration::from_millis(50);
const HEALTH_MAX: Duration = Duration::from_secs(1);
