//! The first page of a swap: what makes a device one, and by what this program knows its own.
//!
//! Source: `union swap_header` in `include/linux/swap.h`; the words are in the machine's own order of bytes.

/// What stands where a person may name a swap.
const LABEL: &[u8; 16] = b"headroom\0\0\0\0\0\0\0\0";
/// The last bytes of the page.
const MAGIC: &[u8; 10] = b"SWAPSPACE2";
/// Where the words begin, behind room for a boot loader: version, last page, bad pages; then UUID and label.
const WORDS_AT: usize = 1024;
const UUID_AT: usize = WORDS_AT + 12;
const LABEL_AT: usize = UUID_AT + 16;

/// What tells one swap from another.
pub(super) type Uuid = [u8; 16];

/// A UUID of version 8 for a swap that is made at this time.
pub(super) fn uuid(at_millis: i64) -> Uuid {
    let mut out = *b"\0\0\0\0\0\0\x80h\x80eadroom";
    // The first two bytes of a time are 0 for the next nine thousand years.
    for (slot, byte) in out.iter_mut().zip(at_millis.to_be_bytes().into_iter().skip(2)) {
        *slot = byte;
    }
    out
}

/// The first page of a swap of `size` bytes on a machine with pages of `page` bytes; `None` if there is no such swap.
pub(super) fn first_page(page: usize, size: u64, uuid: &Uuid) -> Option<Vec<u8>> {
    let last = u32::try_from((size / page as u64).checked_sub(1)?).ok().filter(|&l| l > 0)?;
    let mut out = vec![0; page];
    let words = [1, last, 0].into_iter().flat_map(u32::to_ne_bytes);
    let body: Vec<u8> = words.chain(*uuid).chain(*LABEL).collect();
    out.get_mut(WORDS_AT..WORDS_AT + body.len())?.copy_from_slice(&body);
    let magic_at = page.checked_sub(MAGIC.len())?;
    out.get_mut(magic_at..)?.copy_from_slice(MAGIC);
    Some(out)
}

/// The UUID of a first page that this program has written; `None` for any other.
pub(super) fn ours(first_page: &[u8]) -> Option<Uuid> {
    let magic = first_page.ends_with(MAGIC);
    let label = first_page.get(LABEL_AT..LABEL_AT + LABEL.len())? == LABEL;
    let uuid = first_page.get(UUID_AT..LABEL_AT)?.try_into().ok()?;
    (magic && label).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_page_is_known_again_and_no_other_is() {
        let id = uuid(1_800_000_000_000);
        let page = first_page(4096, 1 << 30, &id).unwrap();
        assert_eq!((page.len(), ours(&page)), (4096, Some(id)));
        assert_eq!(page[1028..1032], (262_143_u32).to_ne_bytes());
        let mut other = page.clone();
        other[LABEL_AT] = b'H';
        assert_eq!(ours(&other), None, "another's label");
        assert_eq!(ours(&page[..4095]), None, "no magic");
        assert_eq!((ours(&[]), ours(&[0; 4096])), (None, None));
        assert_eq!((first_page(4096, 4096, &id), first_page(4096, 0, &id)), (None, None));
        assert_eq!((id[6] >> 4, id[8] >> 6), (8, 2), "RFC 9562");
    }

    #[test]
    fn tools_take_it_for_a_swap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("swap");
        std::fs::write(&path, first_page(4096, 1 << 20, &uuid(1_800_000_000_000)).unwrap()).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        let path_env = [std::env::var("PATH").unwrap_or_default(), "/sbin:/usr/sbin".into()].join(":");
        let mut blkid = std::process::Command::new("blkid");
        let Ok(output) = blkid.env("PATH", path_env).arg("-p").arg(&path).output() else {
            eprintln!("SKIPPED: no blkid");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("LABEL=\"headroom\"") && text.contains("TYPE=\"swap\""), "{text}");
        assert!(text.contains("UUID=\"01a3185c-5000-8068-8065-6164726f6f6d\""), "{text}");
    }
}
