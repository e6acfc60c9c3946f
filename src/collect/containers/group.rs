//! A group with its names, and which labels the samples of a pass have.

use crate::host::container::Usage;

/// A control group as it is shown.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Its path: cAdvisor's `id`.
    pub id: String,
    /// The container's name, or its id where no name is known; empty where it is no container.
    pub name: String,
    /// The container's image, where a runtime told.
    pub image: String,
    /// The name of the container in its pod.
    pub container: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or its UID where no name is known.
    pub pod: String,
    /// What it uses.
    pub usage: Usage,
    /// The names of the devices of the usage, in their order.
    pub device_names: Vec<String>,
}

type Label = (&'static str, fn(&Group) -> &str);

/// In the order of their names. `id` and `name` are always there.
const LABELS: [Label; 6] = [
    ("container", |g| &g.container),
    ("id", |g| &g.id),
    ("image", |g| &g.image),
    ("name", |g| &g.name),
    ("namespace", |g| &g.namespace),
    ("pod", |g| &g.pod),
];

/// A family has so many labels of its own at most.
const EXTRA_MAX: usize = 2;

/// The labels of a pass: as in cAdvisor, those that any of its groups has a value for. For Prometheus an empty label is the
/// same as none, so a machine without pods need not carry them along.
pub(super) struct Labels {
    used: Vec<Label>,
}

impl Labels {
    pub(super) fn of(groups: &[Group]) -> Self {
        let needed = |&(name, value): &Label| {
            matches!(name, "id" | "name") || groups.iter().any(|group| !value(group).is_empty())
        };
        Self { used: LABELS.into_iter().filter(needed).collect() }
    }

    /// The names, and then those of one family.
    pub(super) fn names(&self, extra: &[&'static str]) -> Vec<&'static str> {
        self.used.iter().map(|(name, _)| *name).chain(extra.iter().copied()).collect()
    }

    /// Hands on the values of a group, and then those of one sample.
    pub(super) fn with_values(&self, group: &Group, extra: &[&str], then: impl FnOnce(&[&str])) {
        let (mut values, mut length) = ([""; LABELS.len() + EXTRA_MAX], 0);
        let all = self.used.iter().map(|(_, value)| value(group)).chain(extra.iter().copied());
        for (place, value) in values.iter_mut().zip(all) {
            *place = value;
            length += 1;
        }
        then(values.get(..length).unwrap_or_default());
    }
}
