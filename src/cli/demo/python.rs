//! The sample application in Python: its files, which this program has along, and the interpreter that runs it.

use crate::stack::supervise::find;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The oldest Python that the package `headroom_kit` is written for.
const OLDEST: (u32, u32) = (3, 9);
/// The application; it finds the package beside itself.
pub(super) const SCRIPT: &str = "demo_cache.py";

/// Names of files, and what is in them.
const FILES: [(&str, &str); 18] = [
    (SCRIPT, include_str!("../../../clients/python/examples/demo_cache.py")),
    ("headroom_kit/__init__.py", include_str!("../../../clients/python/src/headroom_kit/__init__.py")),
    ("headroom_kit/address.py", include_str!("../../../clients/python/src/headroom_kit/address.py")),
    ("headroom_kit/allocator.py", include_str!("../../../clients/python/src/headroom_kit/allocator.py")),
    ("headroom_kit/cache.py", include_str!("../../../clients/python/src/headroom_kit/cache.py")),
    ("headroom_kit/caller.py", include_str!("../../../clients/python/src/headroom_kit/caller.py")),
    ("headroom_kit/exposition.py", include_str!("../../../clients/python/src/headroom_kit/exposition.py")),
    ("headroom_kit/forked.py", include_str!("../../../clients/python/src/headroom_kit/forked.py")),
    ("headroom_kit/kit.py", include_str!("../../../clients/python/src/headroom_kit/kit.py")),
    ("headroom_kit/lazy.py", include_str!("../../../clients/python/src/headroom_kit/lazy.py")),
    ("headroom_kit/on_signal.py", include_str!("../../../clients/python/src/headroom_kit/on_signal.py")),
    ("headroom_kit/otel.py", include_str!("../../../clients/python/src/headroom_kit/otel.py")),
    ("headroom_kit/part.py", include_str!("../../../clients/python/src/headroom_kit/part.py")),
    ("headroom_kit/pressure.py", include_str!("../../../clients/python/src/headroom_kit/pressure.py")),
    ("headroom_kit/py.typed", include_str!("../../../clients/python/src/headroom_kit/py.typed")),
    ("headroom_kit/reclaim.py", include_str!("../../../clients/python/src/headroom_kit/reclaim.py")),
    ("headroom_kit/serve.py", include_str!("../../../clients/python/src/headroom_kit/serve.py")),
    ("headroom_kit/sizes.py", include_str!("../../../clients/python/src/headroom_kit/sizes.py")),
];

/// The interpreter, if there is one that is new enough.
pub(super) fn interpreter() -> Result<PathBuf> {
    let remedy = "Debian, Ubuntu: apt-get install python3";
    let Some(python) = find(&["python3"], &std::env::var_os("PATH").unwrap_or_default()) else {
        bail!("`--python` needs python3, and there is none on the PATH ({remedy})");
    };
    let mut command = std::process::Command::new(&python);
    command.args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]);
    let output = command.output().with_context(|| format!("cannot start {}", python.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match version(&said) {
        Some(found) if output.status.success() && found >= OLDEST => Ok(python),
        Some(_) if output.status.success() => {
            let (major, minor) = OLDEST;
            bail!("`--python` needs Python {major}.{minor} or newer, and {} is {said}", python.display())
        }
        _ => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("{} does not work: {}: {why}", python.display(), output.status)
        }
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Writes the files below a directory; the application's path.
pub(super) fn write(directory: &Path) -> Result<PathBuf> {
    for (name, text) in FILES {
        let path = directory.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(directory.join(SCRIPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_of_the_package_are_along() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/src");
        let listing = std::fs::read_dir(package.join("headroom_kit")).unwrap();
        let names = listing.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut there: Vec<String> =
            names.filter(|name| name != "__pycache__").map(|name| format!("headroom_kit/{name}")).collect();
        there.sort();
        let along: Vec<&str> = FILES.iter().map(|(name, _)| *name).filter(|name| *name != SCRIPT).collect();
        assert_eq!(along, there);
        let dir = tempfile::tempdir().unwrap();
        assert!(write(dir.path()).unwrap().is_file());
        for name in along {
            let (copy, original) = (dir.path().join(name), package.join(name));
            assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(original).unwrap());
        }
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(version("3.10"), Some((3, 10)));
        assert!(version("3.10") > version("3.9"));
        assert_eq!(version("three"), None);
    }
}
