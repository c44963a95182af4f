//! Records on their way into rows: those that are folded, those that are not, and why. Decides nothing.

use crate::event::{DecodeError, Event};
use crate::fold::{EventFailure, FoldOutcome, Reason};
use crate::source::TopicPartition;
use crate::store::Fault;
use bumpalo::Bump;

/// Records on their way into rows.
pub(super) struct Chunk<'b> {
    pub(super) events: &'b [Event<'b>],
    /// By event: the number of its record.
    pub(super) places: Vec<u32>,
    /// What is not folded.
    pub(super) asides: Vec<Aside<'b>>,
}

/// An event that is not applied.
#[derive(Debug)]
pub(super) struct Aside<'b> {
    /// The number of its record.
    pub(super) place: usize,
    pub(super) at: TopicPartition,
    pub(super) offset: i64,
    /// `None`: it cannot be decoded.
    pub(super) event: Option<Event<'b>>,
    /// `None`: it only follows another one of its key.
    pub(super) fault: Option<Fault>,
}

impl<'b> Chunk<'b> {
    /// Keeps what comes before an event that the fold stopped at.
    pub(super) fn cut(&mut self, event: usize) {
        if let Some(place) = self.places.get(event).map(|place| *place as usize) {
            self.asides.retain(|aside| aside.place < place);
            self.places.truncate(event);
            self.events = &self.events[..event];
        }
    }

    /// Every event that could be decoded, folded or not, with the number of its record; in the order of records.
    pub(super) fn decoded(&self) -> Vec<(usize, Event<'b>)> {
        let places = self.places.iter().map(|place| *place as usize);
        let folded = places.zip(self.events.iter().copied());
        let aside = |aside: &Aside<'b>| Some((aside.place, aside.event?));
        let mut decoded: Vec<_> = folded.chain(self.asides.iter().filter_map(aside)).collect();
        decoded.sort_unstable_by_key(|(place, _)| *place);
        decoded
    }

    /// Keeps what comes of these records.
    pub(super) fn retain(&mut self, keeps: impl Fn(usize) -> bool, arena: &'b Bump) {
        let events = self.places.iter().copied().zip(self.events.iter().copied());
        let (places, events): (Vec<u32>, Vec<Event<'b>>) =
            events.filter(|(place, _)| keeps(*place as usize)).unzip();
        self.places = places;
        self.events = arena.alloc_slice_copy(&events);
        self.asides.retain(|aside| keeps(aside.place));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.asides.is_empty()
    }

    /// Everything that is not applied, in the order of records.
    pub(super) fn take_asides(&mut self, outcome: FoldOutcome) -> Vec<Aside<'b>> {
        let mut asides = std::mem::take(&mut self.asides);
        if outcome.left_out.is_empty() {
            return asides;
        }
        for left in outcome.left_out {
            let event = self.events[left.event];
            asides.push(Aside {
                place: self.places[left.event] as usize,
                at: place_of(&event),
                offset: event.offset,
                event: Some(event),
                fault: left.failure.as_ref().map(fault_of),
            });
        }
        asides.sort_unstable_by_key(|aside| aside.place);
        asides
    }
}

/// Where an event comes from.
pub(super) fn place_of(event: &Event<'_>) -> TopicPartition {
    TopicPartition {
        topic: event.topic,
        partition: event.partition,
    }
}

/// A failure of the fold, as it is kept.
pub(super) fn fault_of(failure: &EventFailure) -> Fault {
    let place = failure.rule();
    Fault {
        table_name: place.map(|place| place.table.clone()),
        rule: place.map(|place| format!("{} (line {})", place.rule, place.line)),
        sqlstate: match failure.reason() {
            Reason::Expression(error) => Some(error.sqlstate().to_owned()),
            Reason::NotNull => Some("23502".to_owned()),
            Reason::Decode(_)
            | Reason::KeyNull
            | Reason::VersionNull
            | Reason::RowMissing
            | Reason::TooManyRows
            | Reason::NotAnArray => None,
        },
        reason: failure.to_string(),
    }
}

/// A record that is no event.
pub(super) fn undecodable(error: &DecodeError) -> Fault {
    Fault {
        reason: format!("the record cannot be decoded: {error}"),
        ..Fault::default()
    }
}
