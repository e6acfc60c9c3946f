//! Container boundaries: processes of one group in several containers, or in one and beside it, are touched only where
//! the configuration says so.

use crate::optimize::observe::Member;

/// Why these processes are not one target's to touch; `None` if they are. Each container counts, and so does the host.
pub fn crossed(members: &[Member]) -> Option<String> {
    let first = members.first()?;
    let other = members.iter().find(|m| m.container != first.container)?;
    let place = |m: &Member| match &m.container {
        Some(id) => format!("in container {}", id.chars().take(12).collect::<String>()),
        None => "in no container".to_owned(),
    };
    Some(format!(
        "process {} ({:?}) is {}, process {} ({:?}) is {}; the target's `across_containers` allows it",
        first.pid,
        first.comm,
        place(first),
        other.pid,
        other.comm,
        place(other)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(pid: u32, container: Option<&str>) -> Member {
        let container = container.map(Into::into);
        Member { pid, start_ticks: 1, comm: "c".into(), kernel_thread: false, anon_bytes: None, container }
    }

    #[test]
    fn a_group_lies_within_one_container_or_outside_of_all() {
        let of = |places: &[Option<&str>]| {
            let members: Vec<Member> = places.iter().zip(1..).map(|(c, pid)| member(pid, *c)).collect();
            crossed(&members)
        };
        assert_eq!((of(&[]), of(&[None, None]), of(&[Some("a"), Some("a")])), (None, None, None));
        let why = of(&[Some("0123456789abcdef"), Some("0123456789abcdef"), None]).unwrap();
        assert!(why.contains("process 1") && why.contains("container 0123456789ab,"), "{why}");
        assert!(why.contains("process 3") && why.contains("in no container"), "{why}");
        assert!(of(&[Some("a"), Some("b")]).is_some());
    }
}
