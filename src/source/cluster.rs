//! What the brokers say about topics: that they exist, their ids, partitions and ends. Blocking, each
//! call with a timeout. Knows nothing of groups.

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;

use super::error::kind_of;
use super::raw::{Client, Event, Queue};
use super::{ErrorKind, KafkaSettings, SourceError};

/// A connection for questions about topics. May be shared between threads.
pub struct Cluster {
    /// Nobody waits on it; it is emptied now and then, and tells why an answer did not come.
    events: Mutex<Queue>,
    client: Arc<Client>,
}

/// A topic as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// Kafka's id of this incarnation (KIP-516, base64): a topic that was deleted and created again
    /// has another. `None` if the broker is too old to tell.
    pub id: Option<String>,
    /// Partitions are numbered from 0 to below this.
    pub partitions: usize,
}

/// The bounds of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub partition: i32,
    /// The first offset that Kafka still holds (inclusive).
    pub begin_offset: i64,
    /// The offset after the last record that may be read (exclusive): the last stable offset, so a
    /// transaction that is still open is beyond it.
    pub end_offset: i64,
}

impl Cluster {
    /// Connects in the background; brokers that cannot be reached show in the first question.
    ///
    /// # Errors
    /// Settings that librdkafka refuses.
    pub fn connect(kafka: &KafkaSettings) -> Result<Cluster, SourceError> {
        let client = Client::new(&kafka.client_config()?, kafka.token_file.clone())?;
        let events = Queue::of_main(&client)
            .ok_or_else(|| SourceError::new(ErrorKind::Fatal, "librdkafka gave no queue"))?;
        Ok(Cluster {
            events: Mutex::new(events),
            client,
        })
    }

    /// Describes topics, in the order asked: each is there, missing
    /// ([`ErrorKind::UnknownTopic`]), or not to be read ([`ErrorKind::Authorization`]).
    ///
    /// # Errors
    /// The cluster did not answer within `timeout`, or refused us as a whole.
    pub fn check_topics(
        &self,
        topics: &[String],
        timeout: Duration,
    ) -> Result<Vec<Result<Topic, SourceError>>, SourceError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let names: Result<Vec<CString>, _> = topics.iter().map(|t| CString::new(&**t)).collect();
        let names = names
            .map_err(|_| SourceError::new(ErrorKind::Configuration, "a topic's name has a NUL"))?;
        let described = self
            .client
            .describe_topics(&names, timeout)
            .map_err(|error| self.explained(error))?;
        let one = |topic: &String| {
            let found = described.iter().find(|found| found.name == *topic);
            match found.map(|found| &found.found) {
                Some(Ok((id, partitions))) => Ok(Topic {
                    name: topic.clone(),
                    id: known_id(id),
                    partitions: *partitions,
                }),
                Some(Err((code, text))) => Err(SourceError::new(
                    kind_of(*code, false),
                    format!("topic {topic}: {text}"),
                )),
                None => Err(SourceError::new(
                    ErrorKind::UnknownTopic,
                    format!("topic {topic}: not in the answer"),
                )),
            }
        };
        Ok(topics.iter().map(one).collect())
    }

    /// Where the logs of these partitions begin now, in the order asked. All at once if they all answer within `timeout`;
    /// otherwise one by one, each within it, since a partition without a leader must not keep the others from starting.
    pub fn begins(
        &self,
        topic: &str,
        partitions: &[i32],
        timeout: Duration,
    ) -> Vec<Result<i64, SourceError>> {
        if let Ok(begins) = self.offsets(topic, partitions, Offset::Beginning, timeout) {
            return begins.into_iter().map(Ok).collect();
        }
        let one = |partition: &i32| {
            let begin = self.offsets(topic, &[*partition], Offset::Beginning, timeout)?;
            Ok(begin[0])
        };
        partitions.iter().map(one).collect()
    }

    /// Where the logs of partitions `0..partitions` of a topic begin and end now, by partition.
    ///
    /// # Errors
    /// The cluster, or one partition's leader, did not answer within `timeout`.
    pub fn ends(
        &self,
        topic: &str,
        partitions: usize,
        timeout: Duration,
    ) -> Result<Vec<Ends>, SourceError> {
        if partitions == 0 {
            return Ok(Vec::new());
        }
        self.ends_of(topic, &all(partitions), timeout)
    }

    /// The same of some partitions, in the order asked.
    ///
    /// # Errors
    /// As for [`ends`](Cluster::ends).
    pub fn ends_of(
        &self,
        topic: &str,
        partitions: &[i32],
        timeout: Duration,
    ) -> Result<Vec<Ends>, SourceError> {
        let begin = self.offsets(topic, partitions, Offset::Beginning, timeout)?;
        let end = self.offsets(topic, partitions, Offset::End, timeout)?;
        let pairs = begin.into_iter().zip(end).zip(partitions);
        Ok(pairs
            .map(|((begin_offset, end_offset), partition)| Ends {
                partition: *partition,
                begin_offset,
                end_offset,
            })
            .collect())
    }

    /// One ListOffsets request to every leader; the answers in the order of `partitions`.
    fn offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        wanted: Offset,
        timeout: Duration,
    ) -> Result<Vec<i64>, SourceError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(topic, *partition, wanted)
                .map_err(|error| SourceError::new(ErrorKind::Configuration, error.to_string()))?;
        }
        let context = format!("asking for the offsets of topic {topic}");
        self.client
            .offsets_for_times(&list, timeout)
            .map_err(|code| self.explained(SourceError::from_code(code, &context)))?;
        let mut offsets = vec![-1; partitions.len()];
        for element in list.elements() {
            let partition = element.partition();
            if let Err(error) = element.error() {
                let code = error.rdkafka_error_code();
                let kind = code.map_or(ErrorKind::Transient, |code| kind_of(code, false));
                let message = format!("{context}, partition {partition}: {error}");
                return Err(SourceError::new(kind, message));
            }
            let found = match element.offset() {
                Offset::Offset(offset) => offset,
                Offset::End if !matches!(wanted, Offset::End) => {
                    // Nothing at or after that time: the end.
                    return self.ends_where_absent(list.elements(), topic, partitions, timeout);
                }
                _ => {
                    let message = format!("{context}, partition {partition}: no answer");
                    return Err(SourceError::new(ErrorKind::Transient, message));
                }
            };
            if let Some(at) = partitions.iter().position(|asked| *asked == partition) {
                offsets[at] = found;
            }
        }
        Ok(offsets)
    }

    fn ends_where_absent(
        &self,
        found: Vec<rdkafka::topic_partition_list::TopicPartitionListElem<'_>>,
        topic: &str,
        partitions: &[i32],
        timeout: Duration,
    ) -> Result<Vec<i64>, SourceError> {
        let mut offsets = self.offsets(topic, partitions, Offset::End, timeout)?;
        for element in found {
            let asked = |partition: &i32| *partition == element.partition();
            if let Offset::Offset(offset) = element.offset()
                && let Some(at) = partitions.iter().position(asked)
            {
                offsets[at] = offset;
            }
        }
        Ok(offsets)
    }

    /// The reason that the client gave meanwhile, if it has one: "timed out" alone helps nobody.
    fn explained(&self, error: SourceError) -> SourceError {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reason = None;
        while let Some(event) = events.event(Duration::ZERO) {
            match event {
                // That all are down only follows from why each of them is.
                Event::Error { code, text, .. }
                    if reason.is_none() || code != Code::AllBrokersDown =>
                {
                    reason = Some((kind_of(code, false), text));
                }
                Event::TokenWanted => self.client.set_token(),
                Event::Log(_, facility, text) => debug!(target: "kafka", facility, "{text}"),
                _ => {}
            }
        }
        match reason {
            Some((kind, text)) => SourceError::new(kind, format!("{error} ({text})")),
            None => error,
        }
    }
}

fn all(partitions: usize) -> Vec<i32> {
    (0..i32::try_from(partitions).unwrap_or(i32::MAX)).collect()
}

/// A broker without topic ids answers with zeros.
pub(super) fn known_id(id: &str) -> Option<String> {
    let given = !id.is_empty() && id.bytes().any(|byte| byte != b'A');
    given.then(|| id.to_owned())
}
