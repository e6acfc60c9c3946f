//! Metrics by OTLP: whether and how, by configuration and environment; and a pass as packed requests.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>.

pub(super) mod post;
mod request;

use super::conventions::{self, SCHEMA};
use super::line::lines;
use super::pass::Pass;
use super::queue::Record;
use super::resource::Attributes;
use crate::client;
use crate::encode::compress::{Coding, Compressor};
use crate::otlp::{METRICS, Options as Connection, OtlpError, Signal, Variable};
use post::{GZIP, How, Post};
use prost::Message;
use request::Builder;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Points of one request: receivers take 4 MiB unpacked, and few points have more than 500 bytes.
const POINTS_MAX: usize = 5000;

/// Options of metrics by OTLP. Whom to trust, headers and the time-out are those of the top level's `otlp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether metrics are sent; they are too where `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` says where to.
    pub enabled: bool,
    /// The address without the signal's path; that of `otlp` without it.
    pub endpoint: Option<String>,
    /// How requests are sent; over HTTP without it.
    pub protocol: Option<Protocol>,
    /// How requests are packed; by gzip without it.
    pub compression: Option<Compression>,
    /// What totals say: all since their start without it.
    pub temporality: Option<Temporality>,
    /// What metrics are called.
    pub names: Names,
    /// What the resource says besides what is found out; it stands over that.
    pub attributes: BTreeMap<String, String>,
}

/// A form of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// Protocol buffers over HTTP.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// By gzip.
    #[default]
    Gzip,
    /// Not at all.
    None,
}

/// What totals say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// All since the start.
    #[default]
    Cumulative,
    /// What came since the last request.
    Delta,
}

/// What metrics are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// As on the page.
    #[default]
    Prometheus,
    /// By OpenTelemetry's semantic conventions, where they have a name.
    Otel,
}

impl Options {
    /// What is wrong, by its key, if anything is.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        client::check(endpoint).map_err(|e| ("endpoint".to_owned(), e.to_string()))
    }

    /// Whether anything is to be sent.
    pub(super) fn is_on(&self, connection: &Connection, variable: Variable<'_>) -> bool {
        wanted((METRICS, self.enabled), connection, variable)
    }

    /// What a request is made of and sent by.
    pub(super) fn start(
        &self,
        connection: &Connection,
        variable: Variable<'_>,
        resource: Attributes,
    ) -> Result<(Form, Post), OtlpError> {
        let preference = variable("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE").unwrap_or_default();
        let temporality = self.temporality.unwrap_or(match preference.trim().to_lowercase().as_str() {
            "delta" | "lowmemory" => Temporality::Delta,
            _ => Temporality::Cumulative,
        });
        let how = How {
            signal: METRICS,
            key: "export.otlp.endpoint",
            endpoint: self.endpoint.as_deref(),
            protocol: self.protocol,
            compression: self.compression,
        };
        let (post, packing) = how.start(connection, variable)?;
        let form =
            Form { resource, temporality, names: self.names, packing, compressor: Compressor::default() };
        Ok((form, post))
    }
}

/// Whether a signal is to be sent that is switched on, or not, by the configuration: the environment may switch it off, and on
/// where it names an address of its own or the exporter.
pub(super) fn wanted(
    (signal, enabled): (Signal, bool),
    connection: &Connection,
    variable: Variable<'_>,
) -> bool {
    let said = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let exporter = said(&format!("OTEL_{}_EXPORTER", signal.name().to_uppercase()));
    let off = said("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
        || exporter.as_deref() == Some("none");
    let own = said(&format!("{}_ENDPOINT", signal.variable())).is_some();
    let asked = exporter.is_some_and(|v| v.split(',').any(|v| v.trim() == "otlp"))
        && (connection.endpoint.is_some() || said("OTEL_EXPORTER_OTLP_ENDPOINT").is_some());
    !off && (enabled || own || asked)
}

/// Makes records of passes.
pub(super) struct Form {
    resource: Attributes,
    temporality: Temporality,
    names: Names,
    /// What bodies are.
    packing: &'static str,
    compressor: Compressor,
}

/// A request as a record of this form; none if it cannot be packed, for then nobody can send it.
pub(super) fn packed(
    compressor: &mut Compressor,
    form: &'static str,
    (request, points): (&impl Message, usize),
) -> Option<Record> {
    let coding = if form == GZIP { Coding::Gzip } else { Coding::Identity };
    let body = compressor.compress(coding, &request.encode_to_vec()).ok()?;
    Some(Record { body, points: points as u64, form })
}

impl super::Form for Form {
    fn records(&mut self, pass: &Pass) -> Vec<Record> {
        let (lines, schema) = match self.names {
            Names::Prometheus => (lines(pass), ""),
            Names::Otel => (conventions::convert(lines(pass)), SCHEMA),
        };
        let how = (self.temporality, schema);
        let (mut out, compressor, form) = (Vec::new(), &mut self.compressor, self.packing);
        // Each is packed before the next is made: a request takes much more room as what it is made of.
        let pack = |request: &_, points| out.extend(packed(compressor, form, (request, points)));
        Builder::new(&self.resource, how, pass.before_millis, (POINTS_MAX, pack)).build(&lines);
        out
    }
}

#[cfg(test)]
mod tests;
