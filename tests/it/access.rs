//! Who may do what at the optimizer's pages, and how commands come to them over TLS.

use crate::certificates::Certificates;
use crate::silence::{alertmanager_as, fire};
use crate::stack::{HEADROOM, Optimizer, alert, eventually, free_address, get, metric, notification};
use headroom::client::trust::{Files, Trust};
use headroom::client::{Call, send_blocking};
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::json;
use std::process::Command;

fn call(optimizer: &Optimizer, method: &Method, page: &str, token: &str, body: Vec<u8>) -> u16 {
    let authorization = Some(HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    let (method, body) = (method.clone(), Some(body));
    let call = Call { method, authorization, body, ..Call::get(optimizer.url(page)) };
    send_blocking(call).unwrap().0.as_u16()
}

#[test]
fn the_token_for_reading_opens_what_changes_nothing_and_each_refusal_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("look");
    std::fs::write(&file, "only-look\n").unwrap();
    let optimizer = Optimizer::start("", &format!("  read_token_file: {}\n", file.display()));
    let count = |reason: &str| {
        let labels = format!("{{listener=\"optimizer\",reason=\"{reason}\"}}");
        optimizer.metric(&format!("headroom_http_auth_failures_total{labels}"))
    };
    for reason in ["missing", "wrong", "forbidden"] {
        assert!(count(reason) < 0.5, "a counter's zero is there from the start");
    }
    let reclaim = br#"{"target": "a", "bytes": 1}"#.to_vec();
    for (method, page, body, writes, good) in [
        (Method::GET, "/api/v1/actions", vec![], false, 200),
        (Method::GET, "/api/v1/pause", vec![], false, 200),
        (Method::PUT, "/api/v1/pause", vec![], true, 200),
        (Method::DELETE, "/api/v1/pause", vec![], true, 200),
        (Method::POST, "/api/v1/reclaim", reclaim, true, 400),
        (Method::POST, "/api/v1/alerts", notification(&[alert("a", "ab", "firing")]), true, 200),
    ] {
        let with = |token: &str| call(&optimizer, &method, page, token, body.clone());
        assert_eq!(with("only-look"), if writes { 403 } else { good }, "{method} {page}");
        assert_eq!(with("let-me-in"), good, "{method} {page}");
        assert_eq!(with("neither"), 401, "{method} {page}");
    }
    assert_eq!(get(&optimizer.url("/api/v1/actions")).unwrap().0, 401);
    assert_eq!((count("missing"), count("wrong"), count("forbidden")), (1.0, 6.0, 4.0));
    assert_eq!(optimizer.metric("headroom_optimizer_notifications_total{result=\"unauthorized\"}"), 2.0);
    // An ordinary 403 is no refusal of anybody.
    assert_eq!(call(&optimizer, &Method::POST, "/-/reload", "let-me-in", vec![]), 403);
    assert_eq!(count("forbidden"), 4.0);
    // The refused ones have left nothing: what is there came with the right token.
    assert_eq!(optimizer.entries("").len(), 1);
    // A reload brings another token, and the old one opens nothing.
    std::fs::write(&file, "another\n").unwrap();
    optimizer.running.signal(rustix::process::Signal::HUP);
    eventually("the new token", 20, || {
        (call(&optimizer, &Method::GET, "/api/v1/actions", "another", vec![]) == 200).then_some(())
    });
    assert_eq!(call(&optimizer, &Method::GET, "/api/v1/actions", "only-look", vec![]), 401);
}

#[test]
fn where_users_are_asked_the_token_for_reading_opens_no_reload() {
    let certificates = Certificates::new();
    let web = certificates.config(&format!("basic_auth_users: {{ann: {}}}\n", crate::web::HASH));
    let read = certificates.path("look");
    std::fs::write(&read, "only-look\n").unwrap();
    let keys = format!("  web_config_file: {}\n  read_token_file: {}\n", web.display(), read.display());
    let optimizer = Optimizer::start("reload_endpoint: true\n", &keys);
    let with = |method: &Method, page: &str, token: &str| call(&optimizer, method, page, token, vec![]);
    assert_eq!(with(&Method::GET, "/metrics", "only-look"), 200);
    assert_eq!(with(&Method::POST, "/-/reload", "only-look"), 401);
    assert_eq!(with(&Method::POST, "/-/reload", "let-me-in"), 200);
}

#[test]
fn the_real_alertmanager_comes_in_by_password_or_certificate_where_that_is_said() {
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    std::fs::write(path("password"), "s3cret").unwrap();
    let ca = json!({"ca_file": path("ca.crt")});
    let certificate =
        json!({"ca_file": path("ca.crt"), "cert_file": path("client.crt"), "key_file": path("client.key")});
    let user = json!({"username": "ann", "password_file": path("password")});
    let users = format!("basic_auth_users: {{ann: {}}}\n", crate::web::HASH);
    let verify = ", client_ca_file: ca.crt, client_auth_type: VerifyClientCertIfGiven";
    let any = ", client_auth_type: RequestClientCert";
    for (tls, web, keys, http_config, comes_in) in [
        ("", &users[..], "write: {users: [ann]}", json!({"basic_auth": user, "tls_config": ca}), true),
        ("", &users, "read: {users: [ann]}", json!({"basic_auth": user, "tls_config": ca}), false),
        (verify, "", "write: {sans: [prometheus.example]}", json!({"tls_config": certificate}), true),
        (verify, "", "write: {sans: [other.example]}", json!({"tls_config": certificate}), false),
        // Asked for and not verified: anybody could have made it.
        (any, "", "write: {sans: [prometheus.example]}", json!({"tls_config": certificate}), false),
        // Nobody unless named.
        (verify, &users, "read: {}", json!({"basic_auth": user, "tls_config": certificate}), false),
    ] {
        let text = format!("tls_server_config: {{cert_file: server.crt, key_file: server.key{tls}}}\n{web}");
        let web = certificates.config(&text);
        let dir = tempfile::tempdir().unwrap();
        let trust = Files { ca_file: Some(certificates.path("ca.crt")), ..Files::default() };
        let keys = format!("  web_config_file: {}\n  {keys}\n", web.display());
        let optimizer = Optimizer::start_over(dir, Trust::new(&trust).unwrap(), &keys);
        let (at, address) = (tempfile::tempdir().unwrap(), free_address());
        let Some(_server) = alertmanager_as(at.path(), address, &optimizer, &http_config) else { return };
        fire(address, &alert("held", "", "firing")["labels"]);
        let seen = eventually("the webhook is called", 60, || {
            let authorization = Some(HeaderValue::from_static("Bearer let-me-in"));
            let call = Call {
                authorization,
                trust: optimizer.trust.clone(),
                ..Call::get(optimizer.url("/metrics"))
            };
            let page = String::from_utf8(send_blocking(call).unwrap().1.to_vec()).unwrap();
            let count = |result: &str| {
                metric(&page, &format!("headroom_optimizer_notifications_total{{result=\"{result}\"}}")) > 0.5
            };
            let seen = (count("accepted"), count("unauthorized"));
            (seen != (false, false)).then_some(seen)
        });
        assert_eq!(seen, (comes_in, !comes_in), "{keys} {http_config}");
    }
}

#[test]
fn without_a_token_what_a_user_or_a_certificate_may_is_counted_and_no_form_of_a_browser_comes_in() {
    let certificates = Certificates::new();
    let text = format!(
        "tls_server_config: {{cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, client_auth_type: \
         VerifyClientCertIfGiven}}\nbasic_auth_users: {{ann: {}}}\n",
        crate::web::HASH
    );
    let web = certificates.config(&text);
    let keys = format!(
        "  web_config_file: {}\n  write: {{sans: [other.example]}}\n  read: {{users: [ann], sans: [prometheus.example]}}\n  \
         targets: [{{name: a, cgroup: /}}]\n",
        web.display()
    );
    let file = |name: &str| Some(certificates.path(name));
    let trust = |pair: Option<&str>| {
        let (cert_file, key_file) =
            pair.map_or((None, None), |p| (file(&format!("{p}.crt")), file(&format!("{p}.key"))));
        Trust::new(&Files { ca_file: file("ca.crt"), cert_file, key_file }).unwrap()
    };
    let optimizer = Optimizer::start_over(tempfile::tempdir().unwrap(), trust(None), &keys);
    let ask =
        |pair: Option<&str>, login: Option<&'static str>, method: &Method, page: &str, kind: &'static str| {
            let mut call = Call {
                method: method.clone(),
                authorization: login.map(HeaderValue::from_static),
                body: Some(br#"{"target": "a", "bytes": 1, "dry_run": true}"#.to_vec()),
                trust: Some(trust(pair)),
                ..Call::get(optimizer.url(page))
            };
            call.headers.insert("content-type", HeaderValue::from_static(kind));
            send_blocking(call).unwrap().0.as_u16()
        };
    // ann:s3cret and ann:wrong.
    let (ann, wrong) = (Some("Basic YW5uOnMzY3JldA=="), Some("Basic YW5uOndyb25n"));
    let (json, form) = ("application/json", "text/plain");
    let (record, reclaim) = ("/api/v1/actions", "/api/v1/reclaim");
    for (pair, login, method, page, kind, want) in [
        (None, ann, Method::GET, record, json, 200),
        (None, ann, Method::POST, reclaim, json, 403),
        (None, wrong, Method::GET, record, json, 401),
        (None, None, Method::GET, record, json, 401),
        (Some("client"), None, Method::GET, record, json, 200),
        (Some("client"), None, Method::POST, reclaim, json, 403),
        (Some("other"), None, Method::POST, reclaim, json, 202),
        (Some("other"), None, Method::POST, reclaim, form, 415),
        (Some("other"), Some("Bearer let-me-in"), Method::POST, reclaim, form, 202),
        (Some("other"), None, Method::GET, "/metrics", json, 200),
    ] {
        assert_eq!(ask(pair, login, &method, page, kind), want, "{pair:?} {login:?} {method} {page} {kind}");
    }
    let page = Call { trust: Some(trust(Some("other"))), ..Call::get(optimizer.url("/metrics")) };
    let page = String::from_utf8(send_blocking(page).unwrap().1.to_vec()).unwrap();
    let forbidden = "headroom_http_auth_failures_total{listener=\"optimizer\",reason=\"forbidden\"}";
    assert_eq!(metric(&page, forbidden), 2.0, "the user's and the certificate's");
    // The commands need no token with a certificate or a user's file.
    std::fs::remove_file(optimizer.token_file()).unwrap();
    std::fs::write(certificates.path("ann"), "ann:s3cret\n").unwrap();
    let url = format!("https://localhost:{}", optimizer.address.port());
    let path = |name: &str| certificates.path(name).display().to_string();
    let status = |more: &[&str]| {
        let output = Command::new(HEADROOM)
            .args(["optimizer", "status", "--url", &url, "--ca-file", &path("ca.crt")])
            .args(more)
            .arg("--config")
            .arg(optimizer.dir.path().join("headroom.yaml"))
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(status(&["--cert-file", &path("client.crt"), "--key-file", &path("client.key")]).0, 0);
    assert_eq!(status(&["--user-file", &path("ann")]).0, 0);
    let (code, said) = status(&[]);
    assert!(code == 2 && said.contains("token"), "{said}");
}

#[test]
fn commands_reach_an_optimizer_over_tls_that_they_trust() {
    let certificates = Certificates::new();
    let web = certificates.config(
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, \
         client_auth_type: RequireAndVerifyClientCert}\n",
    );
    let path = |name: &str| certificates.path(name).display().to_string();
    let dir = tempfile::tempdir().unwrap();
    let files = |ca: &str, pair: &str| Files {
        ca_file: Some(certificates.path(ca)),
        cert_file: Some(certificates.path(&format!("{pair}.crt"))),
        key_file: Some(certificates.path(&format!("{pair}.key"))),
    };
    let optimizer = Optimizer::start_over(
        dir,
        Trust::new(&files("ca.crt", "client")).unwrap(),
        &format!("  web_config_file: {}\n  targets: [{{name: a, cgroup: /}}]\n", web.display()),
    );
    let url = format!("https://localhost:{}", optimizer.address.port());
    let headroom = |arguments: &[&str], over: &[&str]| {
        let config = optimizer.dir.path().join("headroom.yaml");
        let mut command = Command::new(HEADROOM);
        let output = command.args(arguments).args(over).arg("--config").arg(config).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text.into_owned())
    };
    let (ca, cert, key) = (path("ca.crt"), path("client.crt"), path("client.key"));
    let over = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let ready = format!("{url}/-/ready");
    assert_eq!(headroom(&["check", "ready", &ready], &over), (0, "ready\n".into()));
    // Its address comes from the configuration, and the scheme from the web configuration.
    let reclaim = ["reclaim", "a", "--bytes", "1MiB", "--ladder", "app_hook", "--dry-run"];
    let (code, said) = headroom(&reclaim, &over);
    assert!(said.contains("run 1: "), "{code}: {said}");
    let at = ["--url", &url];
    let with_url = [&at[..], &over].concat();
    assert_eq!(headroom(&["optimizer", "pause", "--reason", "tls"], &with_url), (0, "paused: tls\n".into()));
    assert_eq!(headroom(&["optimizer", "status"], &with_url), (1, "paused: tls\n".into()));
    assert_eq!(headroom(&["optimizer", "resume"], &with_url), (0, "not paused\n".into()));
    // Neither whom we do not trust, nor who does not trust us.
    let own = path("own.crt");
    let (stranger, its_key) = (path("stranger.crt"), path("stranger.key"));
    for (over, word) in [
        (&["--ca-file", &own, "--cert-file", &cert, "--key-file", &key][..], "no TLS with"),
        (&["--ca-file", &ca], "no usable answer"),
        (&["--ca-file", &ca, "--cert-file", &stranger, "--key-file", &its_key], "no usable answer"),
        (&["--ca-file", &key], "certificate"),
    ] {
        let (code, said) = headroom(&["check", "ready", &ready], over);
        assert!(code == 2 && said.contains(word), "{over:?}: {code}: {said}");
    }
}
