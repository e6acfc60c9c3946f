//! From `tls_server_config` to rustls: which versions, ciphers, curves, certificates and keys.

use super::client_cert::Verifier;
use super::web_config::{Cipher, ClientAuth, Curve, FILE_BYTES_MAX, TlsConfig, Version, WebError};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// What a connection needs to speak TLS.
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) policy: ClientAuth,
    /// Whether only certificates with certain names are accepted.
    pub(super) names: bool,
}

/// Where `tls_server_config` stands, and what is found out about it while it is read.
pub(super) struct Reading<'a> {
    /// The web configuration file, beside which the others are looked for.
    pub(super) path: &'a Path,
    /// What is accepted and does not do what it says.
    pub(super) warnings: Vec<String>,
}

impl Reading<'_> {
    fn wrong(&self, key: &str, why: impl std::fmt::Display) -> WebError {
        WebError::new(self.path, format!("tls_server_config.{key}: {why}"))
    }

    /// The bytes of a file beside the web configuration, or those that stand in it.
    fn bytes(&self, key: &str, file: &Path, inline: &str) -> Result<Vec<u8>, WebError> {
        if file.as_os_str().is_empty() {
            return Ok(inline.as_bytes().to_vec());
        }
        let file = self.path.parent().unwrap_or_else(|| Path::new("")).join(file);
        read_bounded(&file).map_err(|e| self.wrong(key, format!("{}: {e}", file.display())))
    }
}

/// A whole file, if it is not longer than any certificate.
pub(super) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Makes it; none if the configuration asks for no TLS.
pub(super) fn make(
    from: &TlsConfig,
    http2: bool,
    reading: &mut Reading<'_>,
) -> Result<Option<Tls>, WebError> {
    let given = |file: &Path, inline: &str| !file.as_os_str().is_empty() || !inline.is_empty();
    let (cert, key) = (given(&from.cert_file, &from.cert.0), given(&from.key_file, &from.key.0));
    let authority = given(&from.client_ca_file, &from.client_ca.0);
    if !(cert || key || authority || from.client_auth_type.is_some_and(|policy| policy != ClientAuth::None)) {
        return Ok(None);
    }
    if !cert {
        return Err(reading.wrong("cert_file", "missing; TLS needs `cert_file` or `cert`"));
    }
    if !key {
        return Err(reading.wrong("key_file", "missing; TLS needs `key_file` or `key`"));
    }
    let provider = Arc::new(provider(from, http2, reading)?);
    let versions = versions(from, &provider, reading)?;
    let verifier = Arc::new(verifier(from, authority, &provider, reading)?);
    let chain = reading.bytes("cert_file", &from.cert_file, &from.cert.0)?;
    let chain = certificates(&chain).map_err(|why| reading.wrong("cert_file", why))?;
    let key = reading.bytes("key_file", &from.key_file, &from.key.0)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| reading.wrong("key_file", "no private key in PEM form (without a pass phrase)"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|e| reading.wrong("cipher_suites", e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| reading.wrong("cert_file", format!("certificate and key do not go together: {e}")))?;
    config.ignore_client_order = from.prefer_server_cipher_suites;
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let (policy, names) = (from.client_auth_type.unwrap_or_default(), from.client_allowed_sans.is_some());
    Ok(Some(Tls { config: Arc::new(config), policy, names }))
}

/// Ciphers and curves, in the order in which they are preferred.
fn provider(from: &TlsConfig, http2: bool, reading: &mut Reading<'_>) -> Result<CryptoProvider, WebError> {
    let mut provider = ring::default_provider();
    // As in Go, an empty list is no list, and the list says nothing about TLS 1.3.
    if let Some(named) = from.cipher_suites.as_ref().filter(|named| !named.is_empty()) {
        let name = |suite: &rustls::SupportedCipherSuite| suite.suite().as_str().unwrap_or_default();
        let (mut suites, older): (Vec<_>, Vec<_>) =
            provider.cipher_suites.into_iter().partition(|suite| suite.tls13().is_some());
        for Cipher(wanted) in named {
            let found = older.iter().find(|suite| name(suite) == wanted);
            suites.extend(found.copied());
            if found.is_none() && wanted.contains("_WITH_") {
                reading.warnings.push(format!("the cipher suite {wanted} is too weak and not offered"));
            }
        }
        // RFC 7540, 9.2.2: a client that speaks HTTP/2 may count on this one. Go refuses the same.
        let needed =
            |Cipher(name): &Cipher| name.ends_with("_WITH_AES_128_GCM_SHA256") && name.contains("ECDHE");
        if http2 && from.min_version < Version::Tls13 && !named.iter().any(needed) {
            let why = "HTTP/2 needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or its ECDSA form; \
                       add it, or set `http_server_config: {http2: false}`";
            return Err(reading.wrong("cipher_suites", why));
        }
        provider.cipher_suites = suites;
    }
    if let Some(named) = from.curve_preferences.as_ref().filter(|named| !named.is_empty()) {
        provider.kx_groups = named
            .iter()
            .filter_map(|curve| match curve {
                Curve::X25519 => Some(kx_group::X25519),
                Curve::P256 => Some(kx_group::SECP256R1),
                Curve::P384 => Some(kx_group::SECP384R1),
                Curve::P521 => None,
            })
            .collect();
        if named.contains(&Curve::P521) {
            reading.warnings.push("the curve CurveP521 is not offered".into());
        }
        if provider.kx_groups.is_empty() {
            return Err(reading.wrong("curve_preferences", "add X25519, CurveP256 or CurveP384"));
        }
    }
    Ok(provider)
}

fn versions(
    from: &TlsConfig,
    provider: &CryptoProvider,
    reading: &mut Reading<'_>,
) -> Result<Vec<&'static SupportedProtocolVersion>, WebError> {
    if from.min_version < Version::Tls12 {
        reading.warnings.push("TLS 1.0 and 1.1 are not spoken; the least version is TLS12".into());
    }
    let older = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
    let all = [(Version::Tls13, &version::TLS13, true), (Version::Tls12, &version::TLS12, older)];
    let versions: Vec<_> = all
        .into_iter()
        .filter(|(version, _, usable)| *usable && (from.min_version..=from.max_version).contains(version))
        .map(|(_, version, _)| version)
        .collect();
    if versions.is_empty() {
        let why = "no version is left: TLS 1.2 (with one of its cipher suites) and 1.3 are spoken";
        return Err(reading.wrong("max_version", why));
    }
    Ok(versions)
}

fn verifier(
    from: &TlsConfig,
    authority: bool,
    provider: &Arc<CryptoProvider>,
    reading: &mut Reading<'_>,
) -> Result<Verifier, WebError> {
    let policy = from.client_auth_type.unwrap_or_default();
    if authority && policy == ClientAuth::None {
        let why =
            "set `client_auth_type: RequireAndVerifyClientCert` too: without it no certificate is asked for";
        return Err(reading.wrong("client_ca_file", why));
    }
    if !authority && policy == ClientAuth::RequireAndVerify {
        let why = "missing: without it nobody's certificate could be verified, and nobody could connect";
        return Err(reading.wrong("client_ca_file", why));
    }
    if !authority && policy == ClientAuth::VerifyIfGiven {
        reading.warnings.push("without client_ca_file no certificate of a client is accepted".into());
    }
    if from.client_allowed_sans.is_some() && policy != ClientAuth::RequireAndVerify {
        reading.warnings.push(
            "client_allowed_sans protects nothing without `client_auth_type: RequireAndVerifyClientCert`"
                .into(),
        );
    }
    let mut trusted = Vec::new();
    if authority {
        let bytes = reading.bytes("client_ca_file", &from.client_ca_file, &from.client_ca.0)?;
        trusted = certificates(&bytes).map_err(|why| reading.wrong("client_ca_file", why))?;
    }
    Verifier::new(policy, trusted, from.client_allowed_sans.clone(), provider)
        .map_err(|why| reading.wrong("client_ca_file", why))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or("no certificate in PEM form")
}
