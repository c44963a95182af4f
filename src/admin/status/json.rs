//! `status --json`: one document on one line. Its members are documented in docs/operating.md: more may come, none goes or
//! changes its meaning.

use serde_json::{Value, json};

use super::{Status, is_fine, seen, standing};
use crate::store::{
    BlockedKey, Blocker, GenerationStatus, Hole, PartitionStatus, ProjectionStatus, Stop,
    TableStatus, Waiting,
};

pub fn to_json(status: &Status) -> Value {
    json!({
        "fine": status.is_fine(),
        "projections": list(&status.projections, projection),
    })
}

fn list<T>(items: &[T], one: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(one).collect()
}

fn projection(projection: &ProjectionStatus) -> Value {
    let seen = seen(projection);
    json!({
        "projection": projection.name,
        "state": standing(projection).word(),
        "fine": is_fine(projection),
        "paused_at": projection.paused_at,
        "generation": seen.map(|generation| generation.id),
        "gap": seen.and_then(GenerationStatus::gap),
        "lag_seconds": seen.and_then(GenerationStatus::lag_seconds),
        "generations": list(&projection.generations, |generation| {
            self::generation(generation, &projection.fingerprint)
        }),
    })
}

fn generation(generation: &GenerationStatus, fingerprint: &str) -> Value {
    json!({
        "generation": generation.id,
        "state": generation.state.as_str(),
        "reason": generation.reason,
        "seen_by_readers": generation.visible,
        "as_of": generation.as_of,
        "read_schema": generation.read_schema,
        "as_the_file_says": generation.fingerprint == fingerprint,
        "created_at": generation.created_at,
        "kafka_group": generation.kafka_group,
        "topics": generation.topics,
        "events": generation.events(),
        "gap": generation.gap(),
        "lag_seconds": generation.lag_seconds(),
        "measured_seconds_ago": super::measured_ago(generation),
        "partitions": list(&generation.partitions, partition),
        "tables": list(&generation.tables, table),
        "stops": list(&generation.stops, stop),
        "waiting": list(&generation.waiting, waiting),
        "holes": list(&generation.holes, hole),
        "dead_letters": generation.dead_letters,
        "blocked_keys": list(&generation.blocked_keys, blocked_key),
        "blockers": list(&generation.blockers, blocker),
    })
}

fn hole(hole: &Hole) -> Value {
    json!({
        "topic": hole.topic,
        "partition": hole.partition,
        "from_offset": hole.from_offset,
        "to_offset": hole.to_offset,
        "accepted_at": hole.accepted_at,
    })
}

fn partition(partition: &PartitionStatus) -> Value {
    let owner = partition.owner_name.as_ref().map(|name| {
        json!({ "name": name, "pid": partition.owner_pid, "connected": partition.owner_connected })
    });
    json!({
        "topic": partition.topic,
        "partition": partition.partition,
        "begin_offset": partition.begin_offset,
        "next_offset": partition.next_offset,
        "end_offset": partition.end_offset,
        "gap": partition.gap(),
        "lag_seconds": partition.lag_seconds,
        "as_of": partition.as_of,
        "measured_at": partition.measured_at,
        "measured_seconds_ago": partition.measured_ago,
        "events": partition.events,
        "epoch": partition.epoch,
        "owner": owner,
    })
}

fn table(table: &TableStatus) -> Value {
    json!({ "table": table.name, "rows": table.rows, "bytes": table.bytes, "shared": table.shared })
}

fn stop(stop: &Stop) -> Value {
    json!({
        "topic": stop.topic,
        "partition": stop.partition,
        "offset": stop.offset,
        "alone": stop.alone,
        "key": stop.key,
        "event_type": stop.event_type,
        "table": stop.table_name,
        "rule": stop.rule,
        "reason": stop.reason,
        "hint": stop.hint,
        "stopped_at": stop.stopped_at,
    })
}

fn waiting(waiting: &Waiting) -> Value {
    json!({
        "worker": waiting.worker,
        "reason": waiting.reason,
        "hint": waiting.hint,
        "since": waiting.since,
    })
}

fn blocked_key(blocked: &BlockedKey) -> Value {
    json!({
        "topic": blocked.topic,
        "partition": blocked.partition,
        "key": blocked.key,
        "offset": blocked.offset,
        "event_type": blocked.event_type,
        "table": blocked.table_name,
        "rule": blocked.rule,
        "reason": blocked.reason,
        "since": blocked.since,
        "events": blocked.events,
    })
}

fn blocker(blocker: &Blocker) -> Value {
    json!({
        "pid": blocker.pid,
        "role": blocker.role,
        "application": blocker.application,
        "state": blocker.state,
        "since": blocker.since,
        "blocked_pid": blocker.blocked_pid,
    })
}
