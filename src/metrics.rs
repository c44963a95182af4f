//! Every metric: its name, its labels, and handles that need no look-up per event or batch.
//!
//! A handle is taken once (per projection, per table, per partition) and kept; counting is then one atomic addition. Few
//! labels: nothing that grows with the data (keys, event ids, messages). Series of a partition end when its handle is dropped.
//! Knows neither Kafka nor Postgres.

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Label names. One word per concept, as everywhere.
mod label {
    pub const PROJECTION: &str = "projection";
    pub const GENERATION: &str = "generation";
    pub const TABLE: &str = "table";
    pub const TOPIC: &str = "topic";
    pub const PARTITION: &str = "partition";
    pub const PHASE: &str = "phase";
    pub const REASON: &str = "reason";
    pub const KIND: &str = "kind";
    pub const STATE: &str = "state";
    pub const VERSION: &str = "version";
}

/// Seconds; a batch near the end of the log takes about a millisecond per phase, a large one seconds.
const PHASE_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// What a lane does with a batch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Receive,
    Decode,
    Load,
    Fold,
    Write,
    Commit,
}

impl Phase {
    pub const ALL: [Phase; 6] = [
        Phase::Receive,
        Phase::Decode,
        Phase::Load,
        Phase::Fold,
        Phase::Write,
        Phase::Commit,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Phase::Receive => "receive",
            Phase::Decode => "decode",
            Phase::Load => "load",
            Phase::Fold => "fold",
            Phase::Write => "write",
            Phase::Commit => "commit",
        }
    }
}

/// Why an event changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// Its type is listed under `ignore`.
    Ignored,
    /// No rule and no `ignore` knows its type.
    Unknown,
    /// Not above the row's version.
    Stale,
    /// Its id was seen within `keep`.
    Duplicate,
    /// `on_error: skip`.
    Failed,
}

impl SkipReason {
    pub const ALL: [SkipReason; 5] = [
        SkipReason::Ignored,
        SkipReason::Unknown,
        SkipReason::Stale,
        SkipReason::Duplicate,
        SkipReason::Failed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            SkipReason::Ignored => "ignored",
            SkipReason::Unknown => "unknown",
            SkipReason::Stale => "stale",
            SkipReason::Duplicate => "duplicate",
            SkipReason::Failed => "failed",
        }
    }
}

/// What holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// Rows kept between batches.
    Cache,
    /// Fetched records that wait in librdkafka.
    Queue,
    /// The batch at work.
    Batch,
}

impl MemoryKind {
    pub const ALL: [MemoryKind; 3] = [MemoryKind::Cache, MemoryKind::Queue, MemoryKind::Batch];

    pub fn name(self) -> &'static str {
        match self {
            MemoryKind::Cache => "cache",
            MemoryKind::Queue => "queue",
            MemoryKind::Batch => "batch",
        }
    }
}

/// A generation, and how far its build is, if it is being built: offsets folded, and all there are.
#[derive(Debug, Clone, Copy)]
pub struct GenerationProgress<'a> {
    pub projection: &'a str,
    pub generation: i64,
    pub state: &'a str,
    pub build: Option<(i64, i64)>,
}

/// All metrics of the process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    events: IntCounterVec,
    batches: IntCounterVec,
    phase_seconds: HistogramVec,
    rows_written: IntCounterVec,
    events_skipped: IntCounterVec,
    events_set_aside: IntCounterVec,
    fenced: IntCounterVec,
    retries: IntCounterVec,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    paused: IntGaugeVec,
    stopped: IntGaugeVec,
    memory_bytes: IntGaugeVec,
    resident_bytes: IntGauge,
    gap: IntGaugeVec,
    lag_seconds: GaugeVec,
    generations: GenerationGauges,
}

#[derive(Debug, Clone)]
struct GenerationGauges {
    state: IntGaugeVec,
    done: IntGaugeVec,
    offsets: IntGaugeVec,
}

impl GenerationGauges {
    fn new(registry: &Registry) -> GenerationGauges {
        use label::{GENERATION, PROJECTION, STATE};
        GenerationGauges {
            state: gauge(
                registry,
                "generation_state",
                "1 for the state that a fed generation is in.",
                &[PROJECTION, GENERATION, STATE],
            ),
            done: gauge(
                registry,
                "build_done",
                "Offsets that a build has folded, by all workers.",
                &[PROJECTION, GENERATION],
            ),
            offsets: gauge(
                registry,
                "build_offsets",
                "Offsets that a build has to fold, as last measured.",
                &[PROJECTION, GENERATION],
            ),
        }
    }

    fn set(&self, fed: &[GenerationProgress<'_>]) {
        for gauges in [&self.state, &self.done, &self.offsets] {
            gauges.reset();
        }
        for one in fed {
            let id = one.generation.to_string();
            let state = [one.projection, id.as_str(), one.state];
            self.state.with_label_values(&state).set(1);
            if let Some((done, offsets)) = one.build {
                let of = [one.projection, id.as_str()];
                self.done.with_label_values(&of).set(done);
                self.offsets.with_label_values(&of).set(offsets);
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        use label::*;
        let registry = Registry::new();
        let partition = &[PROJECTION, GENERATION, TOPIC, PARTITION];
        let metrics = Metrics {
            events: counter(&registry, "events_total", "Events applied.", &[PROJECTION]),
            batches: counter(
                &registry,
                "batches_total",
                "Batches committed.",
                &[PROJECTION],
            ),
            phase_seconds: phases(&registry),
            rows_written: counter(
                &registry,
                "rows_written_total",
                "Rows inserted, updated or deleted.",
                &[PROJECTION, TABLE],
            ),
            events_skipped: counter(
                &registry,
                "events_skipped_total",
                "Events that changed nothing, by reason.",
                &[PROJECTION, REASON],
            ),
            events_set_aside: counter(
                &registry,
                "events_set_aside_total",
                "Events kept as dead letters, those that only follow another one of their key included.",
                &[PROJECTION],
            ),
            fenced: counter(
                &registry,
                "fenced_total",
                "Batches given up because another worker owns the partition.",
                &[PROJECTION],
            ),
            retries: counter(
                &registry,
                "retries_total",
                "Batches tried again.",
                &[PROJECTION],
            ),
            cache_hits: counter(
                &registry,
                "cache_hits_total",
                "Rows found in the row cache.",
                &[PROJECTION],
            ),
            cache_misses: counter(
                &registry,
                "cache_misses_total",
                "Rows that had to be loaded.",
                &[PROJECTION],
            ),
            paused: gauge(
                &registry,
                "paused",
                "1 while the projection is paused by command.",
                &[PROJECTION],
            ),
            stopped: gauge(
                &registry,
                "stopped",
                "1 while the projection, or a partition of it, cannot go on.",
                &[PROJECTION],
            ),
            memory_bytes: gauge(
                &registry,
                "memory_bytes",
                "Bytes held, by kind.",
                &[PROJECTION, KIND],
            ),
            resident_bytes: register(
                &registry,
                IntGauge::with_opts(opts("resident_bytes", "Resident memory of the process.")),
            ),
            gap: gauge(
                &registry,
                "gap",
                "Events behind the end of the partition.",
                partition,
            ),
            lag_seconds: register(
                &registry,
                GaugeVec::new(
                    opts("lag_seconds", "Seconds behind the end of the partition."),
                    partition,
                ),
            ),
            generations: GenerationGauges::new(&registry),
            registry,
        };
        let told = "1; the version stands in the label.";
        let build = gauge(&metrics.registry, "build_info", told, &[VERSION]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics
    }

    /// The generations that are fed now; others end their series.
    pub fn generations(&self, fed: &[GenerationProgress<'_>]) {
        self.generations.set(fed);
    }

    /// Whether a projection is paused by command, or something of it cannot go on.
    pub fn stands_still(&self, projection: &str, paused: bool, stopped: bool) {
        let projection = [projection];
        let set =
            |gauge: &IntGaugeVec, is: bool| gauge.with_label_values(&projection).set(is.into());
        set(&self.paused, paused);
        set(&self.stopped, stopped);
    }

    /// The handles of one projection; its tables are counted in the order given.
    pub fn projection(&self, projection: &str, tables: &[&str]) -> ProjectionMetrics {
        let one = |counter: &IntCounterVec| counter.with_label_values(&[projection]);
        let two =
            |counter: &IntCounterVec, value: &str| counter.with_label_values(&[projection, value]);
        ProjectionMetrics {
            events: one(&self.events),
            batches: one(&self.batches),
            phase_seconds: Phase::ALL.map(|phase| {
                self.phase_seconds
                    .with_label_values(&[projection, phase.name()])
            }),
            rows_written: tables
                .iter()
                .map(|table| two(&self.rows_written, table))
                .collect(),
            events_skipped: SkipReason::ALL.map(|reason| two(&self.events_skipped, reason.name())),
            events_set_aside: one(&self.events_set_aside),
            fenced: one(&self.fenced),
            retries: one(&self.retries),
            cache_hits: one(&self.cache_hits),
            cache_misses: one(&self.cache_misses),
            memory_bytes: MemoryKind::ALL.map(|kind| {
                self.memory_bytes
                    .with_label_values(&[projection, kind.name()])
            }),
        }
    }

    /// Gap and lag of a partition while this process has it.
    pub fn partition(
        &self,
        projection: &str,
        generation: i64,
        topic: &str,
        partition: i32,
    ) -> PartitionMetrics {
        let labels = [
            projection.to_owned(),
            generation.to_string(),
            topic.to_owned(),
            partition.to_string(),
        ];
        PartitionMetrics {
            gap: self.gap.with_label_values(&labels),
            lag_seconds: self.lag_seconds.with_label_values(&labels),
            all: (self.gap.clone(), self.lag_seconds.clone()),
            labels,
        }
    }

    /// Everything in Prometheus' text format.
    pub fn gather(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// Counters of one projection in this process.
#[derive(Debug, Clone)]
pub struct ProjectionMetrics {
    pub events: IntCounter,
    pub batches: IntCounter,
    phase_seconds: [Histogram; Phase::ALL.len()],
    /// By table, in the projection's order.
    pub rows_written: Vec<IntCounter>,
    events_skipped: [IntCounter; SkipReason::ALL.len()],
    events_set_aside: IntCounter,
    pub fenced: IntCounter,
    pub retries: IntCounter,
    pub cache_hits: IntCounter,
    pub cache_misses: IntCounter,
    memory_bytes: [IntGauge; MemoryKind::ALL.len()],
}

impl ProjectionMetrics {
    pub fn phase(&self, phase: Phase, took: Duration) {
        self.phase_seconds[phase as usize].observe(took.as_secs_f64());
    }

    /// A phase that began at `started` ends, and the next one begins: gives when.
    pub fn phase_since(&self, phase: Phase, started: Instant) -> Instant {
        let now = Instant::now();
        self.phase(phase, now - started);
        now
    }

    /// Events that cannot be applied: skipped, and set aside.
    pub fn failed(&self, skipped: u64, set_aside: u64) {
        self.skipped(SkipReason::Failed, skipped);
        self.events_set_aside.inc_by(set_aside);
    }

    pub fn skipped(&self, reason: SkipReason, events: u64) {
        self.events_skipped[reason as usize].inc_by(events);
    }

    /// Lanes of one projection share the gauge: each adds the change of its own part.
    pub fn memory_change(&self, kind: MemoryKind, bytes: i64) {
        self.memory_bytes[kind as usize].add(bytes);
    }
}

/// Gap and lag of one partition. Dropping it ends the two series.
#[derive(Debug)]
pub struct PartitionMetrics {
    gap: IntGauge,
    lag_seconds: Gauge,
    all: (IntGaugeVec, GaugeVec),
    labels: [String; 4],
}

impl PartitionMetrics {
    pub fn gap(&self, events: i64) {
        self.gap.set(events.max(0));
    }

    /// Never negative, also where the clocks of producer and worker differ.
    pub fn lag_seconds(&self, seconds: f64) {
        self.lag_seconds.set(seconds.max(0.0));
    }
}

impl Drop for PartitionMetrics {
    fn drop(&mut self) {
        // Another owner of the same labels may have ended them already; then there is nothing left to do.
        let _ = self.all.0.remove_label_values(&self.labels);
        let _ = self.all.1.remove_label_values(&self.labels);
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("consolidator")
}

fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(opts(name, help), labels))
}

fn phases(registry: &Registry) -> HistogramVec {
    let opts = HistogramOpts::from(opts(
        "phase_seconds",
        "Seconds that lanes spent per batch, by phase.",
    ));
    register(
        registry,
        HistogramVec::new(
            opts.buckets(PHASE_BUCKETS.to_vec()),
            &[label::PROJECTION, label::PHASE],
        ),
    )
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("names and labels are constants, and a test makes them all");
    registry
        .register(Box::new(collector.clone()))
        .expect("every name is registered once");
    collector
}

/// Linux only; elsewhere the series stays 0.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_count_into_the_text_that_prometheus_reads() {
        let metrics = Metrics::new();
        let shop = metrics.projection("shop", &["orders", "order_lines"]);
        shop.events.inc_by(3);
        shop.rows_written[1].inc_by(7);
        shop.phase(Phase::Commit, Duration::from_millis(2));
        shop.skipped(SkipReason::Unknown, 2);
        shop.memory_change(MemoryKind::Cache, 100);
        let text = metrics.gather();
        for line in [
            "consolidator_events_total{projection=\"shop\"} 3",
            "consolidator_rows_written_total{projection=\"shop\",table=\"order_lines\"} 7",
            "consolidator_phase_seconds_count{phase=\"commit\",projection=\"shop\"} 1",
            "consolidator_events_skipped_total{projection=\"shop\",reason=\"unknown\"} 2",
            "consolidator_memory_bytes{kind=\"cache\",projection=\"shop\"} 100",
            concat!(
                "consolidator_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line}\nis missing in\n{text}"
            );
        }
    }

    #[test]
    fn the_manual_lists_every_metric() {
        let metrics = Metrics::new();
        let _shop = metrics.projection("shop", &["orders"]);
        let _partition = metrics.partition("shop", 1, "orders", 0);
        let manual = include_str!("../docs/operating.md");
        for family in metrics.registry.gather() {
            assert!(
                manual.contains(&format!("`{}`", family.name())),
                "{} is not in docs/operating.md",
                family.name()
            );
        }
    }

    #[test]
    fn the_series_of_a_partition_end_with_its_handle() {
        let metrics = Metrics::new();
        let partition = metrics.partition("shop", 1, "orders", 4);
        partition.gap(-1);
        partition.lag_seconds(-0.5);
        let series = "consolidator_gap{generation=\"1\",partition=\"4\",projection=\"shop\",topic=\"orders\"} 0";
        assert!(metrics.gather().contains(series), "{}", metrics.gather());
        drop(partition);
        assert!(!metrics.gather().contains("topic=\"orders\""));
    }
}
