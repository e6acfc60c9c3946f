//! Which files below a directory are opened, and in which order: the kernel says it by inotify.

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A look at all directories below one.
pub(super) struct Watch {
    fd: OwnedFd,
    directories: HashMap<i32, String>,
}

impl Watch {
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut out = Self { fd, directories: HashMap::new() };
        out.add(root, "")?;
        // What was opened to find the directories.
        out.opened()?;
        Ok(out)
    }

    fn add(&mut self, root: &Path, below: &str) -> io::Result<()> {
        let path = root.join(below);
        let number = add_watch(&self.fd, &path, WatchFlags::OPEN)?;
        self.directories.insert(number, below.to_owned());
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                self.add(root, &if below.is_empty() { name } else { format!("{below}/{name}") })?;
            }
        }
        Ok(())
    }

    /// What was opened since the last look, below the root, each once.
    pub(super) fn opened(&self) -> io::Result<Vec<String>> {
        let mut out: Vec<String> = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.fd, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(out),
                Err(e) => return Err(e.into()),
            };
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW), "more was opened than is counted");
            let Some(directory) = self.directories.get(&event.wd()) else { continue };
            let path = match event.file_name() {
                Some(name) if directory.is_empty() => name.to_string_lossy().into_owned(),
                Some(name) => format!("{directory}/{}", name.to_string_lossy()),
                None => directory.clone(),
            };
            if !out.contains(&path) {
                out.push(path);
            }
        }
    }
}
