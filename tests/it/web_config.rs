//! exporter-toolkit's web configuration file: what it accepts and what it refuses, with `promtool` as the judge.

use crate::certificates::Certificates;
use crate::stack::{HEADROOM, program};
use headroom::serve::web::Web;
use std::process::Command;

/// Who accepts a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Both.
    All,
    /// exporter-toolkit; promtool is too old to know the keys.
    Newer,
    /// promtool, since it does not look, or takes what would let nobody in.
    Them,
    /// Nobody; the message holds this.
    Nobody,
}

const PAIR: &str = "cert_file: server.crt, key_file: server.key";

/// A `tls_server_config` with certificate, key and this.
fn tls(more: &str) -> String {
    format!("tls_server_config: {{{PAIR}{more}}}\n")
}

#[rustfmt::skip]
fn files(certificates: &Certificates) -> Vec<(By, String, &'static str)> {
    use By::{All, Newer, Nobody, Them};
    let user = "basic_auth_users:\n  ann: $2y$10$RXmMFdeoJb6PnZSfoP6sdeGEMpzmpfnQjVUT2A97OPK3sgxi0kbha\n";
    let inline = format!(
        "tls_server_config:\n  cert: {}  key: {}  client_ca: {}  client_auth_type: RequireAndVerifyClientCert\n",
        certificates.block("server.crt"), certificates.block("server.key"), certificates.block("ca.crt"),
    );
    let ciphers = |list: &str| tls(&format!(", cipher_suites: [{list}]"));
    let policy = |name: &str| tls(&format!(", client_auth_type: {name}"));
    vec![
        (All, String::new(), ""),
        (All, "# nothing\n".into(), ""),
        (All, tls(""), ""),
        (All, "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n".into(), ""),
        (All, format!("{}{user}", tls("")), ""),
        (All, user.into(), ""),
        (All, user.replace("$2y$", "$2a$").replace("$10$", "$18$"), ""),
        (All, policy("NoClientCert"), ""),
        (All, policy("''"), ""),
        (All, policy("RequestClientCert"), ""),
        (All, policy("RequireAnyClientCert"), ""),
        (All, policy("RequireClientCert"), ""),
        (All, policy("VerifyClientCertIfGiven"), ""),
        (All, tls(", client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert"), ""),
        (All, tls(", client_ca_file: own.crt, client_auth_type: VerifyClientCertIfGiven"), ""),
        (All, tls(", min_version: TLS13, curve_preferences: [X25519]"), ""),
        (All, tls(", min_version: TLS10, max_version: TLS12, curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]"), ""),
        (All, tls(", prefer_server_cipher_suites: false"), ""),
        (All, ciphers("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_AES_128_GCM_SHA256"), ""),
        (All, ciphers("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384") + "http_server_config: {http2: false}\n", ""),
        (All, "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    \
               X-XSS-Protection: 1\n    Strict-Transport-Security: max-age=31536000; includeSubDomains\n    \
               Content-Security-Policy: \"default-src 'self'\"\n".into(), ""),
        (Newer, inline, ""),
        (Newer, tls(", client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [a, b]"), ""),
        (Newer, "rate_limit: {interval: 0, burst: 0}\n".into(), ""),
        (Newer, "rate_limit: {interval: 1m30s, burst: 5}\n".into(), ""),
        (Newer, "rate_limit: {interval: 500ms}\n".into(), ""),
        // They look for it only when they serve, and do not start.
        (Them, ciphers("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"), "HTTP/2 needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        // It would let nobody in.
        (Them, policy("RequireAndVerifyClientCert"), "client_ca_file: missing"),
        (Them, tls(", client_ca_file: server.key, client_auth_type: VerifyClientCertIfGiven"), "client_ca_file: no certificate"),
        // rustls has only TLS 1.2 and 1.3, and no P-521.
        (Them, tls(", max_version: TLS11, min_version: TLS10"), "max_version: no version is left"),
        (Them, tls(", curve_preferences: [CurveP521]"), "curve_preferences: add X25519"),
        (Nobody, "junk\njunk\n".into(), "web.yml:1:1: "),
        (Nobody, "tls_server_config: {cert_filse: server.crt}\n".into(), "web.yml:1:21: unknown field `cert_filse`"),
        (Nobody, "tls_server_confg: {}\n".into(), "web.yml:1:1: unknown field `tls_server_confg`"),
        (Nobody, "tls_server_config: {cert_file: server.crt}\n".into(), "key_file: missing"),
        (Nobody, "tls_server_config: {key_file: server.key}\n".into(), "cert_file: missing"),
        (Nobody, "tls_server_config: {cert_file: '', key_file: server.key}\n".into(), "cert_file: missing"),
        (Nobody, "tls_server_config: {cert_file: server.crt, key_file: ''}\n".into(), "key_file: missing"),
        (Nobody, "tls_server_config: {client_auth_type: RequireAnyClientCert}\n".into(), "cert_file: missing"),
        (Nobody, "tls_server_config: {cert_file: none, key_file: server.key}\n".into(), "none: No such file"),
        (Nobody, "tls_server_config: {cert_file: server.crt, key_file: none}\n".into(), "none: No such file"),
        (Nobody, "tls_server_config: {cert_file: server.crt, key_file: client.key}\n".into(), "do not go together"),
        (Nobody, "tls_server_config: {cert_file: server.key, key_file: server.key}\n".into(), "cert_file: no certificate"),
        (Nobody, "tls_server_config: {cert_file: server.crt, key_file: server.crt}\n".into(), "key_file: no private key"),
        (Nobody, tls(", client_ca_file: ca.crt"), "set `client_auth_type: RequireAndVerifyClientCert`"),
        (Nobody, tls(", client_ca_file: none, client_auth_type: VerifyClientCertIfGiven"), "none: No such file"),
        (Nobody, policy("RequireSomething"), "web.yml:1:"),
        (Nobody, ciphers("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048"), "unknown cipher suite `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048`"),
        (Nobody, tls(", curve_preferences: [CurveP257]"), "web.yml:1:"),
        (Nobody, tls(", min_version: TLS111"), "web.yml:1:"),
        (Nobody, tls(", prefer_server_cipher_suites: perhaps"), "web.yml:1:"),
        (Nobody, format!("{}basic_auth_users: {{ann: hunter2}}\n", tls("")), "not a bcrypt hash"),
        (Nobody, "http_server_config: {headers: {Content-Type: foo}}\n".into(), "Content-Type"),
        (Nobody, "http_server_config: {headers: {X-Content-Type-Options: sniff}}\n".into(), "web.yml:1:"),
        (Nobody, "http_server_config: {headers: {X-Frame-Options: foo}}\n".into(), "web.yml:1:"),
        (Nobody, "http_server_config: {http3: true}\n".into(), "unknown field `http3`"),
        (Nobody, "rate_limit: {interval: soon}\n".into(), "web.yml:1:"),
    ]
}

#[test]
fn the_files_of_the_ecosystem_are_accepted_or_refused_as_there() {
    let certificates = Certificates::new();
    let promtool = program(&["promtool"]);
    for (by, text, why) in files(&certificates) {
        let path = certificates.config(&text);
        let ours = Web::load(&path).map(|web| web.warnings().to_vec());
        match (&ours, by) {
            (Ok(_), By::All | By::Newer) => {}
            (Err(e), By::Them | By::Nobody) => {
                let e = e.to_string();
                assert!(e.contains(why), "{text}\ngave {e:?}, not {why:?}");
                assert!(!e.contains("hunter2") && !e.contains("PRIVATE"), "{e}");
            }
            (result, by) => panic!("{by:?}: {text}\ngave {result:?}"),
        }
        let Some(promtool) = &promtool else { continue };
        let theirs = Command::new(promtool).args(["check", "web-config"]).arg(&path).output().unwrap();
        let says = String::from_utf8_lossy(&[theirs.stdout, theirs.stderr].concat()).into_owned();
        if by != By::Newer {
            assert_eq!(theirs.status.success(), matches!(by, By::All | By::Them), "{by:?}: {text}\n{says}");
        }
    }
}

#[test]
fn what_is_accepted_and_does_not_do_what_it_says_is_warned_of() {
    let certificates = Certificates::new();
    for (text, warning) in [
        (tls(", client_auth_type: VerifyClientCertIfGiven"), "no certificate of a client is accepted"),
        (tls(", client_allowed_sans: [a]"), "client_allowed_sans protects nothing"),
        (tls(", min_version: TLS11"), "TLS 1.0 and 1.1 are not spoken"),
        (tls(", curve_preferences: [CurveP521, X25519]"), "CurveP521 is not offered"),
        (
            tls(", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]"),
            "TLS_RSA_WITH_AES_128_CBC_SHA is too weak",
        ),
    ] {
        let web = Web::load(&certificates.config(&text)).unwrap();
        let [only] = web.warnings() else { panic!("{text}: {:?}", web.warnings()) };
        assert!(only.contains(warning), "{only}");
    }
    assert!(Web::load(&certificates.config(&tls(""))).unwrap().warnings().is_empty());
}

#[test]
fn up_would_need_the_passwords_and_says_so() {
    let certificates = Certificates::new();
    let config = certificates.path("headroom.yaml");
    for keys in [
        "exporter: {web_config_file: web.yml}",
        "optimizer: {web_config_file: web.yml}",
        "exporter: {systemd_socket: true}",
    ] {
        std::fs::write(&config, keys).unwrap();
        let output = Command::new(HEADROOM).args(["up", "--config"]).arg(&config).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && text.contains("not for `up`"), "{text}");
    }
}

#[test]
fn check_config_looks_into_the_web_configuration_too() {
    let certificates = Certificates::new();
    let check = |key: &str, text: &str| {
        certificates.config(text);
        let config = certificates.path("headroom.yaml");
        std::fs::write(&config, format!("{key}: {{web_config_file: web.yml}}\n")).unwrap();
        let output = Command::new(HEADROOM).args(["check", "config"]).arg(&config).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for key in ["exporter", "optimizer"] {
        assert_eq!(check(key, &tls("")), (Some(0), String::new()));
        let (code, text) = check(key, &tls(", client_allowed_sans: [a]"));
        assert!(code == Some(0) && text.contains("client_allowed_sans"), "{text}");
        let (code, text) = check(key, "http_server_config:\n  http4: true\n");
        let place = format!("{}:2:3: ", certificates.path("web.yml").display());
        assert!(code == Some(2) && text.contains(&place), "{text}");
    }
}
