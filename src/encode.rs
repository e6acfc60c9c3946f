//! Exposition formats: each turns the samples of a pass into the bytes of a response.

pub mod text;
