//! How a pass becomes pages: encoders and buffers that are kept, and each coding made once.

use super::{Besides, Page, Recorded, Recording, Waiter, Want};
use crate::collect::Scraper;
use crate::collect::scraper::{Pick, Timing};
use crate::encode::compress::{Coding, Compressor};
use crate::encode::{Encoder, Syntax};
use crate::exporter::trace::Scrape;
use crate::metric::Sink;
use crate::metric::batch::{Recorder, Tee};
use hyper::body::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The encoders and their buffers, kept from pass to pass.
#[derive(Default)]
pub(super) struct Pages {
    encoders: Vec<(Syntax, Box<dyn Encoder>)>,
    compressor: Compressor,
}

/// A page as it was written.
pub(super) struct Written<'a> {
    /// Where it was written; empty once it was given away.
    page: &'a mut Vec<u8>,
    given: Option<Bytes>,
    compressor: &'a mut Compressor,
}

impl Pages {
    pub(super) fn make(
        &mut self,
        scraper: &Scraper,
        want: &Want,
        left: &AtomicBool,
        besides: &Besides,
    ) -> Written<'_> {
        let Self { encoders, compressor } = self;
        let at = encoders.iter().position(|(syntax, _)| *syntax == want.syntax);
        let at = at.unwrap_or_else(|| {
            encoders.push((want.syntax, want.syntax.encoder()));
            encoders.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "it was found at this place, or pushed above")]
        let encoder = &mut encoders[at].1;
        encoder.clear(want.scheme);
        let mut traced = besides.trace.as_ref().map(Scrape::pass);
        let out = (&mut **encoder as &mut dyn Sink, traced.as_mut().map(|pass| &mut pass.timings));
        if besides.recorders.is_empty() {
            scraper.scrape_timed(&want.pick, left, out);
        } else {
            record(scraper, left, out, &besides.recorders);
        }
        if let Some(pass) = traced {
            pass.ends();
        }
        Written { page: encoder.finish(), given: None, compressor }
    }
}

/// Makes a pass over all collectors for a page and for who wants its samples.
fn record(
    scraper: &Scraper,
    left: &AtomicBool,
    (encoder, timings): (&mut dyn Sink, Option<&mut Vec<Timing>>),
    to: &[Recording],
) {
    let (begun, mut samples) = (Instant::now(), recorder(to));
    scraper.scrape_timed(&Pick::All, left, (&mut Tee::new(encoder, &mut samples), timings));
    // Half a pass would look as if the other half had vanished.
    if !left.load(Ordering::Acquire) {
        let recorded = Arc::new(Recorded { batch: samples.finish(), begun });
        for to in to {
            // Who does not want it any more has gone, or has had another one.
            let _gone = to.to.try_send(Arc::clone(&recorded));
        }
    }
}

/// What keeps enough for all of them. Two who want different families get all.
fn recorder(to: &[Recording]) -> Recorder {
    let mut wanted = to.iter().map(|to| to.only);
    let first = wanted.next().flatten();
    match first {
        Some(families) if wanted.all(|other| other == first) => Recorder::only(families),
        _ => Recorder::default(),
    }
}

impl Written<'_> {
    /// Answers all, each in the coding that it wants; each coding is made once.
    pub(super) fn serve(&mut self, waiters: Vec<Waiter>, made: &mut Vec<(Coding, Page)>) {
        for Waiter { want, reply, .. } in waiters {
            let known = made.iter().find(|(coding, _)| *coding == want.coding).map(|(_, page)| page.clone());
            let page = known.unwrap_or_else(|| {
                let page = self.code(want.coding);
                made.push((want.coding, page.clone()));
                page
            });
            // An error only says that the client did not wait; the pass is done anyway.
            let _gone = reply.send(Ok(page));
        }
    }

    fn code(&mut self, coding: Coding) -> Page {
        if coding == Coding::Identity {
            return Page { body: self.whole(), coding };
        }
        match self.compressor.compress(coding, self.given.as_deref().unwrap_or(self.page)) {
            Ok(body) => Page { body: body.into(), coding },
            Err(e) => {
                tracing::error!(error = %e, coding = coding.as_str(), "cannot compress; the page goes as it is");
                Page { body: self.whole(), coding: Coding::Identity }
            }
        }
    }

    /// The page as it is, given away rather than copied.
    fn whole(&mut self) -> Bytes {
        let Self { page, given, .. } = self;
        let give = || {
            // The next page will be about as long.
            let room = Vec::with_capacity(page.len() + page.len() / 16);
            std::mem::replace(*page, room).into()
        };
        given.get_or_insert_with(give).clone()
    }
}
