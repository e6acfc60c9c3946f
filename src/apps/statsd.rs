//! Metrics by StatsD's protocol and DogStatsD's: where they come in, and what may be in them.

pub mod engine;
mod glob;
mod kept;
pub mod line;
pub mod listener;
pub mod mapping;
pub mod metrics;
mod name;
mod quantiles;
mod template;

use crate::serve::addresses::Addresses;
use bytesize::ByteSize;
use mapping::Mapping;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Options of the StatsD receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where UDP is received; nowhere if not given.
    pub udp: Option<Addresses>,
    /// The path of a datagram socket (AF_UNIX); none if not given.
    pub unix: Option<PathBuf>,
    /// The permissions of that socket's file, in octal digits: who may write to it may send.
    pub unix_mode: String,
    /// What the kernel keeps of datagrams that were not read yet, of each socket; its default if not given.
    pub receive_buffer: Option<ByteSize>,
    /// A mapping file of statsd_exporter.
    pub mapping_file: Option<PathBuf>,
    /// The forms of tags that are understood.
    pub tags: Vec<Tags>,
    /// The label `job` of all that comes.
    pub job: String,
    /// The label `instance` of all that comes; none if empty.
    pub instance: String,
    /// How long the values of a set are collected until their number is shown.
    #[serde(with = "humantime_serde")]
    pub set_interval: Duration,
    /// What quantiles, sets and times to live may take together.
    pub memory: ByteSize,
    /// What the mapping file says; whoever reads the configuration reads it too.
    #[serde(skip)]
    pub mapping: Arc<Mapping>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            udp: None,
            unix: None,
            unix_mode: "660".into(),
            receive_buffer: None,
            mapping_file: None,
            tags: vec![Tags::Dogstatsd, Tags::Influxdb, Tags::Librato, Tags::Signalfx],
            job: "statsd".into(),
            instance: String::new(),
            set_interval: Duration::from_secs(10),
            memory: ByteSize::mib(8),
            mapping: Arc::default(),
        }
    }
}

impl Options {
    /// Whether anything is received.
    pub fn any(&self) -> bool {
        self.udp.is_some() || self.unix.is_some()
    }

    /// What is wrong with the options, by key, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.mode().is_none() {
            return Err(("unix_mode".into(), "three octal digits, such as '660'".into()));
        }
        if self.set_interval < Duration::from_secs(1) {
            return Err(("set_interval".into(), "at least 1s".into()));
        }
        if self.job.is_empty() {
            return Err(("job".into(), "a name that tells these series from others".into()));
        }
        Ok(())
    }

    /// The permissions of the socket's file.
    fn mode(&self) -> Option<u32> {
        u32::from_str_radix(&self.unix_mode, 8).ok().filter(|mode| *mode <= 0o777)
    }
}

/// A form of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tags {
    /// `name:1|c|#tag:value,…`
    Dogstatsd,
    /// `name,tag=value,…:1|c`
    Influxdb,
    /// `name#tag=value,…:1|c`
    Librato,
    /// `name[tag=value,…]:1|c`
    Signalfx,
}
