//! The counters of all listeners of this process.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// Why a request was not let in: no credentials; some that are none; a wrong user, password or token; too many wrong ones
/// before; too many whose passwords are being looked at; somebody who is known and may not do this.
pub(super) const AUTH_REASONS: [&str; 6] = ["missing", "malformed", "wrong", "limited", "busy", "forbidden"];
/// Why a connection never spoke TLS: it took too long; it spoke HTTP; its certificate; anything else.
pub(super) const TLS_REASONS: [&str; 4] = ["timeout", "plain_http", "certificate", "handshake"];

/// Counters of the HTTP listeners of this process.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) requests: IntCounterVec,
    pub(super) rejected: IntCounterVec,
    pub(super) auth_failures: IntCounterVec,
    pub(super) tls_failures: IntCounterVec,
    pub(super) config_good: IntGaugeVec,
}

impl Metrics {
    /// Makes the counters and puts them into `registry`.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let config_good = IntGaugeVec::new(
            Opts::new(
                "headroom_web_config_last_reload_successful",
                "Whether the web configuration file, its certificates and keys were good when last read.",
            ),
            &["listener"],
        )?;
        registry.register(Box::new(config_good.clone()))?;
        Ok(Self {
            requests: counter(
                "headroom_http_requests_total",
                "HTTP requests by listener, page and status code.",
                &["listener", "handler", "code"],
            )?,
            rejected: counter(
                "headroom_http_connections_rejected_total",
                "Connections beyond the listener's limit, answered 503.",
                &["listener"],
            )?,
            auth_failures: counter(
                "headroom_http_auth_failures_total",
                "Requests that were refused for who asks: without the right user and password, or token, by reason.",
                &["listener", "reason"],
            )?,
            tls_failures: counter(
                "headroom_http_tls_failures_total",
                "Connections that ended before TLS was agreed on, by reason.",
                &["listener", "reason"],
            )?,
            config_good,
        })
    }

    /// Shows why a listener whose pages want a token may refuse, before it has refused anything.
    pub fn show_refusals(&self, listener: &str) {
        for reason in AUTH_REASONS {
            self.auth_failures.with_label_values(&[listener, reason]);
        }
    }

    /// Shows what a listener with a web configuration may count, before it has counted any of it.
    pub(super) fn show_web(&self, listener: &str) {
        self.show_refusals(listener);
        for reason in TLS_REASONS {
            self.tls_failures.with_label_values(&[listener, reason]);
        }
        self.config_good.with_label_values(&[listener]).set(1);
    }
}
