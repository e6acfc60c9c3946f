//! Which names a family of applications cannot have on a page, because others have them.

use crate::collect::later::is_later;
use crate::encode::name::{Of, Scheme};
use crate::metric::{Kind, Sink};

/// What the names of a family's series have behind that of the family.
pub(super) fn parts_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Histogram => &["_bucket", "_sum", "_count"],
        Kind::Summary => &["_sum", "_count"],
        _ => &[],
    }
}

/// Whether another collector has the name, or one that this family's series would have, or may have it later.
pub(super) fn is_taken(out: &dyn Sink, name: &str, kind: Kind) -> bool {
    is_later(&Scheme::Underscores.escape(name, Of::Family))
        || out.is_taken(name, kind)
        || parts_of(kind).iter().any(|part| out.has_family(&format!("{name}{part}")))
}
