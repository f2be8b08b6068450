//! What must hold for any bytes, once for all fuzz targets.

pub mod checks;
#[cfg(feature = "node")]
pub mod node;
