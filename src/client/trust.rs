//! Whom a client trusts over TLS: the authorities of a file or of the system; and the certificate that it shows itself.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file of certificates that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Where systems keep the authorities that they trust: those of Debian, Fedora, openSUSE, Alpine and macOS.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The files that say whom to trust, and who is asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Authorities in PEM form; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show, and
    pub cert_file: Option<PathBuf>,
    /// its key.
    pub key_file: Option<PathBuf>,
}

/// A file of certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TrustError {
    path: PathBuf,
    why: String,
}

/// What a client needs to speak TLS.
#[derive(Clone)]
pub struct Trust(pub(super) Arc<ClientConfig>);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust(…)")
    }
}

impl Trust {
    /// Reads the files.
    pub fn new(files: &Files) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = || SYSTEM.iter().map(PathBuf::from).find(|path| path.exists());
        let authorities = files.ca_file.clone().or_else(system);
        let path = authorities
            .ok_or_else(|| wrong(Path::new("ca_file"), "none given, and the system's were not found"))?;
        for certificate in certificates(&path)? {
            // The system's file may hold what rustls does not take; one that was named must be good.
            let taken = roots.add(certificate);
            if files.ca_file.is_some() {
                taken.map_err(|e| wrong(&path, e))?;
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&path, e))?
            .with_root_certificates(roots);
        let config = match (&files.cert_file, &files.key_file) {
            (Some(cert), Some(key)) => {
                let pem = read(key)?;
                let key_der = PrivateKeyDer::from_pem_slice(&pem)
                    .map_err(|_| wrong(key, "no private key in PEM form (without a pass phrase)"))?;
                let chain = certificates(cert)?;
                builder.with_client_auth_cert(chain, key_der).map_err(|e| wrong(cert, e))?
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(one), None) | (None, Some(one)) => {
                return Err(wrong(one, "a certificate and its key go together"));
            }
        };
        Ok(Self(Arc::new(config)))
    }
}

impl Trust {
    /// The same for who speaks HTTP/2 and nothing else.
    pub(super) fn http2(self) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> TrustError {
    TrustError { path: path.to_owned(), why: why.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| wrong(path, e))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| wrong(path, e))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(path, format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let all = all.map_err(|e| wrong(path, format!("no certificates in PEM form: {e}")))?;
    if all.is_empty() { Err(wrong(path, "no certificate in PEM form")) } else { Ok(all) }
}
