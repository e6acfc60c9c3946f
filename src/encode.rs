//! Exposition formats: each turns the samples of a pass into the bytes of a response.

mod besides;
pub mod compress;
mod heads;
pub(crate) mod lines;
pub mod name;
pub mod negotiate;
pub mod openmetrics;
pub mod protobuf;
pub mod text;

use crate::metric::Sink;
use name::Scheme;

/// A sink whose output is the body of a response.
pub trait Encoder: Sink + Send {
    /// Starts a new page, with names escaped by `scheme`; the buffers of the last one are kept.
    fn clear(&mut self, scheme: Scheme);

    /// Ends the page and shows it; whoever takes it away leaves room for the next one.
    fn finish(&mut self) -> &mut Vec<u8>;
}

/// What a page is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// Prometheus's text.
    #[default]
    Text,
    /// OpenMetrics' text.
    OpenMetrics,
    /// Prometheus's protocol buffers, each family behind its length.
    Protobuf,
}

impl Syntax {
    /// A new encoder.
    pub fn encoder(self) -> Box<dyn Encoder> {
        match self {
            Self::Text => Box::<text::TextEncoder>::default(),
            Self::OpenMetrics => Box::<openmetrics::OpenMetricsEncoder>::default(),
            Self::Protobuf => Box::<protobuf::ProtobufEncoder>::default(),
        }
    }
}

/// Hashes of the names of all families of a pass, in their order.
#[derive(Debug, Default)]
struct Families(Vec<u64>);

impl Families {
    /// A word at a time: each family of each pass is hashed. Who makes two names of text files that have one hash makes
    /// nothing but the refusal of the second.
    fn hash(name: &str) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(ODD);
        let (words, rest) = name.as_bytes().as_chunks::<8>();
        let last = rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        let length = (name.len() as u64).wrapping_mul(ODD);
        mix(words.iter().fold(length, |hash, word| mix(hash, u64::from_le_bytes(*word))), last)
    }

    fn push(&mut self, name: &str) {
        self.0.push(Self::hash(name));
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&Self::hash(name))
    }
}

/// The unit that a family's name ends with. The base units of Prometheus and OpenMetrics, and no others.
pub(crate) fn unit(name: &str) -> Option<&'static str> {
    const UNITS: [&str; 11] = [
        "seconds", "bytes", "ratio", "celsius", "volts", "amperes", "joules", "watts", "hertz", "meters",
        "grams",
    ];
    let (_, last) = name.rsplit_once('_')?;
    UNITS.into_iter().find(|unit| *unit == last)
}
