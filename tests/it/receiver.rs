//! A receiver of HTTP that keeps what it got, and just enough of protocol buffers to read spans: nothing of the crates
//! that write them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The head, in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Answers each request with the same status.
pub(crate) struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub(crate) fn start(status: &'static str) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), status)
    }

    /// The same at this address.
    pub(crate) fn at(address: SocketAddr, status: &'static str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let receiver = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&receiver.requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(request) = read(stream, status) {
                    requests.lock().unwrap().push(request);
                }
            }
        });
        receiver
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The spans in what came so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.requests().iter().flat_map(|r| spans(&r.body)).collect()
    }
}

fn read(mut stream: TcpStream, status: &str) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let head = end.map(|end| String::from_utf8_lossy(&bytes[..end]).to_lowercase());
        let length = head.as_ref().and_then(|head| {
            let line = head.lines().find_map(|l| l.strip_prefix("content-length:"))?;
            line.trim().parse::<usize>().ok()
        });
        if let (Some(head), Some(end), Some(length)) = (head, end, length)
            && bytes.len() >= end + 4 + length
        {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).ok()?;
            return Some(Request { head, body: bytes[end + 4..].to_vec() });
        }
        match stream.read(&mut part) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&part[..read]),
            _ => return None,
        }
    }
}

/// A span.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub begin: u64,
    pub end: u64,
    pub facts: BTreeMap<String, String>,
}

/// A field's value: a number, or bytes.
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

pub(crate) fn fields(mut bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let fixed = |bytes: &mut &[u8], length: usize| {
            let (value, rest) = bytes.split_at(length);
            *bytes = rest;
            value.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
        };
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => Value::Number(fixed(&mut bytes, 8)),
            5 => Value::Number(fixed(&mut bytes, 4)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Value::Bytes(value)
            }
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, value));
    }
    all
}

/// The messages in a field.
fn messages<'a>(bytes: &'a [u8], number: u64) -> Vec<&'a [u8]> {
    let pick = |(n, value): (u64, Value<'a>)| match value {
        Value::Bytes(bytes) if n == number => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(pick).collect()
}

fn number(bytes: &[u8], wanted: u64) -> Option<u64> {
    fields(bytes).into_iter().find_map(|(n, value)| match value {
        Value::Number(value) if n == wanted => Some(value),
        _ => None,
    })
}

fn text(bytes: &[u8], number: u64) -> String {
    messages(bytes, number).first().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default()
}

fn facts(bytes: &[u8], number_of_field: u64) -> BTreeMap<String, String> {
    let value = |any: &[u8]| match (messages(any, 1).first(), number(any, 2), number(any, 3)) {
        (Some(text), ..) => String::from_utf8_lossy(text).into_owned(),
        (_, Some(truth), _) => (truth == 1).to_string(),
        (.., Some(whole)) => whole.to_string(),
        _ => String::new(),
    };
    let pairs = messages(bytes, number_of_field).into_iter();
    pairs.map(|pair| (text(pair, 1), messages(pair, 2).first().map_or(String::new(), |v| value(v)))).collect()
}

/// The spans of a request, with their resource's attributes. Numbers of fields are those of opentelemetry-proto.
fn spans(body: &[u8]) -> Vec<Span> {
    let hex = |bytes: Option<&&[u8]>| {
        bytes.copied().unwrap_or_default().iter().fold(String::new(), |all, b| all + &format!("{b:02x}"))
    };
    let mut all = Vec::new();
    for resource in messages(body, 1) {
        let of_resource = messages(resource, 1).first().map(|r| facts(r, 1)).unwrap_or_default();
        for span in messages(resource, 2).into_iter().flat_map(|scope| messages(scope, 2)) {
            let mut facts = facts(span, 9);
            facts.extend(of_resource.clone());
            all.push(Span {
                trace: hex(messages(span, 1).first()),
                id: hex(messages(span, 2).first()),
                parent: hex(messages(span, 4).first()),
                name: text(span, 5),
                begin: number(span, 7).unwrap(),
                end: number(span, 8).unwrap(),
                facts,
            });
        }
    }
    all
}
