//! How the simulated network behaves, as a simulation is given it.

use std::time::Duration;

use super::bandwidth::Bandwidth;

/// How the network behaves between any two hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// Shortest one-way delay. Default 200 µs.
    pub latency_min: Duration,
    /// Longest one-way delay. Default 1 ms. Equal to the shortest, the delay is constant.
    pub latency_max: Duration,
    /// How delays spread between the shortest and the longest. Default evenly.
    pub latency_shape: LatencyShape,
    /// What each node can send at a time; `None` (the default) is everything at once.
    pub bandwidth: Option<Bandwidth>,
    /// Probability that a datagram is lost, and that a stream's segment of 1,460 bytes is: it is
    /// sent again after 200 ms, doubling. Default 0.
    pub loss: f64,
    /// Probability that a datagram arrives twice. Default 0.
    pub duplication: f64,
    /// Probability that a datagram is held back, by up to `reorder_delay_max`. Default 0.
    pub reorder: f64,
    /// How long a datagram may be held back. Default 20 ms.
    pub reorder_delay_max: Duration,
    /// Probability that one byte of a datagram is changed on the way. Default 0. The check in the
    /// envelope lets one in four billion of them through.
    pub corruption: f64,
    /// A stream on which this side's frames cannot be delivered for this long ends for this side.
    /// Default 15 s.
    pub stream_timeout: Duration,
}

/// How one-way delays spread over their range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatencyShape {
    /// Nearly all are short and a few very long: the range times the 16th power of an even draw.
    /// Half of them are within a 65,000th of the shortest, one in 24 is in the upper half.
    HeavyTailed,
    /// Evenly.
    #[default]
    Uniform,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(200),
            latency_max: Duration::from_millis(1),
            latency_shape: LatencyShape::Uniform,
            bandwidth: None,
            loss: 0.0,
            duplication: 0.0,
            reorder: 0.0,
            reorder_delay_max: Duration::from_millis(20),
            corruption: 0.0,
            stream_timeout: Duration::from_secs(15),
        }
    }
}
