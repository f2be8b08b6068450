//! Prometheus's text format.

use std::fmt::{Display, Write as _};
use std::time::Duration;

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

/// The labels of one sample.
pub(crate) type LabelPairs<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// Opens a metric; its samples follow.
    pub(crate) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn sample(&mut self, name: &str, labels: LabelPairs<'_>, value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n");
            let _ = write!(self.0, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    /// A metric of one sample without labels.
    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.single(name, "gauge", help, value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.single(name, "counter", help, value);
    }

    /// A summary without quantiles, as Alertmanager's are.
    pub(crate) fn summary(&mut self, name: &str, help: &str, sum: Duration, count: u64) {
        self.metric(name, "summary", help);
        self.sample(&format!("{name}_sum"), &[], sum.as_secs_f64());
        self.sample(&format!("{name}_count"), &[], count);
    }

    /// The samples of a histogram that was opened.
    pub(crate) fn histogram(&mut self, name: &str, labels: LabelPairs<'_>, of: &Histogram) {
        let mut below = 0;
        let bounds = of.bounds.iter().map(ToString::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (count, bound) in of.counts.iter().zip(bounds) {
            below += count;
            let labels: Vec<_> = labels
                .iter()
                .copied()
                .chain([("le", bound.as_str())])
                .collect();
            self.sample(&format!("{name}_bucket"), &labels, below);
        }
        self.sample(&format!("{name}_sum"), labels, of.sum);
        self.sample(&format!("{name}_count"), labels, below);
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Counts values by size.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_in_the_text_format() {
        let mut page = Page::default();
        page.gauge("a", "An a.", 1);
        page.metric("b", "counter", "Bs.");
        page.sample("b", &[("x", "1\"2"), ("y", "")], 7);
        let mut sizes = Histogram::new(&[1.0, 2.5]);
        for value in [1.0, 2.0, 9.0] {
            sizes.observe(value);
        }
        page.metric("c", "histogram", "Cs.");
        page.histogram("c", &[("k", "v")], &sizes);
        assert_eq!(
            page.finish(),
            "# HELP a An a.\n# TYPE a gauge\na 1\n# HELP b Bs.\n# TYPE b counter\n\
             b{x=\"1\\\"2\",y=\"\"} 7\n# HELP c Cs.\n# TYPE c histogram\n\
             c_bucket{k=\"v\",le=\"1\"} 1\nc_bucket{k=\"v\",le=\"2.5\"} 2\n\
             c_bucket{k=\"v\",le=\"+Inf\"} 3\nc_sum{k=\"v\"} 12\nc_count{k=\"v\"} 3\n"
        );
    }
}
