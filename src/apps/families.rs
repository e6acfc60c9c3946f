//! All families, each by its name and kind: applications need not agree on what a name means, only each with itself.

use super::family::Family;
use crate::metric::Kind;
use std::collections::BTreeMap;

/// The kinds, in the order in which they have their places.
const KINDS: [Kind; 5] = [Kind::Counter, Kind::Gauge, Kind::Untyped, Kind::Histogram, Kind::Summary];

/// Families by kind and name.
#[derive(Debug, Default)]
pub(super) struct Families([BTreeMap<Box<str>, Family>; 5]);

impl Families {
    fn of(&self, kind: Kind) -> Option<&BTreeMap<Box<str>, Family>> {
        KINDS.iter().zip(&self.0).find_map(|(known, families)| (*known == kind).then_some(families))
    }

    fn of_mut(&mut self, kind: Kind) -> Option<&mut BTreeMap<Box<str>, Family>> {
        KINDS.iter().zip(&mut self.0).find_map(|(known, families)| (*known == kind).then_some(families))
    }

    pub(super) fn get(&self, name: &str, kind: Kind) -> Option<&Family> {
        self.of(kind)?.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str, kind: Kind) -> Option<&mut Family> {
        self.of_mut(kind)?.get_mut(name)
    }

    /// The family of this name and kind; a new one if there is none.
    pub(super) fn get_or_add(
        &mut self,
        name: &str,
        kind: Kind,
        new: impl FnOnce() -> Family,
    ) -> Option<&mut Family> {
        Some(self.of_mut(kind)?.entry(name.into()).or_insert_with(new))
    }

    /// Whether an application uses the name for another kind.
    pub(super) fn has_other(&self, name: &str, kind: Kind, application: u32) -> bool {
        let others = KINDS.iter().filter(|other| **other != kind).filter_map(|other| self.get(name, *other));
        others.into_iter().any(|family| family.keys_of(application).next().is_some())
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&str, &mut Family) -> bool) {
        for families in &mut self.0 {
            families.retain(|name, family| stays(name, family));
        }
    }

    /// All of them, with their names; those of one kind are together.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.0.iter().flatten().map(|(name, family)| (&**name, family))
    }

    /// Those of one name that can be one family on a page: numbers of whatever kind, in the order of kinds.
    pub(super) fn numbers<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f Family> {
        let kinds = KINDS.iter().filter(|kind| is_number(**kind));
        kinds.filter_map(move |kind| self.get(name, *kind))
    }
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Counter | Kind::Gauge | Kind::Untyped)
}

/// Of families of one name those that are shown, and the others. All numbers go together, and so do all histograms and all
/// summaries; those are shown that have most series.
pub(super) fn shown<'f>(same: &[(&str, &'f Family)]) -> (Vec<&'f Family>, Vec<&'f Family>) {
    let group = |kind| if is_number(kind) { Kind::Untyped } else { kind };
    let series = |kind| {
        let of_group = same.iter().filter(|(_, family)| group(family.kind) == kind);
        of_group.map(|(_, family)| family.series.len()).sum::<usize>()
    };
    // Of equals the last counts.
    let most = [Kind::Summary, Kind::Histogram, Kind::Untyped].into_iter().max_by_key(|kind| series(*kind));
    same.iter().map(|(_, family)| *family).partition(|family| Some(group(family.kind)) == most)
}

/// The kind that several families have together.
pub(super) fn kind_of(families: &[&Family]) -> Kind {
    match families {
        [one] => one.kind,
        _ => Kind::Untyped,
    }
}
