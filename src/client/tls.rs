//! TLS out: whom a call believes, and the handshake.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The largest file of certificates that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Where systems keep the certificates of public authorities.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Shakes hands with `host`, which must show a certificate that the file's authorities, or the system's, have signed.
pub(super) async fn over(
    stream: TcpStream,
    host: &str,
    ca_file: Option<&Path>,
) -> Result<TlsStream<TcpStream>, String> {
    // The address has brackets around an IPv6 address, the certificate has none.
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|_| format!("{host:?} is no name that a certificate could have"))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| format!("TLS: {e}"))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let file = match ca_file {
        Some(file) => file,
        None => BUNDLES.iter().map(Path::new).find(|p| p.exists()).ok_or_else(|| {
            format!("no certificates of authorities: none of {} is there; give a ca_file", BUNDLES.join(", "))
        })?,
    };
    let failed = |why: String| format!("the certificates in {}: {why}", file.display());
    if std::fs::metadata(file).is_ok_and(|m| m.len() > FILE_BYTES_MAX) {
        return Err(failed(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(file).map_err(|e| failed(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    // One odd certificate in a system's bundle spoils nothing.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).flatten());
    if roots.is_empty() { Err(failed("none in PEM form".into())) } else { Ok(roots) }
}
