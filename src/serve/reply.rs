//! The body of an answer: bytes that are there, those that are yet to come, and what follows them.

use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::any::Any;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// A body.
#[derive(Default)]
pub(super) struct Reply {
    bytes: Option<Bytes>,
    stream: Option<mpsc::Receiver<Bytes>>,
    trailers: Option<Box<HeaderMap>>,
    /// Dropped when the body has gone out, or nobody wants it any more.
    held: Option<Box<dyn Any + Send>>,
}

impl Reply {
    pub(super) fn new(
        bytes: Bytes,
        stream: Option<mpsc::Receiver<Bytes>>,
        trailers: Option<Box<HeaderMap>>,
    ) -> Self {
        Self { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), stream, trailers, held: None }
    }

    /// Keeps something for as long as more may come.
    pub(super) fn holding(&mut self, held: impl Any + Send) {
        if self.stream.is_some() {
            self.held = Some(Box::new(held));
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(bytes) = this.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(stream) = &mut this.stream {
            if let Some(bytes) = ready!(stream.poll_recv(context)) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            this.stream = None;
            this.held = None;
        }
        Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.stream.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // With its length known, nothing could follow a body.
        if self.trailers.is_some() || self.stream.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
