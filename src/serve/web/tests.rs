use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

/// A directory with a certificate, its key and a web configuration.
fn directory(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    write_pair(&dir);
    let path = dir.path().join("web.yml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn write_pair(dir: &TempDir) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(dir.path().join("a.crt"), cert.pem()).unwrap();
    std::fs::write(dir.path().join("a.key"), signing_key.serialize_pem()).unwrap();
}

const TLS: &str = "tls_server_config: {cert_file: a.crt, key_file: a.key}\n";
const NAMED: &str = "tls_server_config: {cert_file: a.crt, key_file: a.key, client_ca_file: a.crt, \
    client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [a.example]}\n";
const USER: &str = "basic_auth_users: {ann: $2b$04$gVyxW1yJQgmgCFTL2iQoHeSICFRGZ7ttNjA5LEmRSuvYyyeGPNQoC}\n";

#[test]
fn a_change_of_certificate_and_key_is_used_and_half_of_it_is_not() {
    let (dir, path) = directory(TLS);
    let web = Web::load(&path).unwrap();
    let config = |web: &Web| Arc::as_ptr(&web.now().tls.as_ref().unwrap().config);
    let first = config(&web);
    assert!(matches!(web.refresh(), Change::None));
    let key = std::fs::read(dir.path().join("a.key")).unwrap();
    write_pair(&dir);
    let next = std::fs::read(dir.path().join("a.key")).unwrap();
    std::fs::write(dir.path().join("a.key"), key).unwrap();
    let Change::Refused(e) = web.refresh() else { panic!("half a change was used") };
    assert!(e.to_string().contains("do not go together"), "{e}");
    assert_eq!(config(&web), first);
    assert!(matches!(web.refresh(), Change::None), "a bad state is told once");
    std::fs::write(dir.path().join("a.key"), next).unwrap();
    assert!(matches!(web.refresh(), Change::Used));
    assert_ne!(config(&web), first);
    std::fs::remove_file(dir.path().join("a.crt")).unwrap();
    assert!(matches!(web.refresh(), Change::Refused(_)), "a file that is gone is a bad one");
}

#[test]
fn a_file_that_is_emptied_while_it_is_written_opens_nothing() {
    for (before, after, weaker) in [
        (USER.to_owned(), String::new(), true),
        (TLS.to_owned(), String::new(), true),
        (format!("{TLS}{USER}"), TLS.to_owned(), true),
        (format!("{TLS}{USER}"), USER.to_owned(), true),
        (
            TLS.replace('}', ", client_ca_file: a.crt, client_auth_type: RequireAndVerifyClientCert}"),
            TLS.into(),
            true,
        ),
        (NAMED.to_owned(), NAMED.replace(", client_allowed_sans: [a.example]", ""), true),
        (NAMED.to_owned(), NAMED.replace("a.example", "b.example, c.example"), false),
        (NAMED.replace(", client_allowed_sans: [a.example]", ""), NAMED.to_owned(), false),
        (USER.to_owned(), format!("{TLS}{USER}"), false),
        (String::new(), USER.to_owned(), false),
        (USER.to_owned(), USER.replace("ann", "bob"), false),
    ] {
        let (_dir, path) = directory(&before);
        let web = Web::load(&path).unwrap();
        let old = (web.now().tls.is_some(), web.now().users.clone().len());
        std::fs::write(&path, &after).unwrap();
        match web.refresh() {
            Change::Refused(e) if weaker => assert!(e.to_string().contains("only a restart"), "{e}"),
            Change::Used if !weaker => continue,
            _ => panic!("{before:?} to {after:?}"),
        }
        assert_eq!((web.now().tls.is_some(), web.now().users.len()), old);
    }
}

#[test]
fn a_file_cut_anywhere_is_read_or_refused_and_never_says_a_secret() {
    let whole =
        format!("{TLS}{USER}rate_limit: {{burst: 3, interval: 1s}}\nhttp_server_config: {{http2: false}}\n");
    for at in 0..=whole.len() {
        let (_dir, path) = directory(&whole[..at]);
        if let Err(e) = Web::load(&path) {
            assert!(!e.to_string().contains("gVyxW1"), "{e}");
        }
    }
    let (_dir, path) = directory("basic_auth_users: {ann: hunter2}\n");
    let e = Web::load(&path).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("web.yml:1:") && e.contains("bcrypt") && !e.contains("hunter2"), "{e}");
    let (_dir, path) = directory("tls_server_config: {cert_file: a.crt, key: hunter2}\n");
    let e = Web::load(&path).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("key_file: no private key") && !e.contains("hunter2"), "{e}");
}
