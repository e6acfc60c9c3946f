//! The sample application of the demonstration: a cache that grows, shows its own metrics and gives memory back when
//! it is asked to.

use crate::collect::own;
use crate::encode::text::{CONTENT_TYPE, TextEncoder};
use crate::host::Host;
use crate::serve::listener::Listener;
use crate::serve::metrics::Metrics;
use crate::serve::{Answer, Handler, Limits, body, only_get};
use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use prometheus::{IntCounter, IntGauge, Registry};
use serde::Deserialize;
use serde_json::json;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What the cache keeps in one entry.
const ENTRY_BYTES: usize = 1 << 20;
/// The cache grows in steps of this time.
const STEP: Duration = Duration::from_millis(100);

/// Options of the sample application.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long)]
    pub listen: SocketAddr,
    /// How fast the cache grows, in MiB a second
    #[arg(long, default_value_t = 40)]
    pub grow: u64,
    /// The size at which it stops to grow, in MiB
    #[arg(long, default_value_t = 300)]
    pub most: u64,
    /// How the hook answers: well, or as an application that is ill
    #[arg(long, value_enum, default_value_t = Manner::Well)]
    pub manner: Manner,
}

/// How the hook answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Manner {
    /// Releases what it is asked for.
    Well,
    /// Never answers.
    Hangs,
    /// Answers 500.
    Fails,
    /// Answers 200 with something that is no answer, and releases nothing.
    Nonsense,
    /// Says that it released all, and releases nothing.
    Lies,
}

/// Serves until SIGTERM.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<u8> {
    let registry = Registry::new();
    let app = Arc::new(App::new(&registry, args)?);
    let socket =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let metrics = Metrics::new(&registry)?;
    let (stop, stopped) = watch::channel(false);
    let (sockets, limits) = (vec![socket], Limits::default());
    let listener = Listener { sockets, name: "app", limits, metrics, web: None, http2_plain: false };
    let served = tokio::spawn(listener.run(Arc::clone(&app), stopped)?);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut tick = tokio::time::interval(STEP);
    loop {
        tokio::select! {
            _ = tick.tick() => app.grow(args),
            _ = terminate.recv() => break,
        }
    }
    let _told = stop.send(true);
    served.await?;
    Ok(0)
}

struct App {
    cache: Mutex<VecDeque<Vec<u8>>>,
    held: IntGauge,
    released: IntCounter,
    registry: Registry,
    manner: Manner,
    full: AtomicBool,
}

/// What the hook is asked.
#[derive(Deserialize)]
struct Reclaim {
    bytes: u64,
}

impl App {
    fn new(registry: &Registry, args: &Args) -> Result<Self> {
        let held = IntGauge::new("demo_cache_bytes", "What the sample cache holds.")?;
        let released = IntCounter::new(
            "demo_cache_released_bytes_total",
            "What the sample cache says that it gave back.",
        )?;
        registry.register(Box::new(held.clone()))?;
        registry.register(Box::new(released.clone()))?;
        Ok(Self {
            cache: Mutex::default(),
            held,
            released,
            registry: registry.clone(),
            manner: args.manner,
            full: AtomicBool::new(false),
        })
    }

    fn grow(&self, args: &Args) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = u64::try_from(STEP.as_millis()).unwrap_or(100);
        for _ in 0..(args.grow * steps).div_ceil(1000) {
            if self.full.load(Ordering::Relaxed) || cache.len() as u64 >= args.most {
                // It fills up once: what was given back stays away, and the alert can resolve.
                self.full.store(true, Ordering::Relaxed);
                break;
            }
            // Written, not merely reserved: the kernel counts pages that were touched.
            cache.push_back(vec![0xA5; ENTRY_BYTES]);
        }
        self.held.set(i64::try_from(cache.len() * ENTRY_BYTES).unwrap_or(i64::MAX));
    }

    /// Drops the oldest entries; each is a mapping of its own, so the kernel has it back at once.
    fn release(&self, bytes: u64) -> u64 {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut released = 0;
        while released < bytes && cache.pop_front().is_some() {
            released += ENTRY_BYTES as u64;
        }
        self.held.set(i64::try_from(cache.len() * ENTRY_BYTES).unwrap_or(i64::MAX));
        self.released.inc_by(released);
        self.full.store(true, Ordering::Relaxed);
        released
    }

    async fn reclaim(&self, request: Request<Incoming>) -> Answer {
        const NAME: &str = "reclaim";
        let body = match body(NAME, request, Limits::default()).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let Ok(asked) = serde_json::from_slice::<Reclaim>(&body) else {
            return Answer::text(
                NAME,
                StatusCode::BAD_REQUEST,
                "expected {\"bytes\": number, \"urgency\": \"low\" or \"high\"}",
            );
        };
        match self.manner {
            // A little more than asked for, so that the next entry does not break the budget again.
            Manner::Well => {
                Answer::json(NAME, &json!({ "released_bytes": self.release(asked.bytes + asked.bytes / 4) }))
            }
            Manner::Hangs => std::future::pending().await,
            Manner::Fails => Answer::text(NAME, StatusCode::INTERNAL_SERVER_ERROR, "out of order"),
            Manner::Nonsense => Answer::text(NAME, StatusCode::OK, "<html>all is well</html>"),
            Manner::Lies => Answer::json(NAME, &json!({ "released_bytes": asked.bytes })),
        }
    }

    fn metrics(&self) -> Answer {
        let mut encoder = TextEncoder::default();
        match own::collector(self.registry.clone()).collect(&Host::default(), &mut encoder) {
            Ok(()) => Answer::page("metrics", CONTENT_TYPE, encoder.page().to_vec()),
            Err(e) => Answer::text("metrics", StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
        }
    }
}

impl Handler for App {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (method, "/metrics") => only_get("metrics", method).unwrap_or_else(|| self.metrics()),
            (&Method::POST, "/headroom/reclaim") => self.reclaim(request).await,
            (_, "/headroom/reclaim") => Answer::wrong_method("reclaim", "POST"),
            _ => Answer::not_found(),
        }
    }
}
