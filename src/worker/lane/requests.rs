//! What operators want done with letters (`dead-letters retry`, `discard`), carried out by the lane that owns their partitions, in
//! a transaction that claims them. A key's letters are applied in order, until one fails again.

use super::chunk::{self, Aside, Chunk};
use super::headers;
use super::letters::Letters;
use super::recovery::{blames_no_event, refused};
use super::{Lane, Trouble};
use crate::event::{Event, Record};
use crate::fold::{FoldOutcome, OnFailure};
use crate::source::{RecordBatch, TopicPartition};
use crate::store::{
    ErrorKind, Fault, LETTERS_AT_ONCE, LetterChanges, Partition, Requested, StoreError,
};
use crate::worker::Work;
use bumpalo::Bump;
use std::collections::HashSet;
use tracing::info;

/// Where the events of a transaction come from.
pub(super) enum Origin<'p> {
    Log(&'p RecordBatch),
    Letters(&'p Page),
}

/// Letters that are taken up together.
pub(super) struct Page {
    letters: Vec<Requested>,
    /// By letter.
    places: Vec<TopicPartition>,
}

impl Origin<'_> {
    /// Letters are set aside again, whatever the policy is by now: what they hold back is still to be held back.
    pub(super) fn on_failure(&self, letters: &Letters) -> OnFailure {
        match self {
            Origin::Log(_) => letters.on_failure(),
            Origin::Letters(_) => OnFailure::SetAside,
        }
    }

    /// What becomes of letters in the transaction that writes what was folded.
    pub(super) fn settle(
        &self,
        letters: &mut Letters,
        chunk: &mut Chunk<'_>,
        outcome: FoldOutcome,
    ) -> Result<LetterChanges, Trouble> {
        let dealt = chunk.events.len() + chunk.asides.len();
        let asides = chunk.take_asides(outcome);
        match self {
            Origin::Log(records) => {
                letters.take_in(records, dealt, asides)?;
                Ok(letters.seal())
            }
            Origin::Letters(page) => Ok(page.settle(asides)),
        }
    }
}

impl Lane {
    /// Once in a while, and only where there are letters.
    pub(super) fn carry_out_if_due(&mut self) -> Result<(), Trouble> {
        if !self.load.follows() || !self.letters.look() {
            return Ok(());
        }
        let generation = self.work.generation;
        let parts = self.parts();
        if !self.on_store(async |store| store.is_requested(generation, &parts).await)? {
            return Ok(());
        }
        // Behind a letter nothing of its key is folded; what else is folded becomes durable first.
        self.flush()?;
        self.widen_requests(&parts)?;
        let at_once = self.letters.at_once;
        let requested =
            self.on_store(async |store| store.requested(generation, &parts, at_once).await)?;
        let page = self.page(requested);
        if page.letters.is_empty() {
            return Ok(());
        }
        self.carry_out(&page)?;
        let set_aside = self.on_store(async |store| store.set_aside(generation, &parts).await)?;
        let places: Vec<TopicPartition> = self.partitions.iter().map(|owned| owned.at).collect();
        self.letters.restart(&places, &set_aside);
        // There may be more than one page.
        self.letters.look_again();
        Ok(())
    }

    fn carry_out(&mut self, page: &Page) -> Result<(), Trouble> {
        let (work, arena) = (self.work.clone(), Bump::new());
        let mut chunk = take_up(&work, page, &arena);
        let claims = self.idle_claims();
        let outcome = self.transact(&mut chunk, Origin::Letters(page), &claims, &arena);
        match outcome {
            Ok(_nothing_stops_here) => {
                fail::fail_point!("letters-carried-out");
                self.letters.at_once = (self.letters.at_once * 2).min(LETTERS_AT_ONCE);
                let projection = &self.work.projection.name;
                info!(lane = %self.name, %projection, letters = page.letters.len(), "did what was wanted of dead letters");
                Ok(())
            }
            Err(Trouble::Store(error)) if error.kind == ErrorKind::EventFault => {
                self.folder.forget_all();
                self.leave_the_refused(page, &error)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// PostgreSQL refuses what some letter makes of its rows: fewer are tried at once, until it is known which.
    fn leave_the_refused(&mut self, page: &Page, error: &StoreError) -> Result<(), Trouble> {
        let [letter] = &page.letters[..] else {
            self.letters.at_once = page.letters.len().div_ceil(2);
            return Ok(());
        };
        let changes = LetterChanges {
            failed: vec![(letter.id, refused(error))],
            left: page.key_of(0).into_iter().collect(),
            ..LetterChanges::default()
        };
        let (claims, layout) = (self.idle_claims(), self.layout.clone());
        let generation = self.work.generation;
        self.on_store(async |store| {
            let mut transaction = store.begin(&layout, &claims).await?;
            transaction.write_letters(generation, &changes).await?;
            transaction.commit().await
        })
    }

    fn widen_requests(&mut self, parts: &[Partition]) -> Result<(), Trouble> {
        let (claims, layout) = (self.idle_claims(), self.layout.clone());
        let generation = self.work.generation;
        self.on_store(async |store| {
            let mut transaction = store.begin(&layout, &claims).await?;
            transaction.widen_requests(generation, parts).await?;
            transaction.commit().await
        })
        .map_err(blames_no_event)
    }

    fn page(&self, requested: Vec<Requested>) -> Page {
        let place = |letter: &Requested| self.place_named(&letter.topic, letter.partition);
        let (letters, places) = requested
            .into_iter()
            .filter_map(|letter| place(&letter).map(|at| (letter, at)))
            .unzip();
        Page { letters, places }
    }

    fn place_named(&self, topic: &str, partition: i32) -> Option<TopicPartition> {
        let topics = &self.work.projection.topics;
        let mut owned = self.partitions.iter().map(|owned| owned.at);
        owned.find(|at| at.partition == partition && topics[at.topic].name == topic)
    }

    fn parts(&self) -> Vec<Partition> {
        let topics = &self.work.projection.topics;
        let part = |at: TopicPartition| Partition {
            topic: topics[at.topic].name.clone(),
            partition: at.partition,
            begin_offset: 0,
        };
        self.partitions.iter().map(|owned| part(owned.at)).collect()
    }
}

impl Page {
    fn settle(&self, asides: Vec<Aside<'_>>) -> LetterChanges {
        let mut changes = LetterChanges::default();
        let mut stays = HashSet::new();
        for aside in asides {
            stays.insert(aside.place);
            changes.left.extend(self.key_of(aside.place));
            if let Some(fault) = aside.fault {
                changes.failed.push((self.letters[aside.place].id, fault));
            }
        }
        let letters = self.letters.iter().enumerate();
        changes.gone = letters
            .filter(|(place, _)| !stays.contains(place))
            .map(|(_, letter)| letter.id)
            .collect();
        changes
    }

    fn key_of(&self, place: usize) -> Option<(String, i32, String)> {
        let letter = &self.letters[place];
        let key = letter.key.clone()?;
        Some((letter.topic.clone(), letter.partition, key))
    }
}

/// Decodes what is to be applied; behind a letter that cannot be decoded, none of its key is.
fn take_up<'b>(work: &'b Work, page: &'b Page, arena: &'b Bump) -> Chunk<'b> {
    let mut held: HashSet<(TopicPartition, &str)> = HashSet::new();
    let mut events: Vec<Event<'b>> = Vec::new();
    let mut places = Vec::new();
    let mut asides = Vec::new();
    for (place, letter) in page.letters.iter().enumerate() {
        if letter.discard {
            continue;
        }
        let at = page.places[place];
        let key = letter.key.as_deref();
        let mut fault = None;
        if !key.is_some_and(|key| held.contains(&(at, key))) {
            let record = record(letter, at, arena);
            match decode(work, &record, arena) {
                Ok(event) => {
                    events.push(event);
                    places.push(place as u32);
                    continue;
                }
                Err(failure) => fault = Some(failure),
            }
            held.extend(key.map(|key| (at, key)));
        }
        asides.push(Aside {
            place,
            at,
            offset: letter.offset,
            event: None,
            fault,
        });
    }
    Chunk {
        events: arena.alloc_slice_copy(&events),
        places,
        asides,
    }
}

fn decode<'b>(work: &'b Work, record: &Record<'b>, arena: &'b Bump) -> Result<Event<'b>, Fault> {
    work.decoders[record.topic]
        .decode(record, arena)
        .map_err(|error| chunk::undecodable(&error))
}

/// The record that became the letter.
fn record<'b>(letter: &'b Requested, at: TopicPartition, arena: &'b Bump) -> Record<'b> {
    Record {
        topic: at.topic,
        partition: at.partition,
        offset: letter.offset,
        timestamp_ms: letter.timestamp_ms,
        key: letter.record_key.as_deref(),
        value: letter.value.as_deref(),
        headers: headers::headers_of(letter.headers.as_deref(), arena),
    }
}
