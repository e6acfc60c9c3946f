//! Headroom keeps machines out of memory trouble, and proves it.
//!
//! A [`collect`]or reads kernel files through [`host`] and writes samples to a [`metric::Sink`];
//! every output ([`encode`]) is a sink. Rules decide what is wrong; an alert reaches the
//! optimizer, which asks an action for a plan, records the intent, carries it out, measures
//! again and records the outcome. `ARCHITECTURE.md` has the map and who may import whom.

pub mod apps;
pub mod cli;
pub mod client;
pub mod collect;
pub mod config;
pub mod encode;
pub mod export;
pub mod exporter;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod host;
pub mod matching;
pub mod metric;
pub mod monitor;
pub mod optimize;
pub mod otlp;
pub mod promql;
pub mod serve;
pub mod services;
pub mod stack;
#[cfg(target_os = "linux")]
pub mod sys;
#[cfg(not(target_os = "linux"))]
#[path = "sys/elsewhere.rs"]
pub mod sys;
