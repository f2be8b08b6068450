//! Datagram envelope and stream frames.
