-- The control tables: what Consolidator remembers besides the rows of read models.
--
-- Boundaries, the same everywhere:
--   begin_offset   inclusive: the first offset this generation was to apply. Written once.
--   next_offset    exclusive of what is applied: the first offset NOT yet applied. Every event below it (and at or above
--                  begin_offset) is in the tables or in dead_letter, no event at or above it is. It moves only in the
--                  transaction that writes those rows, so it is durable exactly when they are.
--   end_offset     exclusive: the first offset that did not exist yet when it was measured. Only a measurement; may be behind.
--   stop_at        exclusive: offsets below it are applied, none at or above it.
--   as_of          event time of the last applied event of the partition; null before the first. Not monotonic: late events exist.
--   measured_at, …_at   this server's clock. Never used to decide what is applied.
--   last_offset    the last applied record, or one before it; below next_offset. last_epoch and last_fingerprint are that record's.
--                  Whoever takes the partition over reads on from it, not from behind it, and sees whether it is still the same.
--   epoch          raised by whoever takes the partition over, and for all partitions when a table is given over to the locked
--                  way. A claim names the epoch it was given; a stale one moves nothing.

create table consolidator.deployment (
    single      boolean primary key default true check (single),
    kafka_group text not null,
    created_at  timestamptz not null default now()
);
comment on table consolidator.deployment is 'One row: which deployment (kafka.group) works on this control schema. Another one is refused.';

create table consolidator.projection (
    name        text primary key,
    definition  text not null,
    fingerprint text not null,
    paused_at   timestamptz,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);
comment on table consolidator.projection is 'What should become live, as the definition files last said. Generations are folded by their own stored definition.';

-- What a generation goes through while it is built, switched to and retired:
--
--   state and phase are written by the generation's leader (one process, by the lease below) and by the switch, each move in one
--   transaction that names the state it moves from; so both are durable, and a restart goes on from where they stand:
--     building / measure   nothing is folded yet; the leader asks Kafka how long the logs are. A restart asks again.
--     building / load      the tables have no keys. Lanes keep rows in memory and write each of them once. What a lane that ends had in
--                          memory is folded again; a partition that has something applied waits for the keys.
--     building / drain     some lane needs the keys now: all lanes write what they have and stand still.
--     building / index     the leader builds keys and indexes, a table per transaction. A restart builds those that are missing.
--     building / follow    folded as live is, until it is at the ends of its topics.
--     caught_up            has been at the ends once; views are prepared and readers switched. A restart goes on with that.
--     held                 the same, but readers stay until `switch`: asked for, or `hole` says what the log no longer holds.
--     live                 readers see it.
--     grace                readers saw it before; fed until grace_until (null: until it is dropped), so that `rollback` is current.
--     frozen               as of a time or offsets; not fed.
--     failed               given up; its tables are dropped by whoever leads it.
--     retired              superseded; its tables are dropped by whoever leads it.
--   leader_until    end of the lease. The leader renews it long before; after it anybody may lead.
--   partitions      of all its topics together, as counted before the load: it is over when the owners of that many stand still.
--   waits_for       virtual transactions that were open when the generation was to go, and may see it: it stays while one of them lasts.

create table consolidator.generation (
    id            bigint generated always as identity primary key,
    projection    text not null references consolidator.projection (name),
    definition    text not null,
    fingerprint   text not null,
    kafka_group   text not null,
    topics        text[] not null,
    state         text not null check (state in
                      ('building', 'caught_up', 'held', 'live', 'grace', 'frozen', 'retired', 'failed')),
    phase         text not null default 'measure'
                      check (phase in ('measure', 'load', 'drain', 'index', 'follow')),
    goal          text not null default 'switch' check (goal in ('switch', 'hold', 'freeze', 'verify')),
    compare       boolean not null default false,
    compared      jsonb,
    shared_tables text[] not null default '{}',
    keys_wanted   boolean not null default false,
    partitions    integer,
    stop_at       jsonb,
    hole          text,
    reason        text,
    as_of         timestamptz,
    read_schema   text,
    relations     text[] not null default '{}',
    leader        text,
    leader_until  timestamptz,
    waits_for     text[],
    switch_seconds double precision,
    created_at    timestamptz not null default now(),
    load_at       timestamptz,
    loaded_at     timestamptz,
    indexed_at    timestamptz,
    analyzed_at   timestamptz,
    caught_up_at  timestamptz,
    live_at       timestamptz,
    replaced_at   timestamptz,
    grace_until   timestamptz,
    ended_at      timestamptz
);
create unique index generation_one_live on consolidator.generation (projection) where state = 'live';
comment on column consolidator.generation.definition is 'The whole definition. The generation is folded by this text for as long as it lives.';
comment on column consolidator.generation.kafka_group is 'The consumer group of this generation: <kafka.group>.<projection>.g<id>.';
comment on column consolidator.generation.shared_tables is 'Tables whose rows are met from more than one partition and are therefore locked row by row. Only ever grows.';
comment on column consolidator.generation.stop_at is 'topic -> partition -> offset (exclusive) at which its lanes stand still; null: never.';
comment on column consolidator.generation.compared is 'What came of comparing it with the live one before the switch, table by table; null: not compared.';
comment on column consolidator.generation.as_of is 'Events of a later event.time are not applied; null: all are.';
comment on column consolidator.generation.read_schema is 'Of a generation as of a time or offsets: the schema of its own where readers see it, once it is frozen.';
comment on column consolidator.generation.relations is 'The views in read_schema that are ours.';
comment on column consolidator.generation.caught_up_at is 'When it first reached the end of its topics; null while it has not.';

create table consolidator.pointer (
    projection text primary key references consolidator.projection (name),
    generation bigint not null references consolidator.generation (id),
    moved_at   timestamptz not null default now()
);
comment on table consolidator.pointer is 'The generation that readers see, from the first build on. Views of the read schema are gated by it; moving it is one update.';

create table consolidator.checkpoint (
    generation          bigint not null references consolidator.generation (id) on delete cascade,
    topic               text not null,
    partition           integer not null check (partition >= 0),
    slot                integer not null check (slot > 0),
    begin_offset        bigint not null,
    next_offset         bigint not null check (next_offset >= begin_offset),
    topic_id            text,
    last_offset         bigint check (last_offset < next_offset),
    last_epoch          integer,
    last_fingerprint    bigint,
    epoch               bigint not null default 0,
    owner_pid           integer,
    owner_backend_start timestamptz,
    owner_name          text,
    end_offset          bigint,
    as_of               timestamptz,
    events              bigint not null default 0,
    measured_at         timestamptz,
    parked_at           timestamptz,
    reading_offset      bigint,
    accept_hole         boolean not null default false,
    primary key (generation, topic, partition),
    constraint checkpoint_slot unique (generation, slot)
) with (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
comment on column consolidator.checkpoint.topic_id is 'Kafka''s id of the topic that was applied (KIP-516): one that is made anew under the old name has another. Null: not known.';
comment on column consolidator.checkpoint.last_epoch is 'Leader epoch of the record at last_offset (KIP-101); null: Kafka does not tell.';
comment on column consolidator.checkpoint.last_fingerprint is 'Over timestamp, key and value of the record at last_offset.';
comment on column consolidator.checkpoint.slot is 'Names the partition in the "$owner" column of the generation''s tables. Never reused.';
comment on column consolidator.checkpoint.owner_pid is 'Backend of the lane that took the partition over last (with owner_backend_start: pids are reused).';
comment on column consolidator.checkpoint.parked_at is 'Since when the partition''s owner stands still with everything it folded durable; null while it folds.';
comment on column consolidator.checkpoint.reading_offset is 'First offset not yet folded in memory; not durable, for progress only. Null outside of a load.';
comment on column consolidator.checkpoint.accept_hole is 'Its owner may go on at the log''s beginning if next_offset is no longer there. Gone once it has.';
comment on column consolidator.checkpoint.events is 'Events dealt with so far (applied, or set aside), for rates. Offsets have holes, so this is not next_offset - begin_offset.';

create table consolidator.stop (
    id         bigint generated always as identity primary key,
    generation bigint not null references consolidator.generation (id) on delete cascade,
    topic      text,
    partition  integer,
    "offset"   bigint,
    key        text,
    event_type text,
    table_name text,
    rule       text,
    log_begin  bigint,
    alone      boolean not null default false,
    other_log  boolean not null default false,
    reason     text not null,
    hint       text,
    stopped_at timestamptz not null default now()
);
create unique index stop_place on consolidator.stop (generation, coalesce(topic, ''), coalesce(partition, -1));
comment on table consolidator.stop is 'Why a generation (topic null) or one of its partitions stands still. Gone as soon as it goes on.';
comment on column consolidator.stop."offset" is 'The record that could not be applied; the checkpoint''s next_offset is at or below it.';

comment on column consolidator.stop.alone is 'Only this partition stands still; the others of the generation go on.';
comment on column consolidator.stop.other_log is 'What Kafka holds is not what was applied: the topic was made anew, or its log was cut off and written on.';
comment on column consolidator.stop.log_begin is 'Where the log begins (inclusive), if that is behind next_offset: what is between is lost. Else null.';

create table consolidator.hole (
    generation  bigint not null references consolidator.generation (id) on delete cascade,
    topic       text not null,
    partition   integer not null,
    from_offset bigint not null,
    to_offset   bigint not null check (to_offset > from_offset),
    accepted_at timestamptz not null default now(),
    primary key (generation, topic, partition, from_offset)
);
comment on table consolidator.hole is 'What a generation lacks because Kafka no longer held it, from from_offset (inclusive) to to_offset (exclusive); accepted by an operator.';

-- What keeps a generation from going on although no event is at fault.
--   told_at   when the worker last said so. It repeats it every 10 s at least; a row that was not repeated for 30 s counts for
--             nothing: its worker was killed, or cannot reach this server.
create table consolidator.waiting (
    generation bigint not null references consolidator.generation (id) on delete cascade,
    worker     text not null,
    reason     text not null,
    hint       text,
    since      timestamptz not null default now(),
    told_at    timestamptz not null default now(),
    primary key (generation, worker)
);
comment on table consolidator.waiting is 'What workers wait for before they can go on with a generation, each by itself as soon as the cause is gone.';

create table consolidator.published (
    table_name text primary key,
    projection text not null references consolidator.projection (name),
    schema     text not null,
    kind       text not null check (kind in ('table', 'view')),
    columns    text[] not null,
    branches   bigint[] not null default '{}'
);
comment on column consolidator.published.branches is 'The generations that the view can show; the pointer says which.';
comment on table consolidator.published is 'The views of the read schema that are ours. A name belongs to one projection. Columns are append-only.';

-- Written only by the lane that owns the partition: in the transaction that moves the checkpoint past the event, or in one that
-- claims the checkpoint where it stands (a request carried out). What is in here is not in the tables.
--   key        as text, null where the record has none or its bytes are no text; letters of one key in one partition are applied
--              again in the order of their offsets, or not at all.
--   follows    set aside only because an earlier event of the same key is.
--   redacted   what the record held was not kept: it can be thrown away, and applied only by a rebuild.
--   requested  what an operator wants done; gone with the letter, or when it could not be done.

create table consolidator.dead_letter (
    id           bigint generated always as identity primary key,
    generation   bigint not null references consolidator.generation (id) on delete cascade,
    topic        text not null,
    partition    integer not null,
    "offset"     bigint not null,
    key          text,
    record_key   bytea,
    value        bytea,
    headers      jsonb,
    record_at    timestamptz,
    event_type   text,
    event_id     text,
    event_time   timestamptz,
    table_name   text,
    rule         text,
    sqlstate     text,
    reason       text not null,
    follows      boolean not null default false,
    redacted     boolean not null default false,
    requested    text check (requested in ('retry', 'discard')),
    set_aside_at timestamptz not null default now(),
    unique (generation, topic, partition, "offset")
);
-- A key may be longer than an index takes.
create index dead_letter_key on consolidator.dead_letter (generation, topic, partition, md5(key), "offset");
create index dead_letter_requested on consolidator.dead_letter (generation, topic, partition, "offset") where requested is not null;
comment on table consolidator.dead_letter is 'Events set aside in the transaction that moved the checkpoint past them, in offset order per key.';
comment on column consolidator.dead_letter.headers is 'In the record''s order: name, and the value as text, or as hex where it is no text.';
comment on column consolidator.dead_letter.follows is 'Set aside only because an earlier event of the same key is.';
