//! What must hold for any bytes, once for all fuzz targets.

pub mod checks;
pub mod node;
