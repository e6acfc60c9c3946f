//! A server for tests that answers as it is told, and remembers what it was asked.

use crate::certificates::Certificates;
use crate::kubernetes_api::{self, Exchange};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// The first line of a request with its `Authorization`, and its body.
pub(crate) type Request = (String, String);
type Answer = dyn Fn(&str, &str) -> (u16, String) + Send + Sync;

/// A server that answers as it is told, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Fake {
    requests: Arc<Mutex<Vec<Request>>>,
    answer: Arc<Answer>,
    /// What was not as Kubernetes' published API has it, where it stands for that.
    faults: Option<Arc<Mutex<Vec<String>>>>,
}

impl Fake {
    pub(crate) fn new(answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self { requests: Arc::default(), answer: Arc::new(answer), faults: None }
    }

    /// The same for Kubernetes' API: each request and each answer is held against its published description.
    pub(crate) fn kubernetes(answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self { faults: Some(Arc::default()), ..Self::new(answer) }
    }

    /// What was not as the published API has it.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.as_ref().unwrap().lock().unwrap().clone()
    }

    pub(crate) fn serve(&self, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        let (mut head, mut length, mut login, mut kind) = (String::new(), 0, String::new(), String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let lower = line.to_lowercase();
            if let Some(text) = lower.strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            if let Some(text) = lower.strip_prefix("content-type:") {
                text.trim().clone_into(&mut kind);
            }
            if lower.starts_with("authorization:") {
                login = format!(" {}", line["authorization:".len()..].trim());
            }
            if head.is_empty() {
                line.trim_end().trim_end_matches(" HTTP/1.1").clone_into(&mut head);
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let (status, answer) = (self.answer)(&head, &body);
        if let Some(faults) = &self.faults {
            let exchange =
                Exchange { head: &head, content_type: &kind, body: &body, status, answer: &answer };
            faults.lock().unwrap().extend(kubernetes_api::faults(&exchange));
        }
        self.requests.lock().unwrap().push((head + &login, body));
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        // Who asked may have gone.
        let _gone = stream.get_mut().write_all(answer.as_bytes()).and_then(|()| stream.get_mut().flush());
    }

    /// Listens in the open; its address.
    pub(crate) fn http(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let fake = self.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|s| fake.serve(s)));
        format!("http://{address}")
    }

    /// Listens with TLS; its address.
    pub(crate) fn https(&self, certificates: &Certificates) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let chain =
            CertificateDer::pem_file_iter(certificates.path("server.crt")).unwrap().flatten().collect();
        let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (fake, config) = (self.clone(), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                fake.serve(rustls::StreamOwned::new(session, stream));
            }
        });
        format!("https://{address}")
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.requests().into_iter().map(|(head, _)| head).collect()
    }
}
