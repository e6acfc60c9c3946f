//! What is sent over TLS: to who is trusted, with a certificate of one's own, and to nobody else.

use crate::certificates::Certificates;
use crate::export::{Exporter, received};
use crate::stack::{HEADROOM, Running, eventually, free_address, get};
use std::process::Command;

#[test]
fn what_is_sent_over_tls_goes_to_nobody_who_is_not_trusted() {
    let certificates = Certificates::new();
    let web = certificates.config(
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, \
         client_auth_type: RequireAndVerifyClientCert}\n",
    );
    let (page, http, grpc, dir) =
        (free_address(), free_address(), free_address(), tempfile::tempdir().unwrap());
    let file = dir.path().join("headroom.yaml");
    let config = format!(
        "exporter: {{listen: '{page}', collectors: {{disable_defaults: true}}}}\napplications: {{otlp: {{http: '{http}', grpc: \
         '{grpc}', web_config_file: '{}'}}}}\n",
        web.display()
    );
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(HEADROOM);
    let _receiver =
        Running::start(command.arg("exporter").arg("--config").arg(&file), &dir.path().join("log"));
    eventually("the receiver", 30, || get(&format!("http://{page}/-/ready")));
    let path = |name: &str| certificates.path(name).display().to_string();
    for (way, to) in [("http/protobuf", http), ("grpc", grpc)] {
        for (ca, client, taken) in
            [("ca.crt", "client", true), ("own.crt", "client", false), ("ca.crt", "stranger", false)]
        {
            let name = format!("depth_{}_{taken}", to.port());
            let sender = Exporter::start(&format!(
                "  queue: {{retry_min: 100ms, retry_max: 300ms}}\n  otlp: {{enabled: true, protocol: {way}}}\notlp: \
                 {{endpoint: 'https://localhost:{}', ca_file: '{}', cert_file: '{}', key_file: '{}'}}\n",
                to.port(),
                path(ca),
                path(&format!("{client}.crt")),
                path(&format!("{client}.key"))
            ));
            sender.write(&format!("# TYPE {name} gauge\n{name} 5\n"));
            let sent = || sender.metric("points_sent_total{to=\"otlp\"}");
            if taken {
                let shown = || received(&get(&format!("http://{page}/metrics"))?.1, &name);
                eventually("the gauge", 60, || shown().filter(|value| *value == 5.0));
                // The receiver shows it before the sender has read the answer.
                eventually("the count", 60, || sent().filter(|points| *points > 0.0));
                continue;
            }
            let failed = "requests_failed_total{reason=\"unreachable\",to=\"otlp\"}";
            eventually("the failures", 60, || sender.metric(failed).filter(|failures| *failures >= 2.0));
            assert_eq!(sent(), Some(0.0), "{way} {ca} {client}");
        }
    }
}
