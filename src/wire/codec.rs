//! Message and bytes.
