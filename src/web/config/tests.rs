//! The file's cases.
