//! Headroom keeps machines out of memory trouble, and proves it.
//!
//! A [`collect`]or reads kernel files through [`host`] and writes samples to a [`metric::Sink`];
//! every output ([`encode`]) is a sink. Rules decide what is wrong; an alert reaches the
//! optimizer, which asks an action for a plan, records the intent, carries it out, measures
//! again and records the outcome. `ARCHITECTURE.md` has the map and who may import whom.
//!
//! All of that is the feature `app`, which is on by default. An application that takes part links `kit` alone:
//! `headroom = { default-features = false, features = ["kit"] }`.

#[cfg(feature = "kit")]
pub use headroom_kit as kit;

#[cfg(feature = "app")]
pub mod apps;
#[cfg(feature = "app")]
pub mod benchmark;
#[cfg(feature = "app")]
pub mod cli;
#[cfg(feature = "app")]
pub mod client;
#[cfg(feature = "app")]
pub mod collect;
#[cfg(feature = "app")]
pub mod config;
#[cfg(feature = "app")]
pub mod encode;
#[cfg(feature = "app")]
pub mod export;
#[cfg(feature = "app")]
pub mod exporter;
#[cfg(all(feature = "app", any(test, feature = "fuzzing")))]
pub mod fuzzing;
#[cfg(feature = "app")]
pub mod host;
#[cfg(feature = "app")]
pub mod live;
#[cfg(feature = "app")]
pub mod matching;
#[cfg(feature = "app")]
pub mod metric;
#[cfg(feature = "app")]
pub mod monitor;
#[cfg(feature = "app")]
pub mod optimize;
#[cfg(feature = "app")]
pub mod otlp;
#[cfg(feature = "app")]
pub mod promql;
#[cfg(feature = "app")]
pub mod serve;
#[cfg(feature = "app")]
pub mod services;
#[cfg(feature = "app")]
pub mod stack;
#[cfg(all(feature = "app", target_os = "linux"))]
pub mod sys;
#[cfg(all(feature = "app", not(target_os = "linux")))]
#[path = "sys/elsewhere.rs"]
pub mod sys;
