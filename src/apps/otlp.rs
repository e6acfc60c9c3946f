//! Metrics by OpenTelemetry's protocol: where they come in, and what a request may be.

mod answers;
mod attributes;
pub(crate) mod json;
mod naming;
mod point;
pub mod receiver;
pub mod request;
mod schema;
mod unpack;
pub mod wire;

use crate::serve::addresses::Addresses;
use bytesize::ByteSize;
use serde::Deserialize;
use std::path::PathBuf;

/// Options of the OTLP receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where gRPC is spoken; nowhere if not given.
    pub grpc: Option<Addresses>,
    /// Where HTTP is spoken; nowhere if not given.
    pub http: Option<Addresses>,
    /// exporter-toolkit's web configuration file, for both.
    pub web_config_file: Option<PathBuf>,
    /// A token that every request must carry.
    pub token_file: Option<PathBuf>,
    /// What becomes of names that Prometheus did not always know.
    pub names: Names,
    /// The largest request, unpacked.
    pub body_max: ByteSize,
    /// What requests that are being received may hold together; more are told to come again.
    pub in_flight_max: ByteSize,
    /// Connections at once, by gRPC and by HTTP each.
    pub connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grpc: None,
            http: None,
            web_config_file: None,
            token_file: None,
            names: Names::default(),
            body_max: ByteSize::mib(4),
            in_flight_max: ByteSize::mib(16),
            connections: 64,
        }
    }
}

impl Options {
    /// Whether anything is received.
    pub fn any(&self) -> bool {
        self.grpc.is_some() || self.http.is_some()
    }

    /// What is wrong with the options, by key, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.body_max > self.in_flight_max {
            return Err(("in_flight_max".into(), "at least body_max".into()));
        }
        Ok(())
    }
}

/// What becomes of names beyond letters, digits and underscores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// Other characters are underscores, on every page: one name, whoever reads it.
    #[default]
    Underscores,
    /// Names stay as they are for readers that know them, and are escaped for others.
    Utf8,
}
