-- What a generation goes through while it is built, switched to and retired. Boundaries as in 0001_control.sql.
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
--   parked_at       since when the partition's owner stands still with everything it folded durable; null while it folds.
--   reading_offset  first offset not yet folded in memory; not durable, for progress only. Null outside of a load.
--   branches        the generations that the view can show; the pointer says which.
--   waits_for       virtual transactions that were open when the generation was to go, and may see it: it stays while one of them lasts.

alter table consolidator.generation
    add column phase text not null default 'measure'
        check (phase in ('measure', 'load', 'drain', 'index', 'follow')),
    add column goal text not null default 'switch' check (goal in ('switch', 'hold', 'freeze', 'verify')),
    add column compare boolean not null default false,
    add column keys_wanted boolean not null default false,
    add column hole text,
    add column partitions integer,
    add column leader text,
    add column leader_until timestamptz,
    add column load_at timestamptz,
    add column loaded_at timestamptz,
    add column indexed_at timestamptz,
    add column analyzed_at timestamptz,
    add column replaced_at timestamptz,
    add column grace_until timestamptz,
    add column waits_for text[],
    add column switch_seconds double precision,
    add column as_of timestamptz,
    add column read_schema text;
update consolidator.generation set phase = 'follow';

alter table consolidator.checkpoint
    add column parked_at timestamptz,
    add column reading_offset bigint;

alter table consolidator.published
    add column branches bigint[] not null default '{}';
update consolidator.published p set branches = array[r.generation]
from consolidator.pointer r where r.projection = p.projection;
