//! A small client of D-Bus: calls of methods that take texts, and their answers.
//!
//! Source: the D-Bus specification 0.38. What is sent is little-endian; answers may be either.

use super::counted::{self, Stream};
use rustix::process::getuid;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

/// Who does not answer in this time is given up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read; a list of some ten thousand units.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// The most messages that are passed over while an answer is awaited.
const STRANGERS_MAX: usize = 1000;

/// A connection to a bus, or to a service that speaks without one.
#[derive(Debug)]
pub struct Dbus {
    stream: BufReader<Stream>,
    serial: u32,
}

/// A method of an object.
#[derive(Clone, Copy, Debug)]
pub struct Method<'a> {
    /// Whom the bus is to give it to.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface that the method belongs to.
    pub interface: &'a str,
    /// The method's name.
    pub member: &'a str,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    body: Vec<u8>,
    big: bool,
}

/// A value that carries its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variant {
    /// A text or a path.
    Text(String),
    /// A whole number of any width.
    Number(u64),
}

impl Dbus {
    /// Connects to the socket at `path`; on a bus, every client says hello first.
    pub fn connect(path: &Path, bus: bool) -> io::Result<Self> {
        let stream = Stream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        let mut out = Self { stream: BufReader::new(stream), serial: 0 };
        out.authenticate()?;
        if bus {
            let name = "org.freedesktop.DBus";
            out.call(
                &Method {
                    destination: name,
                    path: "/org/freedesktop/DBus",
                    interface: name,
                    member: "Hello",
                },
                &[],
            )?;
        }
        Ok(out)
    }

    /// The kernel tells the other side who we are; what we say has only to agree.
    fn authenticate(&mut self) -> io::Result<()> {
        counted::call();
        let user = getuid().as_raw().to_string();
        let user: Vec<String> = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        // `BEGIN` goes along, as systemd's own clients do it: its manager does not look at a call that it reads together
        // with `BEGIN` until more comes.
        self.send(format!("\0AUTH EXTERNAL {}\r\nBEGIN\r\n", user.concat()).as_bytes())?;
        let mut line = Vec::new();
        self.stream.by_ref().take(512).read_until(b'\n', &mut line)?;
        if !line.starts_with(b"OK ") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Calls a method with `arguments` and returns the answer's body; an error of the other side is an error here.
    pub fn call(&mut self, method: &Method<'_>, arguments: &[&str]) -> io::Result<Answer> {
        self.serial += 1;
        let request = call(method, self.serial, arguments);
        self.send(&request)?;
        for _ in 0..STRANGERS_MAX {
            let message = receive(&mut self.stream)?;
            if message.reply_to != Some(self.serial) {
                continue;
            }
            if message.kind == METHOD_RETURN {
                return Ok(message.answer);
            }
            return Err(io::Error::other(format!(
                "{}: {}",
                method.member,
                message.error.unwrap_or_else(|| "no answer".into())
            )));
        }
        Err(io::Error::other("no answer among many messages"))
    }
}

/// Reads one message, and no byte behind it.
pub(crate) fn receive(from: &mut impl Read) -> io::Result<Message> {
    let mut head = [0; 16];
    from.read_exact(&mut head)?;
    let big = head.starts_with(b"B");
    let mut reader = Reader { bytes: &head, at: 4, big };
    let lengths = (reader.u32(), reader.u32(), reader.u32());
    let (Some(body), Some(_serial), Some(fields)) = lengths else { return Err(invalid()) };
    let (body, fields) = (size(body)?, size(fields)?);
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    from.read_exact(&mut rest)?;
    let body = rest.split_off(fields.next_multiple_of(8));
    rest.truncate(fields);
    let [_, kind, ..] = head;
    let mut out = Message { kind, reply_to: None, error: None, answer: Answer { body, big } };
    out.take_fields(&rest).ok_or_else(invalid)?;
    Ok(out)
}

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;

/// What comes over a connection.
pub(crate) struct Message {
    kind: u8,
    reply_to: Option<u32>,
    error: Option<String>,
    pub(crate) answer: Answer,
}

impl Message {
    /// Takes what is of use from the fields of the head: each is a number and a value with its type.
    fn take_fields(&mut self, fields: &[u8]) -> Option<()> {
        const ERROR_NAME: u8 = 4;
        const REPLY_SERIAL: u8 = 5;
        // The fields begin at 16 bytes, which is a multiple of every alignment.
        let mut reader = Reader { bytes: fields, at: 0, big: self.answer.big };
        while reader.at < fields.len() {
            reader.align(8);
            let field = reader.u8()?;
            match (field, reader.variant()?) {
                (ERROR_NAME, Variant::Text(name)) => self.error = Some(name),
                (REPLY_SERIAL, Variant::Number(serial)) => self.reply_to = u32::try_from(serial).ok(),
                _ => {}
            }
        }
        Some(())
    }
}

fn size(length: u32) -> io::Result<usize> {
    usize::try_from(length).ok().filter(|length| *length <= ANSWER_BYTES_MAX).ok_or_else(invalid)
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// A call of a method as bytes.
fn call(method: &Method<'_>, serial: u32, arguments: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    for argument in arguments {
        put_text(&mut body, argument);
    }
    let mut fields = Vec::new();
    for (field, kind, value) in [
        (1, b'o', method.path),
        (2, b's', method.interface),
        (3, b's', method.member),
        (6, b's', method.destination),
    ] {
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend([field, 1, kind, 0]);
        put_text(&mut fields, value);
    }
    if !arguments.is_empty() {
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend([8, 1, b'g', 0]);
        put_signature(&mut fields, &"s".repeat(arguments.len()));
    }
    let mut out = vec![b'l', METHOD_CALL, 0, 1];
    for number in [length(&body), serial, length(&fields)] {
        out.extend(number.to_le_bytes());
    }
    out.extend(fields);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(body);
    out
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(length(text.as_bytes()).to_le_bytes());
    out.extend(text.bytes().chain([0]));
}

fn put_signature(out: &mut Vec<u8>, signature: &str) {
    out.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
    out.extend(signature.bytes().chain([0]));
}

impl Answer {
    /// The answer as one value that carries its type.
    pub fn variant(&self) -> Option<Variant> {
        self.reader().variant()
    }

    /// The answer as one text or path.
    pub fn text(&self) -> Option<String> {
        self.reader().text()
    }

    /// The answer as a list of structures, each read by `one`.
    pub fn structures<T>(&self, one: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
        let mut reader = self.reader();
        let bytes = usize::try_from(reader.u32()?).ok()?;
        reader.align(8);
        let end = reader.at.checked_add(bytes)?;
        let mut out = Vec::new();
        while reader.at < end {
            reader.align(8);
            out.push(one(&mut reader)?);
        }
        Some(out)
    }

    fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big: self.big }
    }
}

/// Takes values off an answer, one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N);
        let bytes = *self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(u8::from_ne_bytes)
    }

    /// A whole number of four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        let bytes = self.take()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = self.take()?;
        Some(if self.big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// A text or a path.
    pub fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.characters(length)
    }

    fn characters(&mut self, length: usize) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let text = String::from_utf8_lossy(self.bytes.get(self.at..end)?).into_owned();
        // The zero byte behind it is not counted.
        self.at = end + 1;
        Some(text)
    }

    fn variant(&mut self) -> Option<Variant> {
        let length = usize::from(self.u8()?);
        match self.characters(length)?.as_str() {
            "s" | "o" => self.text().map(Variant::Text),
            "g" => {
                let length = usize::from(self.u8()?);
                self.characters(length).map(Variant::Text)
            }
            "y" => self.u8().map(|number| Variant::Number(number.into())),
            "b" | "u" => self.u32().map(|number| Variant::Number(number.into())),
            "t" => self.u64().map(Variant::Number),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// The body of an answer, as the other side would write it.
    #[derive(Default)]
    pub(crate) struct Body(pub(crate) Vec<u8>);

    impl Body {
        pub(crate) fn text(mut self, text: &str) -> Self {
            put_text(&mut self.0, text);
            self
        }

        pub(crate) fn u32(mut self, number: u32) -> Self {
            self.0.resize(self.0.len().next_multiple_of(4), 0);
            self.0.extend(number.to_le_bytes());
            self
        }

        pub(crate) fn align(mut self) -> Self {
            self.0.resize(self.0.len().next_multiple_of(8), 0);
            self
        }

        pub(crate) fn variant_text(mut self, text: &str) -> Self {
            put_signature(&mut self.0, "s");
            self.text(text)
        }

        pub(crate) fn variant_u64(mut self, number: u64) -> Self {
            put_signature(&mut self.0, "t");
            self = self.align();
            self.0.extend(number.to_le_bytes());
            self
        }
    }

    /// A service that gives each call, as text, to `answer`, and sends the body that comes back, or an error.
    pub(crate) fn serve(path: &Path, answer: impl Fn(&str) -> Option<Body> + Send + 'static) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut stream = BufReader::new(Stream::from(stream));
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                assert!(line.starts_with("\0AUTH EXTERNAL 3"), "{line:?}");
                stream.get_mut().write_all(b"OK 1234\r\n").unwrap();
                stream.read_line(&mut line).unwrap();
                let mut client = Dbus { stream, serial: 0 };
                let mut head = [0; 16];
                while client.stream.read_exact(&mut head).is_ok() {
                    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
                    let rest = size(number(12)).unwrap().next_multiple_of(8) + size(number(4)).unwrap();
                    let mut request = vec![0; rest];
                    client.stream.read_exact(&mut request).unwrap();
                    let request: String = request
                        .iter()
                        .map(|b| if b.is_ascii_graphic() { char::from(*b) } else { ' ' })
                        .collect();
                    let (kind, body) =
                        answer(&request).map_or((3, Vec::new()), |body| (METHOD_RETURN, body.0));
                    let mut reply = vec![b'l', kind, 0, 1];
                    reply.extend(length(&body).to_le_bytes());
                    reply.extend(7_u32.to_le_bytes());
                    let mut fields = vec![5, 1, b'u', 0];
                    fields.extend(number(8).to_le_bytes());
                    fields.extend([4, 1, b's', 0]);
                    put_text(&mut fields, "org.example.Error");
                    reply.extend(length(&fields).to_le_bytes());
                    reply.extend(fields);
                    reply.resize(reply.len().next_multiple_of(8), 0);
                    reply.extend(body);
                    client.send(&reply).unwrap();
                }
            }
        });
    }

    const METHOD: Method<'static> =
        Method { destination: "a.b", path: "/c", interface: "a.d", member: "Get" };

    #[test]
    fn a_method_is_called_and_an_error_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus");
        serve(&path, |request| match request {
            call if call.contains("Hello") => Some(Body::default().text(":1.7")),
            call if call.contains("Id") => Some(Body::default().variant_text("x")),
            call if call.contains("Number") => Some(Body::default().variant_u64(9)),
            _ => None,
        });
        let mut dbus = Dbus::connect(&path, true).unwrap();
        assert_eq!(dbus.call(&METHOD, &["a.d", "Id"]).unwrap().variant(), Some(Variant::Text("x".into())));
        assert_eq!(dbus.call(&METHOD, &["a.d", "Number"]).unwrap().variant(), Some(Variant::Number(9)));
        let error = dbus.call(&METHOD, &[]).unwrap_err().to_string();
        assert_eq!(error, "Get: org.example.Error");
    }

    #[test]
    fn cut_answers_are_no_values() {
        let list = Body::default().u32(15).align().text("a").align().text("bc");
        let answer = Answer { body: list.0, big: false };
        let text = |reader: &mut Reader<'_>| reader.text().map(|text| text + "!");
        assert_eq!(answer.structures(text), Some(vec!["a!".into(), "bc!".into()]));
        for cut in 0..16 {
            let cut = Answer { body: answer.body[..cut].to_vec(), big: false };
            assert_eq!(cut.structures(text), None);
        }
        let big = Answer { body: vec![1, b'u', 0, 0, 0, 0, 0, 7], big: true };
        assert_eq!(big.variant(), Some(Variant::Number(7)));
    }

    #[test]
    fn a_call_has_its_fields_on_their_places() {
        let bytes = call(&METHOD, 1, &["x"]);
        assert_eq!(&bytes[..4], [b'l', 1, 0, 1]);
        assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()), 6);
        assert_eq!(&bytes[16..23], [1, 1, b'o', 0, 2, 0, 0]);
        assert!(bytes.len().is_multiple_of(8) || bytes.ends_with(b"\x01\0\0\0x\0"));
    }
}
