//! Whom a client trusts over TLS: the authorities of a file or of the system; and the certificate that it shows itself.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

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

impl Files {
    fn authorities(&self) -> Option<PathBuf> {
        let system = || SYSTEM.iter().map(PathBuf::from).find(|path| path.exists());
        self.ca_file.clone().or_else(system)
    }

    fn all(&self) -> impl Iterator<Item = PathBuf> {
        [self.authorities(), self.cert_file.clone(), self.key_file.clone()].into_iter().flatten()
    }
}

/// A file that holds a secret or certificates and is to be read again and again: it must be a plain one, which nobody has to
/// write to before it can be read, and no longer than so many bytes. When it was changed last.
pub fn plain(path: &Path, bytes_max: u64) -> Result<SystemTime, TrustError> {
    let about = std::fs::metadata(path).map_err(|e| wrong(path, e))?;
    if !about.is_file() {
        return Err(wrong(path, "no regular file"));
    }
    if about.len() > bytes_max {
        return Err(wrong(path, format!("longer than {bytes_max} bytes")));
    }
    about.modified().map_err(|e| wrong(path, e))
}

/// What was made of files, until one of them changes.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Option<(Vec<SystemTime>, Trust)>>);

impl Kept {
    /// Reads the files if they are others than last time. It may block for long.
    pub fn get(&self, files: &Files) -> Result<Trust, TrustError> {
        let changed: Result<Vec<_>, _> = files.all().map(|path| plain(&path, FILE_BYTES_MAX)).collect();
        let changed = changed?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, trust)) = kept.as_ref().filter(|(before, _)| *before == changed) {
            return Ok(trust.clone());
        }
        let trust = Trust::new(files)?;
        *kept = Some((changed, trust.clone()));
        Ok(trust)
    }
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
        let path = files
            .authorities()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_again_only_when_they_change_and_only_plain_ones() {
        let dir = tempfile::tempdir().unwrap();
        let ca_file = dir.path().join("ca.pem");
        let certificate = || rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem();
        std::fs::write(&ca_file, certificate()).unwrap();
        let files = Files { ca_file: Some(ca_file.clone()), ..Files::default() };
        let kept = Kept::default();
        let first = kept.get(&files).unwrap();
        assert!(Arc::ptr_eq(&first.0, &kept.get(&files).unwrap().0));
        std::fs::write(&ca_file, certificate()).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(7);
        std::fs::File::options().write(true).open(&ca_file).unwrap().set_modified(later).unwrap();
        assert!(!Arc::ptr_eq(&first.0, &kept.get(&files).unwrap().0));
        std::fs::remove_file(&ca_file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &ca_file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(kept.get(&files).unwrap_err().to_string().contains("no regular file"));
        assert!(plain(dir.path(), 10).is_err());
    }
}
