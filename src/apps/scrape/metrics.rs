//! What is told of each target.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

const LABELS: [&str; 2] = ["job", "instance"];

/// The series of all targets.
#[derive(Clone, Debug)]
pub struct Metrics {
    up: IntGaugeVec,
    duration: GaugeVec,
    scraped: IntGaugeVec,
    kept: IntGaugeVec,
    failures: IntCounterVec,
}

/// How a fetch went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Went {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many samples the page had, and how many the rules left; or why there are none.
    pub samples: Result<(usize, usize), &'static str>,
}

impl Metrics {
    /// Makes the series and puts them into `registry`.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauges = |name: &str, help: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &LABELS)?;
            registry.register(Box::new(gauges.clone()))?;
            prometheus::Result::Ok(gauges)
        };
        let duration = GaugeVec::new(
            Opts::new(
                "headroom_scrape_duration_seconds",
                "How long the last fetch of an application's page took.",
            ),
            &LABELS,
        )?;
        registry.register(Box::new(duration.clone()))?;
        let failures = IntCounterVec::new(
            Opts::new(
                "headroom_scrape_failures_total",
                "Pages of applications that were not taken, by reason.",
            ),
            &["job", "instance", "reason"],
        )?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self {
            up: gauges(
                "headroom_scrape_up",
                "Whether an application's page was fetched and taken when it was last tried.",
            )?,
            duration,
            scraped: gauges("headroom_scrape_samples_scraped", "Samples on an application's page.")?,
            kept: gauges(
                "headroom_scrape_samples_post_metric_relabeling",
                "Samples on an application's page that relabelling left.",
            )?,
            failures,
        })
    }

    /// Shows how a fetch went.
    pub fn tell(&self, target: [&str; 2], went: Went) {
        let [job, instance] = target;
        self.up.with_label_values(&target).set(i64::from(went.samples.is_ok()));
        self.duration.with_label_values(&target).set(went.seconds);
        match went.samples {
            Ok((scraped, kept)) => {
                let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
                self.scraped.with_label_values(&target).set(whole(scraped));
                self.kept.with_label_values(&target).set(whole(kept));
            }
            Err(reason) => {
                // How many there were is not known of a page that was not taken.
                let _absent = self.scraped.remove_label_values(&target);
                let _absent = self.kept.remove_label_values(&target);
                self.failures.with_label_values(&[job, instance, reason]).inc();
            }
        }
    }

    /// Forgets all targets.
    pub fn reset(&self) {
        self.up.reset();
        self.duration.reset();
        self.scraped.reset();
        self.kept.reset();
        self.failures.reset();
    }
}
