//! Which client certificates are asked for and believed: the five policies of Go's `tls.ClientAuthType`.

use super::san;
use super::web_config::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// The verifier of one listener.
#[derive(Debug)]
pub(super) struct Verifier {
    policy: ClientAuth,
    /// Checks chains; none without an authority, which then no certificate comes from.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// Certificates that are trusted themselves.
    trusted: Vec<CertificateDer<'static>>,
    /// One of these names must be in the certificate.
    allowed: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// A verifier that believes certificates of these authorities, or says which of them cannot be used.
    pub(super) fn new(
        policy: ClientAuth,
        trusted: Vec<CertificateDer<'static>>,
        allowed: Option<Vec<String>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for (n, authority) in trusted.iter().enumerate() {
            roots.add(authority.clone()).map_err(|e| format!("certificate {}: {e}", n + 1))?;
        }
        let chains = if roots.is_empty() {
            None
        } else {
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            Some(builder.build().map_err(|e| e.to_string())?)
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { policy, chains, trusted, allowed, algorithms })
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.policy != ClientAuth::None
    }

    fn client_auth_mandatory(&self) -> bool {
        matches!(self.policy, ClientAuth::RequireAny | ClientAuth::RequireAndVerify)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Who takes any certificate must not name authorities: clients would leave out those of others.
        match &self.chains {
            Some(chains) if self.policy >= ClientAuth::VerifyIfGiven => chains.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.policy >= ClientAuth::VerifyIfGiven {
            // A self-signed certificate is its own authority, which a chain may not end with.
            if self.trusted.iter().any(|trusted| trusted == certificate) {
                san::valid_at(certificate, now.as_secs()).map_err(Error::InvalidCertificate)?;
            } else {
                let chains = self.chains.as_ref();
                let chains = chains.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
                chains.verify_client_cert(certificate, intermediates, now)?;
            }
        }
        let named = |allowed: &Vec<String>| san::names(certificate).iter().any(|name| allowed.contains(name));
        if self.allowed.as_ref().is_none_or(named) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
