//! When the code that only the start needed goes from memory: after the first pass, and again from time to time.

use crate::host::footprint::{self, OwnCode};

/// So many passes bring back what passes need of a part.
const LEARNS: u32 = 8;
/// After so many it is done again, part by part: what a rare pass needed once (another format) goes too.
const AGAIN: u32 = 1000;

/// What is to be done after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// All goes.
    LetGo,
    /// This part comes back page by page, and the one before is done with.
    Learn(usize),
    /// The last part is done with.
    Settle(usize),
    Nothing,
}

/// Keeps the program small for as long as it runs.
#[derive(Debug)]
pub(super) struct Footprint {
    code: OwnCode,
    /// Passes since it was last begun.
    passes: u32,
    scrapers: u64,
    failed: bool,
}

impl Footprint {
    pub(super) fn new() -> Self {
        Self { code: OwnCode::find(), passes: 0, scrapers: 0, failed: false }
    }

    /// To be called after each pass, when those who waited for it have their page; `scrapers` counts the reloads.
    pub(super) fn after_pass(&mut self, scrapers: u64) {
        if self.failed {
            return;
        }
        let code = &self.code;
        let done = match next(&mut self.passes, scrapers != self.scrapers, code.parts()) {
            Step::LetGo => code.let_go(),
            Step::Learn(0) => {
                footprint::return_freed_memory();
                code.let_go_by_page(0)
            }
            Step::Learn(part) => code.settle(part - 1).and_then(|()| code.let_go_by_page(part)),
            Step::Settle(part) => code.settle(part),
            Step::Nothing => Ok(()),
        };
        self.scrapers = scrapers;
        if let Err(e) = done {
            // It costs memory and nothing else: it is not tried again.
            self.failed = true;
            tracing::debug!(error = %e, "the code that only the start needed stays in memory");
        }
    }
}

/// What is due after a pass, of which there were `passes` since the beginning.
fn next(passes: &mut u32, reloaded: bool, parts: usize) -> Step {
    if reloaded {
        *passes = 0;
    } else if *passes >= AGAIN {
        *passes = 1;
    }
    let (turn, rest) = (*passes / LEARNS, *passes % LEARNS);
    let part = usize::try_from(turn).unwrap_or(usize::MAX);
    *passes += 1;
    match rest {
        0 if turn == 0 => Step::LetGo,
        1 if part < parts => Step::Learn(part),
        1 if part == parts => Step::Settle(part - 1),
        _ => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_goes_after_the_first_pass_then_part_by_part_and_again_after_a_reload_or_many_passes() {
        let mut passes = 0;
        let mut steps = |count: u32, reloaded: bool| -> Vec<(u32, Step)> {
            let all = (0..count).map(|pass| (pass, next(&mut passes, reloaded && pass == 0, 2)));
            all.filter(|(_, step)| *step != Step::Nothing).collect()
        };
        let round = [
            (0, Step::LetGo),
            (1, Step::Learn(0)),
            (1 + LEARNS, Step::Learn(1)),
            (1 + 2 * LEARNS, Step::Settle(1)),
        ];
        // Those that follow leave out the first step: it would bring back much at once.
        let later = [1, 2, 3].map(|at: usize| (round[at].0 + AGAIN - 1, round[at].1));
        assert_eq!(steps(AGAIN + 2 * LEARNS + 1, false), [&round[..], &later].concat());
        assert_eq!(steps(2 + LEARNS, true), round[..3], "a reload needed much that passes do not");
        assert_eq!(steps(2 + 2 * LEARNS, true), round, "and one while that was going on");
    }

    #[test]
    fn pages_are_the_same_whatever_is_mapped() {
        let mut footprint = Footprint::new();
        let write = || serde_json::to_string(&[1.5, 2.5]).unwrap();
        let before = write();
        for _ in 0..100 {
            footprint.after_pass(0);
            assert_eq!(write(), before);
        }
        assert!(!footprint.failed);
    }
}
