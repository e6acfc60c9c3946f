//! What stands before a family's samples, and what all of them begin with. Nearly all families of a page come again on the
//! next one, in the same order: then it is compared and copied, and not made again.

use super::Families;
use super::lines::escape;
use super::name::{Of, Scheme, is_legacy};
use crate::metric::{Desc, Kind};
use std::ops::Range;

/// So many families are kept from page to page; text files may bring any number.
const KEPT_MAX: usize = 4096;

/// Writes the lines before the samples of a family; its name is given as it is written.
pub(super) type Write = fn(&mut Head, &str, &Desc<'_>);

/// A family, ready to be copied. All its text lies in one piece: a page is written when nothing of it is in a processor's
/// caches any more, and then each piece counts more than each byte.
#[derive(Debug)]
pub(super) struct Head {
    /// The lines before the samples, the lead, and the labels behind the first one, each as `,name="`.
    bytes: Vec<u8>,
    lead: Range<usize>,
    /// Where labels behind the first one end.
    label_ends: Vec<usize>,
    pub(super) label_count: usize,
    /// How long the name is, as it is written, and where the help stands.
    name: usize,
    help: Range<usize>,
    pub(super) kind: Kind,
    /// Whether the name needs no quotes anywhere.
    pub(super) plain: bool,
    /// Whether labels without a value are left out.
    pub(super) sparse: bool,
    /// Whether names and help stand here as they were given, so that a description can be known again.
    as_given: bool,
    pub(super) hash: u64,
}

impl Head {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            lead: 0..0,
            label_ends: Vec::new(),
            label_count: 0,
            name: 0,
            help: 0..0,
            kind: Kind::Untyped,
            plain: true,
            sparse: false,
            as_given: false,
            hash: 0,
        }
    }

    fn part(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The lines before the samples.
    pub(super) fn text(&self) -> &[u8] {
        self.part(0..self.lead.start)
    }

    /// What a sample begins with: the name and, if there are labels, all up to the first one's value.
    pub(super) fn lead(&self) -> &[u8] {
        self.part(self.lead.clone())
    }

    /// The name as it is written.
    pub(super) fn name(&self) -> &[u8] {
        self.part(self.lead.start..self.lead.start + self.name)
    }

    /// The labels in their order, each as `name="` behind a byte that is not to be written: they begin with another one.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.lead().get(self.name..).filter(|_| self.label_count > 0);
        first.into_iter().chain(self.more_labels())
    }

    /// Those behind the first one, each as `,name="`.
    pub(super) fn more_labels(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(self.lead.end).chain(self.label_ends.iter().copied());
        starts.zip(&self.label_ends).map(|(start, end)| self.part(start..*end))
    }

    /// Whether this was made of the same description.
    fn is_of(&self, desc: &Desc<'_>) -> bool {
        let is = |(ours, label): (&[u8], &&str)| {
            ours.get(1..).and_then(|rest| rest.strip_suffix(b"=\"")) == Some(label.as_bytes())
        };
        self.as_given
            && (self.kind, self.sparse, self.label_count) == (desc.kind, desc.sparse, desc.labels.len())
            && self.name() == desc.name.as_bytes()
            && self.part(self.help.clone()) == desc.help.as_bytes()
            && self.labels().zip(desc.labels).all(is)
    }

    /// Makes it anew; its memory is used again.
    fn describe(&mut self, desc: &Desc<'_>, scheme: Scheme, write: Write) {
        let name = scheme.escape(desc.name, Of::Family);
        self.as_given = is_legacy(desc.name, Of::Family);
        self.plain = self.as_given || is_legacy(&name, Of::Family);
        (self.kind, self.sparse, self.hash) = (desc.kind, desc.sparse, Families::hash(&name));
        self.bytes.clear();
        write(self, &name, desc);
        self.as_given &= self.help.len() == desc.help.len();
        self.lead = self.bytes.len()..self.bytes.len();
        self.name = name.len();
        self.bytes.extend_from_slice(name.as_bytes());
        self.label_count = desc.labels.len();
        if desc.labels.is_empty() {
            self.bytes.push(b' ');
        }
        self.label_ends.clear();
        for (at, label) in desc.labels.iter().enumerate() {
            self.as_given &= is_legacy(label, Of::Label);
            self.bytes.push(if at == 0 { b'{' } else { b',' });
            push_name(&mut self.bytes, &scheme.escape(label, Of::Label), Of::Label);
            self.bytes.extend_from_slice(b"=\"");
            if at == 0 {
                self.lead.end = self.bytes.len();
            } else {
                self.label_ends.push(self.bytes.len());
            }
        }
        self.lead.end = self.lead.end.max(self.lead.start + self.name + 1);
    }

    /// Writes `# WORD name ` before the samples.
    pub(super) fn remark(&mut self, word: &[u8], name: &str) {
        self.bytes.extend_from_slice(b"# ");
        self.bytes.extend_from_slice(word);
        self.bytes.push(b' ');
        push_name(&mut self.bytes, name, Of::Family);
        self.bytes.push(b' ');
    }

    /// Writes the end of a remark.
    pub(super) fn end(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'\n');
    }

    /// Writes the remark that is the help.
    pub(super) fn help(&mut self, name: &str, help: &str, quotes: bool) {
        self.remark(b"HELP", name);
        let start = self.bytes.len();
        escape(&mut self.bytes, help, quotes);
        self.help = start..self.bytes.len();
        self.bytes.push(b'\n');
    }
}

/// Writes a name, in quotes if it needs them.
pub(super) fn push_name(out: &mut Vec<u8>, name: &str, of: Of) {
    if is_legacy(name, of) {
        out.extend_from_slice(name.as_bytes());
    } else {
        out.push(b'"');
        escape(out, name, true);
        out.push(b'"');
    }
}

/// The families of this page so far and, behind them, what followed on the last one.
#[derive(Debug, Default)]
pub(super) struct Heads {
    list: Vec<Head>,
    /// How many families this page has.
    count: usize,
}

impl Heads {
    /// Begins a page; what the last one did not have is forgotten.
    pub(super) fn begin(&mut self) {
        self.list.truncate(self.count);
        self.count = 0;
    }

    /// Goes back to the first `count` families.
    pub(super) fn rewind(&mut self, count: usize) {
        self.count = count;
    }

    /// Adds a family and gives its head.
    pub(super) fn add(&mut self, desc: &Desc<'_>, scheme: Scheme, write: Write) -> Option<&Head> {
        let at = self.count.min(KEPT_MAX);
        self.count += 1;
        let is_at = |list: &[Head], at: usize| list.get(at).is_some_and(|head| head.is_of(desc));
        if !is_at(&self.list, at) {
            if is_at(&self.list, at + 1) {
                // A family that was there is not there this time.
                self.list.remove(at);
            } else {
                if self.list.len() <= at {
                    self.list.push(Head::new());
                }
                if let Some(head) = self.list.get_mut(at) {
                    head.describe(desc, scheme, write);
                }
            }
        }
        self.list.get(at)
    }

    /// The family that was added last.
    pub(super) fn last(&self) -> Option<&Head> {
        self.list.get(self.count.checked_sub(1)?.min(KEPT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the families that had to be made for a page of these.
    fn made(heads: &mut Heads, page: &[Desc<'_>]) -> Vec<String> {
        let write: Write = |head, name, desc| head.help(name, desc.help, true);
        heads.begin();
        let mut made = Vec::new();
        for desc in page {
            assert_eq!(heads.add(desc, Scheme::AllowUtf8, write).unwrap().name(), desc.name.as_bytes());
            let at = heads.count - 1;
            // Nobody looks at the hash of a family that was made before.
            if std::mem::take(&mut heads.list[at].hash) != 0 {
                made.push(desc.name.to_owned());
            }
        }
        made
    }

    #[test]
    fn only_what_is_new_or_other_than_on_the_last_page_is_made() {
        let [a, b, c] = ["a", "b", "c"].map(|name| Desc::gauge(name, "Help.", &["x", "y"]));
        let mut heads = Heads::default();
        assert_eq!(made(&mut heads, &[a, b, c]), ["a", "b", "c"]);
        assert!(made(&mut heads, &[a, b, c]).is_empty());
        assert!(made(&mut heads, &[a, c]).is_empty(), "b went");
        assert_eq!(made(&mut heads, &[a, b, c]), ["b", "c"]);
        for other in [
            Desc { help: "Other.", ..b },
            Desc { kind: Kind::Counter, ..b },
            Desc { help: "Hel\\.", ..b },
            Desc { labels: &["x"], ..b },
            Desc { labels: &[], ..b },
            Desc { labels: &["x", "z"], ..b },
            Desc { labels: &["x", "y", "z"], ..b },
            b.sparse(),
        ] {
            assert_eq!(made(&mut heads, &[a, other, c]), ["b"], "{other:?}");
            assert_eq!(made(&mut heads, &[a, b, c]), ["b"], "{other:?}");
        }
    }

    #[test]
    fn what_is_written_otherwise_than_it_is_called_is_always_made() {
        // The second label is what the first one is written as.
        for labels in [&["a.b"][..], &["\"a.b\""]] {
            let mut heads = Heads::default();
            for _ in 0..2 {
                assert_eq!(made(&mut heads, &[Desc::gauge("x", "X.", labels)]), ["x"]);
            }
        }
        let mut heads = Heads::default();
        for _ in 0..2 {
            assert_eq!(made(&mut heads, &[Desc::gauge("x.y", "X.", &[])]), ["x.y"]);
        }
    }

    #[test]
    fn more_families_than_are_kept_are_made_each_time() {
        let names: Vec<String> = (0..KEPT_MAX + 3).map(|i| format!("x{i}")).collect();
        let page: Vec<Desc<'_>> = names.iter().map(|name| Desc::gauge(name, "X.", &[])).collect();
        let mut heads = Heads::default();
        let write: Write = |head, name, desc| head.help(name, desc.help, true);
        for _ in 0..2 {
            heads.begin();
            for desc in &page {
                assert_eq!(heads.add(desc, Scheme::AllowUtf8, write).unwrap().name(), desc.name.as_bytes());
                assert_eq!(heads.last().unwrap().name(), desc.name.as_bytes());
            }
            assert_eq!(heads.list.len(), KEPT_MAX + 1);
        }
    }
}
