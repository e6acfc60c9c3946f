//! How much applications may have held for them, and by what name what is over is counted.

use bytesize::ByteSize;
use serde::Deserialize;

/// How much may be held. What is over is refused and counted; nothing of what is held makes room for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Applications at once: pairs of `job` and `instance`.
    pub applications: usize,
    /// Series of all applications, as Prometheus counts them: each bucket of a histogram is one.
    pub series: usize,
    /// Series of one application.
    pub series_per_application: usize,
    /// Labels of one series.
    pub labels: usize,
    /// The longest name of a family or a label, in bytes.
    pub name_bytes: usize,
    /// The longest value of a label, in bytes.
    pub value_bytes: usize,
    /// What is held of all applications, with what it takes to find it again.
    pub memory: ByteSize,
    /// What is held of one application.
    pub memory_per_application: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            applications: 100,
            series: 100_000,
            series_per_application: 20_000,
            labels: 40,
            name_bytes: 256,
            value_bytes: 1024,
            memory: ByteSize::mib(32),
            memory_per_application: ByteSize::mib(8),
        }
    }
}

impl Limits {
    /// The most that `labels` may be.
    pub const LABELS_MAX: usize = 256;

    /// What is wrong with the limits, by key, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        let bad = |key: &str, why: String| Err((key.to_owned(), why));
        if self.labels > Self::LABELS_MAX {
            return bad("labels", format!("at most {}", Self::LABELS_MAX));
        }
        for (key, bytes) in [("name_bytes", self.name_bytes), ("value_bytes", self.value_bytes)] {
            if bytes > usize::from(u16::MAX) {
                return bad(key, format!("at most {}", u16::MAX));
            }
        }
        Ok(())
    }

    /// How many names of labels one application may bring into a family: those of a few kinds of series, and not all that
    /// the family can have, for others have some as well.
    pub(super) fn names_per_application(&self) -> usize {
        (2 * self.labels).min(Self::LABELS_MAX)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        usize::try_from(self.memory.as_u64()).unwrap_or(usize::MAX)
    }

    pub(super) fn memory_bytes_per_application(&self) -> usize {
        usize::try_from(self.memory_per_application.as_u64()).unwrap_or(usize::MAX)
    }
}

/// Why a point is not held. Each is a value of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// More applications than may be.
    #[error("there are too many applications (applications.limits.applications)")]
    Applications,
    /// More series of this application than may be.
    #[error("the application has too many series (applications.limits.series_per_application)")]
    ApplicationSeries,
    /// More series than may be.
    #[error("there are too many series (applications.limits.series)")]
    Series,
    /// More memory for this application than may be.
    #[error("the application holds too much memory (applications.limits.memory_per_application)")]
    ApplicationMemory,
    /// More memory than may be.
    #[error("all applications hold too much memory (applications.limits.memory)")]
    Memory,
    /// More labels than may be, or more names of labels than one family can have.
    #[error("there are too many labels (applications.limits.labels)")]
    Labels,
    /// A name that is empty, too long, or no name.
    #[error("a name is empty or too long (applications.limits.name_bytes)")]
    Name,
    /// A value of a label that is too long.
    #[error("the value of a label is too long (applications.limits.value_bytes)")]
    LabelValue,
    /// Another kind than the family of this name has.
    #[error("the name belongs to a family of another kind")]
    Kind,
    /// A point from before the one that is held.
    #[error("the point is older than the last one, or overlaps it")]
    Old,
    /// More buckets than a histogram may have, or buckets that contradict each other.
    #[error("the histogram has too many buckets, or buckets that make no sense")]
    Buckets,
    /// A count that goes down, or is none.
    #[error("a count is negative, infinite or not a number")]
    Number,
    /// What is held before and what comes now cannot be told apart.
    #[error("the aggregation temporality is neither delta nor cumulative")]
    Temporality,
    /// Text that is not UTF-8, or a message that ends too soon.
    #[error("the point could not be read")]
    Malformed,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Applications,
        Self::ApplicationSeries,
        Self::Series,
        Self::ApplicationMemory,
        Self::Memory,
        Self::Labels,
        Self::Name,
        Self::LabelValue,
        Self::Kind,
        Self::Old,
        Self::Buckets,
        Self::Number,
        Self::Temporality,
        Self::Malformed,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applications => "applications",
            Self::ApplicationSeries => "application_series",
            Self::Series => "series",
            Self::ApplicationMemory => "application_memory",
            Self::Memory => "memory",
            Self::Labels => "labels",
            Self::Name => "name",
            Self::LabelValue => "label_value",
            Self::Kind => "kind",
            Self::Old => "old",
            Self::Buckets => "buckets",
            Self::Number => "number",
            Self::Temporality => "temporality",
            Self::Malformed => "malformed",
        }
    }
}
