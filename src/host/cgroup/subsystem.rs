//! The controllers of control groups that a kernel has: /proc/cgroups.
//!
//! Source: `Documentation/admin-guide/cgroup-v1/cgroups.rst`.

use crate::host::parse::{ParseError, lines, number};

/// One controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subsystem<'a> {
    /// The name (`memory`).
    pub name: &'a str,
    /// How many groups it has.
    pub groups: u64,
    /// 1 if it may be used, 0 if the kernel was started without it.
    pub enabled: u64,
}

/// The controllers of /proc/cgroups.
pub fn subsystems(text: &str) -> Result<Vec<Subsystem<'_>>, ParseError> {
    const WANT: &str = "a name and three whole numbers";
    lines(text)
        .filter(|(_, line)| !line.starts_with('#'))
        .map(|(n, line)| {
            let mut words = line.split_ascii_whitespace();
            let name = words.next().unwrap_or_default();
            let _hierarchy: u64 = number(words.next(), n, WANT)?;
            let groups = number(words.next(), n, WANT)?;
            Ok(Subsystem { name, groups, enabled: number(words.next(), n, WANT)? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_read_and_a_cut_line_is_named() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t7\t234\t1\n";
        assert_eq!(subsystems(text), Ok(vec![Subsystem { name: "memory", groups: 234, enabled: 1 }]));
        let error = subsystems("memory\t7\t234\n").unwrap_err().to_string();
        assert!(error.starts_with("line 1:"), "{error}");
    }
}
