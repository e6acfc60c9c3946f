//! A small service that takes part in Headroom: it measures its requests, and gives memory back when it is asked to.
//!
//! `cargo run --example kit_service -- 127.0.0.1:8088 127.0.0.1:8089 hook-token`; then `curl 127.0.0.1:8088/thumbnail/7`, and
//! `curl 127.0.0.1:8089/metrics`. docs/kit.md goes through it. An application of your own says `use headroom::kit`.

use headroom_kit::lifecycle::{Component, wait_until_asked_to_end};
use headroom_kit::part::PartError;
use headroom_kit::pool::{Manager, Metrics, RecycleResult};
use headroom_kit::{Cache, Hook, Kit, Lazy, Lifecycle, Pool, Requests, Serving, cache, lazy, pool};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const THUMBNAIL_BYTES: usize = 1 << 20;
const CANVAS_BYTES: usize = 8 << 20;
const ROW_BYTES: usize = 4096;
const MODEL_WORDS: usize = 8 << 20;
const START: Duration = Duration::from_secs(10);

/// What the service holds; each part is registered by being made.
struct Shop {
    /// Dear to make, and soon made again: the first that goes.
    thumbnails: Cache<u32, Vec<u8>>,
    /// To draw on. What nobody uses for a minute goes by itself.
    canvases: Pool<Canvases>,
    /// Loaded by the first who wants it, unloaded when idle.
    model: Lazy<Vec<u64>>,
}

struct Canvases;

impl Manager for Canvases {
    type Type = Vec<u8>;
    type Error = Infallible;

    async fn create(&self) -> Result<Vec<u8>, Infallible> {
        Ok(vec![255; CANVAS_BYTES])
    }

    async fn recycle(&self, canvas: &mut Vec<u8>, _: &Metrics) -> RecycleResult<Infallible> {
        canvas.fill(255);
        Ok(())
    }
}

impl Shop {
    fn new(kit: &Kit) -> Result<Self, PartError> {
        let bytes_max = 256 << 20;
        let thumbnails = cache::Options { bytes_max, ..cache::Options::default() };
        let canvases = pool::Options {
            objects_max: 4,
            object_bytes: CANVAS_BYTES as u64,
            wait_max: Some(Duration::from_secs(5)),
            kind: "shrink_pools".into(),
            ..pool::Options::default()
        };
        let model =
            lazy::Options { size: lazy::Size::Bytes(MODEL_WORDS as u64 * 8), ..lazy::Options::default() };
        Ok(Self {
            thumbnails: Cache::new(kit, "thumbnails", thumbnails, Vec::len)?,
            canvases: Pool::new(kit, "canvases", canvases, Canvases)?,
            model: Lazy::new(kit, "colours", model, || Ok((0..MODEL_WORDS as u64).collect()))?,
        })
    }

    /// A picture: out of the cache, or drawn.
    async fn thumbnail(&self, number: u32) -> Result<Arc<Vec<u8>>, PartError> {
        if let Some(thumbnail) = self.thumbnails.get(&number) {
            return Ok(thumbnail);
        }
        let mut canvas = self.canvases.get().await.map_err(|e| e.to_string())?;
        let model = self.model.get()?;
        // A picture takes a moment to arrive, in which others draw.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let colours =
            |at: usize| model.get((at * 31 + number as usize) % MODEL_WORDS).copied().unwrap_or_default();
        let row: Vec<u8> = (0..ROW_BYTES).map(|at| colours(at).to_le_bytes()[0]).collect();
        canvas.chunks_exact_mut(ROW_BYTES).for_each(|place| place.copy_from_slice(&row));
        // Every eighth row of a large picture is a small one.
        let rows = canvas.chunks_exact(ROW_BYTES).step_by(CANVAS_BYTES / THUMBNAIL_BYTES);
        // The look above has counted the miss.
        Ok(self.thumbnails.put(number, rows.collect::<Vec<_>>().concat()))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let number = request.uri().path().strip_prefix("/thumbnail/").and_then(|number| number.parse().ok());
        let (status, body) = match number {
            None => (StatusCode::NOT_FOUND, Bytes::from_static(b"there is /thumbnail/NUMBER\n")),
            Some(number) => match self.thumbnail(number).await {
                Ok(thumbnail) => (StatusCode::OK, Bytes::copy_from_slice(&thumbnail)),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string().into()),
            },
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response
    }
}

/// The part that customers see: a listener on a thread of its own.
struct Front {
    listen: String,
    shop: Arc<Shop>,
    requests: Requests,
    running: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl Component for Front {
    fn start(&mut self) -> Result<(), PartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(&self.listen))?;
        let (shop, requests) = (Arc::clone(&self.shop), self.requests.clone());
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = serve(listener, shop, requests) => {}
                }
            });
        });
        self.running = Some((end, thread));
        Ok(())
    }

    fn stop(&mut self) -> Result<(), PartError> {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            thread.join().map_err(|_| "its thread panicked")?;
        }
        Ok(())
    }
}

async fn serve(listener: TcpListener, shop: Arc<Shop>, requests: Requests) {
    while let Ok((stream, _)) = listener.accept().await {
        let shop = Arc::clone(&shop);
        let answer = service_fn(move |request| {
            let shop = Arc::clone(&shop);
            async move { Ok::<_, Infallible>(shop.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), requests.measured(answer));
        tokio::spawn(connection);
    }
}

/// The part that Headroom sees.
struct Back {
    kit: Kit,
    hook: Hook,
    serving: Option<Serving>,
}

impl Component for Back {
    fn start(&mut self) -> Result<(), PartError> {
        self.serving = Some(self.kit.serve(self.hook.clone())?);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), PartError> {
        self.serving = None;
        Ok(())
    }
}

fn main() -> Result<(), PartError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, hook, token_file] = arguments.as_slice() else {
        return Err("usage: kit_service LISTEN HOOK TOKEN_FILE".into());
    };
    let kit = Kit::new();
    let shop = Arc::new(Shop::new(&kit)?);
    let requests = Requests::new(kit.metrics())?;
    let mut life = Lifecycle::new(&kit);
    let hook = Hook::new(hook).token_file(token_file);
    life.add("hook", START, Back { kit: kit.clone(), hook, serving: None });
    life.add("front", START, Front { listen: listen.clone(), shop, requests, running: None });
    life.start()?;
    wait_until_asked_to_end()?;
    // The front first, then the hook; dropped, it would do the same.
    life.stop();
    Ok(())
}
