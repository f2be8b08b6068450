//! silences
