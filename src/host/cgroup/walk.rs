//! The walk over the directories of control groups, level by level.

use crate::host::tree::gone;
use crate::host::{HostError, counted};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// More groups than this are not even counted: the walk itself must end.
const WALK_COUNT_MAX: usize = 100_000;

/// The groups below `roots`, a group that is in several once; and how many were left out.
pub(super) fn groups(
    roots: &[&Path],
    depth_max: usize,
    count_max: usize,
) -> Result<(Vec<String>, usize), HostError> {
    let (mut kept, mut cut) = (Vec::new(), 0);
    if roots.is_empty() {
        return Ok((kept, cut));
    }
    // A level's paths without a slash at the end: the root is empty.
    let mut level = BTreeSet::from([String::new()]);
    for depth in 0..=depth_max {
        for path in &level {
            if kept.len() < count_max {
                kept.push(if path.is_empty() { "/".to_owned() } else { path.clone() });
            } else {
                cut += 1;
            }
        }
        if depth == depth_max || kept.len() + cut > WALK_COUNT_MAX {
            break;
        }
        let mut next = BTreeSet::new();
        for root in roots {
            for path in &level {
                below(root, path, &mut next)?;
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    Ok((kept, cut))
}

/// Adds the groups that are directly below `path`; one that has gone, or that only another
/// hierarchy has, has none.
fn below(root: &Path, path: &str, out: &mut BTreeSet<String>) -> Result<(), HostError> {
    let directory = root.join(path.trim_start_matches('/'));
    // A directory has a link from its parent, one from itself, and one from each directory in it. To list the scores of files
    // of a group that has none below it would cost more than to read some of them. (1 is a file system that does not
    // count.)
    if counted::metadata(&directory).is_ok_and(|meta| meta.nlink() == 2) {
        return Ok(());
    }
    let listed = counted::entries(&directory, |entry| {
        if entry.kind.is_dir() {
            out.insert(format!("{path}/{}", entry.name));
        }
    });
    match listed {
        Err(e) if !gone(&e) => Err(HostError::read(&directory, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_level_by_level_and_those_over_the_limit_are_counted() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for path in ["z", "a/x/deep", "m"] {
            std::fs::create_dir_all(a.path().join(path)).unwrap();
        }
        std::fs::create_dir_all(b.path().join("a/y")).unwrap();
        std::fs::write(a.path().join("memory.stat"), "").unwrap();
        let roots = [a.path(), b.path()];
        let all = ["/", "/a", "/m", "/z", "/a/x", "/a/y", "/a/x/deep"];
        assert_eq!(groups(&roots, 9, 9).unwrap(), (all.map(String::from).to_vec(), 0));
        assert_eq!(groups(&roots, 2, 9).unwrap(), (all[..6].iter().map(|&s| s.into()).collect(), 0));
        assert_eq!(groups(&roots, 9, 3).unwrap(), (all[..3].iter().map(|&s| s.into()).collect(), 4));
        assert_eq!(groups(&roots, 0, 9).unwrap(), (vec!["/".into()], 0));
    }
}
