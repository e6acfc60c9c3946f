//! Certificates for tests, made anew each time: an authority, a server, clients that are known and clients that are not.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use std::path::PathBuf;

/// A directory with `ca.crt`, `server`, `client`, `other` and `stranger` (each `.crt` and `.key`), and `own`, which is its
/// own authority.
pub(crate) struct Certificates(pub(crate) tempfile::TempDir);

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate with these names for a server or a client.
fn params(names: &[&str], purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.extended_key_usages = vec![purpose];
    params
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, pem: String| std::fs::write(dir.path().join(name), pem).unwrap();
        let (ca, elsewhere) = (authority("ours"), authority("elsewhere"));
        put("ca.crt", ca.pem());
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        let mut other = params(&["other.example"], client.clone());
        other.subject_alt_names.push(SanType::URI("spiffe://example.org/other".try_into().unwrap()));
        for (name, params, issuer) in [
            ("server", params(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth), &ca),
            ("client", params(&["prometheus.example"], client.clone()), &ca),
            ("other", other, &ca),
            ("stranger", params(&["prometheus.example"], client), &elsewhere),
        ] {
            let key = KeyPair::generate().unwrap();
            put(&format!("{name}.crt"), params.signed_by(&key, issuer).unwrap().pem());
            put(&format!("{name}.key"), key.serialize_pem());
        }
        let own = authority("own");
        put("own.crt", own.pem());
        put("own.key", own.key().serialize_pem());
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a web configuration beside the certificates.
    pub(crate) fn config(&self, text: &str) -> PathBuf {
        let path = self.path("web.yml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A file's text, indented for a block of YAML.
    pub(crate) fn block(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.lines().fold("|\n".to_owned(), |all, line| all + "    " + line + "\n")
    }

    /// Another server's certificate and key in the place of those that are there; returns the authority's file.
    pub(crate) fn replace_server(&self) -> PathBuf {
        let (ca, key) = (authority("next"), KeyPair::generate().unwrap());
        let params = params(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
        let write = |name: &str, pem: String| {
            // As who renews certificates does: a new file in the place of the old one.
            std::fs::write(self.path("new"), pem).unwrap();
            std::fs::rename(self.path("new"), self.path(name)).unwrap();
        };
        write("server.crt", params.signed_by(&key, &ca).unwrap().pem());
        write("server.key", key.serialize_pem());
        std::fs::write(self.path("next.crt"), ca.pem()).unwrap();
        self.path("next.crt")
    }
}
