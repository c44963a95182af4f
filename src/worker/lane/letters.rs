//! What a lane knows of events that are set aside: whose keys are blocked, what is not yet durable, and when it is too much. The
//! stored letters are the truth; this follows them from one take over to the next.

use super::Trouble;
use super::chunk::{Aside, place_of};
use super::headers::{json_of, text};
use crate::definition::projection::OnError;
use crate::event::{Event, Record};
use crate::fold::OnFailure;
use crate::source::{RecordBatch, TopicPartition};
use crate::store::{Fault, LetterChanges, NewLetter, SetAside, Stop};
use crate::worker::{LetterLimits, Work};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// How often a lane that has letters looks for what is wanted of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Skipped events of one batch that are named in the log; the rest is counted.
const NAMED_MAX: usize = 20;

/// See the module's text.
pub(super) struct Letters {
    work: Arc<Work>,
    /// Some key is blocked, or some event is known to be refused by PostgreSQL.
    watches: bool,
    /// Keys that a letter stands for, stored or about to be.
    blocked: HashMap<TopicPartition, HashSet<Box<str>>>,
    /// Partitions with letters.
    places: HashSet<TopicPartition>,
    /// Letters of the generation, as last counted.
    stored: i64,
    /// Set aside and not yet part of a batch.
    pending: Vec<(TopicPartition, NewLetter)>,
    pending_bytes: usize,
    /// Part of the batch whose commit is under way.
    sealed: usize,
    skipped: Skipped,
    /// Events that PostgreSQL refused, until the checkpoint is past them.
    refused: BTreeMap<(TopicPartition, i64), Fault>,
    window: Window,
    look_at: Instant,
    /// Letters that are taken up at once; fewer while one is searched that PostgreSQL refuses.
    pub(super) at_once: usize,
}

/// `on_error: skip`: what was left out and not yet told.
#[derive(Default)]
struct Skipped {
    count: u64,
    named: Vec<(TopicPartition, i64, Fault)>,
}

/// Events of late, and how many of them failed by themselves.
#[derive(Default)]
struct Window {
    now: Counts,
    /// As of the batch whose commit is under way, and as of the last one committed.
    sealed: Counts,
    committed: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    events: usize,
    failed: usize,
}

impl Letters {
    pub(super) fn new(work: Arc<Work>) -> Letters {
        Letters {
            work,
            watches: false,
            blocked: HashMap::new(),
            places: HashSet::new(),
            stored: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            sealed: 0,
            skipped: Skipped::default(),
            refused: BTreeMap::new(),
            window: Window::default(),
            look_at: Instant::now(),
            at_once: crate::store::LETTERS_AT_ONCE,
        }
    }

    fn policy(&self) -> OnError {
        self.work.projection.on_error
    }

    /// A failing event stops the projection.
    pub(super) fn stops(&self) -> bool {
        self.policy() == OnError::Stop
    }

    pub(super) fn on_failure(&self) -> OnFailure {
        match self.policy() {
            OnError::Stop => OnFailure::Stop,
            OnError::Skip => OnFailure::Skip,
            OnError::DeadLetter => OnFailure::SetAside,
        }
    }

    /// Starts anew from what is stored of these partitions.
    pub(super) fn restart(&mut self, places: &[TopicPartition], set_aside: &SetAside) {
        for at in places {
            self.forget(*at);
        }
        let topics = &self.work.projection.topics;
        for (topic, partition, key) in &set_aside.keys {
            let is_there = |at: &&TopicPartition| {
                at.partition == *partition && topics[at.topic].name == *topic
            };
            let Some(at) = places.iter().find(is_there) else {
                continue;
            };
            self.places.insert(*at);
            if let Some(key) = key {
                self.blocked
                    .entry(*at)
                    .or_default()
                    .insert(key.as_str().into());
            }
        }
        self.stored = set_aside.letters;
        self.look_at = Instant::now();
        self.note_watching();
    }

    /// The partition is somebody else's.
    pub(super) fn forget(&mut self, at: TopicPartition) {
        self.blocked.remove(&at);
        self.places.remove(&at);
        self.pending.retain(|(place, _)| *place != at);
        self.pending_bytes = self.pending.iter().map(|(_, letter)| letter.bytes()).sum();
        self.note_watching();
    }

    /// What is not durable will never be. Which keys are blocked is not known until the next [`restart`](Letters::restart).
    pub(super) fn abandon(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.sealed = 0;
        self.skipped = Skipped::default();
        self.window.now = self.window.committed;
    }

    fn note_watching(&mut self) {
        self.watches = !self.blocked.is_empty() || !self.refused.is_empty();
    }

    /// Is the event to be kept from the fold? Of what is, why; [`None`] inside: because of its key.
    #[inline]
    pub(super) fn keeps_out(&mut self, event: &Event<'_>) -> Option<Option<Fault>> {
        if self.watches {
            self.look_up(event)
        } else {
            None
        }
    }

    #[cold]
    fn look_up(&mut self, event: &Event<'_>) -> Option<Option<Fault>> {
        let at = place_of(event);
        let blocked = |key: &str| self.blocked.get(&at).is_some_and(|keys| keys.contains(key));
        if event.key.is_some_and(blocked) {
            return Some(None);
        }
        let fault = self.refused.get(&(at, event.offset))?.clone();
        self.block(at, event.key);
        Some(Some(fault))
    }

    /// Later events of the key wait for the one that fails, as far as the policy says so.
    pub(super) fn block(&mut self, at: TopicPartition, key: Option<&str>) {
        if let (Some(key), OnError::DeadLetter) = (key, self.policy()) {
            self.blocked.entry(at).or_default().insert(key.into());
            self.watches = true;
        }
    }

    /// PostgreSQL refuses what the event makes of its rows; false if that stops the projection.
    pub(super) fn refuse(&mut self, stop: &Stop, fault: Fault) -> bool {
        let topics = &self.work.projection.topics;
        let topic = topics
            .iter()
            .position(|topic| Some(&topic.name) == stop.topic.as_ref());
        let (Some(topic), Some(partition), Some(offset), false) =
            (topic, stop.partition, stop.offset, self.stops())
        else {
            return false;
        };
        let at = TopicPartition { topic, partition };
        self.refused.insert((at, offset), fault);
        self.watches = true;
        true
    }

    /// Takes in what a chunk of `dealt` records left out, unless that is too much; letters of it are part of the next batch.
    pub(super) fn take_in(
        &mut self,
        records: &RecordBatch,
        dealt: usize,
        asides: Vec<Aside<'_>>,
    ) -> Result<(), Trouble> {
        let failed = asides.iter().filter(|aside| aside.fault.is_some()).count();
        self.judge(dealt, failed)?;
        for aside in asides {
            match (aside.fault, self.policy()) {
                (Some(fault), OnError::Skip) => self.skipped.add(aside.at, aside.offset, fault),
                (fault, _) => {
                    let record = records.record(aside.place);
                    let key = text(record.key);
                    if fault.is_some() {
                        self.block(aside.at, key);
                    }
                    self.refuse_beyond_max(&record, key)?;
                    let headers = records.headers(aside.place);
                    let letter = self.letter(&record, headers, aside.event, fault);
                    self.pending_bytes += letter.bytes();
                    self.places.insert(aside.at);
                    self.pending.push((aside.at, letter));
                }
            }
        }
        Ok(())
    }

    /// Too many that fail by themselves are no fault of events.
    fn judge(&mut self, dealt: usize, failed: usize) -> Result<(), Trouble> {
        let LetterLimits { window, share, .. } = self.work.letters;
        let now = &mut self.window.now;
        now.events += dealt;
        now.failed += failed;
        if now.events < window {
            return Ok(());
        }
        let Counts { events, failed } = std::mem::take(now);
        if failed * 100 <= events * share {
            return Ok(());
        }
        Err(Trouble::Systemic(format!(
            "{failed} of {events} events in a row cannot be applied, more than {share} in a hundred (dead_letters.share): \
             that is no fault of single events, and none of them is set aside"
        )))
    }

    fn refuse_beyond_max(&self, record: &Record<'_>, key: Option<&str>) -> Result<(), Trouble> {
        let max = self.work.letters.max;
        let open = self.pending.len() + self.sealed;
        if self.stored.saturating_add(open as i64) < max {
            return Ok(());
        }
        let name = &self.work.projection.name;
        Err(Trouble::Full(Box::new(Stop {
            generation: self.work.generation,
            topic: Some(self.work.projection.topics[record.topic].name.clone()),
            partition: Some(record.partition),
            offset: Some(record.offset),
            key: key.map(str::to_owned),
            reason: format!(
                "the event would have to be set aside, and no more than {max} may be in one generation (dead_letters.max)"
            ),
            hint: Some(format!(
                "`consolidator dead-letters list {name}` tells why events fail. Retry or discard some, raise dead_letters.max, \
                 or put the definition right; then `consolidator resume {name}`."
            )),
            ..Stop::default()
        })))
    }

    fn letter(
        &self,
        record: &Record<'_>,
        headers: &[(&str, Option<&[u8]>)],
        event: Option<Event<'_>>,
        fault: Option<Fault>,
    ) -> NewLetter {
        let follows = fault.is_none();
        let fault = fault.unwrap_or_else(|| Fault {
            reason: "an earlier event of the same key is set aside".to_owned(),
            ..Fault::default()
        });
        let letter = NewLetter {
            topic: self.work.projection.topics[record.topic].name.clone(),
            partition: record.partition,
            offset: record.offset,
            key: text(record.key).map(str::to_owned),
            record_key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: (!headers.is_empty()).then(|| json_of(headers)),
            record_at: record.timestamp(),
            event_type: event.map(|event| event.event_type.to_owned()),
            event_id: event.and_then(|event| event.id).map(str::to_owned),
            event_time: event.map(|event| event.time),
            fault,
            follows,
            redacted: false,
        };
        match self.work.letters.keeps_payloads {
            true => letter,
            false => redacted(letter),
        }
    }

    /// What the next batch does to letters. Tells of it.
    pub(super) fn seal(&mut self) -> LetterChanges {
        self.window.sealed = self.window.now;
        let skipped = std::mem::take(&mut self.skipped);
        let projection = &self.work.projection;
        self.work
            .counters
            .failed(skipped.count, self.pending.len() as u64);
        for (at, offset, fault) in &skipped.named {
            warn!(projection = %projection.name, topic = %projection.topics[at.topic].name, partition = at.partition, offset,
                table = fault.table_name, rule = fault.rule, sqlstate = fault.sqlstate, "skipped an event that cannot be applied");
        }
        if skipped.count > skipped.named.len() as u64 {
            warn!(projection = %projection.name, events = skipped.count, "skipped so many events in one batch");
        }
        let new: Vec<NewLetter> = std::mem::take(&mut self.pending)
            .into_iter()
            .map(|(_, letter)| letter)
            .collect();
        self.pending_bytes = 0;
        self.sealed = new.len();
        if let Some(first) = new.first() {
            warn!(projection = %projection.name, generation = self.work.generation, events = new.len(), topic = %first.topic,
                partition = first.partition, offset = first.offset, table = first.fault.table_name, rule = first.fault.rule,
                "set events aside; see `consolidator dead-letters list {}`", projection.name);
        }
        LetterChanges {
            new,
            ..LetterChanges::default()
        }
    }

    /// The sealed batch is durable, and the generation has so many letters, if that was counted.
    pub(super) fn committed(&mut self, stored: Option<i64>) {
        self.sealed = 0;
        self.stored = stored.unwrap_or(self.stored);
        self.window.committed = self.window.sealed;
    }

    /// Checkpoints are past what was refused.
    pub(super) fn forget_refused(&mut self, is_behind: impl Fn(TopicPartition, i64) -> bool) {
        if !self.refused.is_empty() {
            self.refused
                .retain(|(at, offset), _| !is_behind(*at, *offset));
            self.note_watching();
        }
    }

    /// Memory that letters take until the next commit.
    pub(super) fn bytes(&self) -> usize {
        self.pending_bytes
    }

    /// True when it is time to see what is wanted of the letters there are.
    pub(super) fn look(&mut self) -> bool {
        let due = !self.places.is_empty() && Instant::now() >= self.look_at;
        if due {
            self.look_at = Instant::now() + LOOK_EVERY;
        }
        due
    }

    pub(super) fn look_again(&mut self) {
        self.look_at = Instant::now();
    }
}

impl Skipped {
    fn add(&mut self, at: TopicPartition, offset: i64, fault: Fault) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push((at, offset, fault));
        }
    }
}

/// Without what the record held; reasons quote it.
fn redacted(letter: NewLetter) -> NewLetter {
    let reason = match letter.follows {
        true => letter.fault.reason,
        false => "not told (dead_letters.payloads: redact)".to_owned(),
    };
    NewLetter {
        record_key: None,
        value: None,
        headers: None,
        fault: Fault {
            reason,
            ..letter.fault
        },
        redacted: true,
        ..letter
    }
}
