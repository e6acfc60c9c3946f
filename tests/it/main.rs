//! The one binary of all integration tests; each module is one subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::float_cmp,
    reason = "a test that meets the unexpected is to fail at once, and says aloud what it skips"
)]

mod access;
mod asking;
mod benchmarks;
mod brakes;
mod by_hand;
mod certificates;
mod cgroups;
mod chaos;
mod containers;
mod corrupt;
mod cost;
mod crash;
mod dead_mount;
mod devices;
mod ending;
mod export;
mod export_tls;
mod fake;
mod formats;
mod forward;
mod health;
mod hooks;
mod hostile;
mod judging;
mod kernel;
mod kit_python;
mod kit_rust;
mod kubernetes_api;
mod layers;
mod live;
mod machine;
mod manual;
mod monitor;
mod names;
mod one_of_each;
mod options;
mod otlp;
mod outlook;
mod outside;
mod page;
mod parity;
mod pressure;
mod pressure_sockets;
mod process_exporter;
mod process_flags;
mod processes;
mod promql;
mod promtool;
mod protection;
mod receiver;
mod reclaim;
mod rule_tests;
mod scrape_through;
mod services;
mod serving;
mod silence;
mod stack;
mod statsd;
mod textfile;
mod the_loop;
mod tidy;
mod traces;
mod web;
mod web_config;
