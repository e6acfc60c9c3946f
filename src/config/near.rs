//! What somebody meant who wrote a name that there is not.

/// A name may differ from a known one by so many edits to be taken for a slip.
const SLIP_EDITS_MAX: usize = 3;

/// What is said of a name that is none of the known ones.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown name `{name}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown name `{name}`; none are configured"),
        None => format!("unknown name `{name}`; there are {}", known.join(", ")),
    }
}

/// The known name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|k| (strsim::damerau_levenshtein(name, k), k));
    let (edits, near) = scored.min_by_key(|(edits, _)| *edits)?;
    // A name that holds the other (`listen_address` for `listen`) is as good as a slip of a few letters.
    let contains = name.len() > 1 && (name.starts_with(near) || near.starts_with(name));
    (contains || edits <= SLIP_EDITS_MAX.min(name.len() / 2)).then_some(near)
}
