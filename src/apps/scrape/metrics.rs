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
    refused: IntGaugeVec,
    hidden: IntGaugeVec,
    failures: IntCounterVec,
}

/// How a fetch went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Went {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What became of the page's samples; or why there are none.
    pub samples: Result<Samples, &'static str>,
}

/// What became of a page's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// All that it had.
    pub scraped: usize,
    /// Those that the rules left.
    pub kept: usize,
    /// Series that the store refused.
    pub refused: usize,
    /// Series of families that were left out of the last page of ours.
    pub hidden: usize,
}

impl Samples {
    fn counts(self) -> [usize; 4] {
        [self.scraped, self.kept, self.refused, self.hidden]
    }
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
            refused: gauges(
                "headroom_scrape_series_refused",
                "Series on an application's page that were not taken: over a limit, or of another kind than before.",
            )?,
            hidden: gauges(
                "headroom_scrape_series_hidden",
                "Series on an application's page that are not shown because others have the family's name.",
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
            Ok(samples) => {
                for (gauges, count) in self.counts().into_iter().zip(samples.counts()) {
                    gauges.with_label_values(&target).set(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            Err(reason) => {
                // How many there were is not known of a page that was not taken.
                for gauges in self.counts() {
                    let _absent = gauges.remove_label_values(&target);
                }
                self.failures.with_label_values(&[job, instance, reason]).inc();
            }
        }
    }

    fn counts(&self) -> [&IntGaugeVec; 4] {
        [&self.scraped, &self.kept, &self.refused, &self.hidden]
    }

    /// Forgets all targets.
    pub fn reset(&self) {
        self.up.reset();
        self.duration.reset();
        self.counts().into_iter().for_each(prometheus::core::MetricVec::reset);
        self.failures.reset();
    }
}
