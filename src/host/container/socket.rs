//! What Docker's socket (and Podman's, which speaks the same) says about the containers that run: one request, bounded.

use super::super::counted::Stream;
use super::names::{Called, NAMES_MAX};
use serde::Deserialize;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How long the whole request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// HTTP/1.0: the answer then comes in one piece and ends with the connection.
const REQUEST: &[u8] =
    b"GET /containers/json HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n";

/// A socket did not tell the names.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask {} for the names of containers: {why}", path.display())]
pub struct SocketError {
    /// The socket.
    path: PathBuf,
    /// What went wrong.
    why: String,
}

/// The part of the answer that is of use.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
}

/// The names of the containers that run, by id.
pub(super) fn names(path: &Path) -> Result<Vec<(String, Called)>, SocketError> {
    let failed = |why: String| SocketError { path: path.to_owned(), why };
    let answer = ask(path).map_err(|e| failed(e.to_string()))?;
    parse(&answer).map_err(failed)
}

fn ask(path: &Path) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    let mut stream = Stream::connect(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let (mut answer, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        let left = PATIENCE.checked_sub(begun.elapsed()).ok_or(io::ErrorKind::TimedOut)?;
        // Zero would mean no limit.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part)? {
            0 => return Ok(answer),
            n => answer.extend_from_slice(part.get(..n).unwrap_or_default()),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(io::Error::other(format!("more than {ANSWER_BYTES_MAX} bytes")));
        }
    }
}

pub(crate) fn parse(answer: &[u8]) -> Result<Vec<(String, Called)>, String> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or("the answer is not HTTP")?;
    let (head, body) = answer.split_at(end);
    let status = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(status);
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("the answer is `{status}`"));
    }
    let found: Vec<Container> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let called = found.into_iter().take(NAMES_MAX).map(|c| {
        // Docker writes `/web`; names with a second slash are links to a container from another one.
        let plain = |name: &String| !name.trim_start_matches('/').contains('/');
        let name = c.names.iter().find(|n| plain(n)).map(|n| n.trim_start_matches('/').to_owned());
        (c.id, Called { name: name.unwrap_or_default(), image: c.image })
    });
    Ok(called.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn names_and_images_are_read_from_a_runtimes_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; REQUEST.len()];
            stream.read_exact(&mut request).unwrap();
            let body = r#"[{"Id":"ab","Names":["/other/db","/web"],"Image":"nginx:1","State":"running"},{"Id":"cd"}]"#;
            write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}").unwrap();
            request
        });
        let called = |name: &str, image: &str| Called { name: name.into(), image: image.into() };
        assert_eq!(
            names(&path).unwrap(),
            [("ab".to_owned(), called("web", "nginx:1")), ("cd".to_owned(), called("", ""))]
        );
        assert_eq!(server.join().unwrap(), REQUEST);
    }

    #[test]
    fn what_is_no_good_answer_is_an_error_that_names_the_socket() {
        let error = names(Path::new("/nonexistent/docker.sock")).unwrap_err().to_string();
        assert!(error.starts_with("cannot ask /nonexistent/docker.sock for the names"), "{error}");
        for (answer, want) in [
            ("", "not HTTP"),
            ("HTTP/1.0 403 Forbidden\r\n\r\n{}", "`HTTP/1.0 403 Forbidden`"),
            ("HTTP/1.0 200 OK\r\n\r\n{}", "invalid type"),
            ("HTTP/1.0 200 OK\r\n\r\n[{}]", "missing field"),
        ] {
            let error = parse(answer.as_bytes()).unwrap_err();
            assert!(error.contains(want), "{answer:?} gave {error}");
        }
    }
}
