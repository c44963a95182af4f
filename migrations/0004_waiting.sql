-- What keeps a generation from going on although no event is at fault. Boundaries as in 0001_control.sql.
--
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

create or replace view consolidator.freshness as
select p.projection,
       p.table_name,
       g.id as generation,
       case when c.gap = 0 then c.newest when c.unknown = 0 then c.slowest end as as_of,
       c.gap,
       case when c.gap = 0 then 0 when c.unknown = 0 then c.lag_seconds end as lag_seconds,
       case when exists (select from consolidator.stop s where s.generation = g.id) then 'stopped'
            when j.paused_at is not null then 'paused'
            when exists (select from consolidator.waiting w
                         where w.generation = g.id and w.told_at > now() - interval '30 seconds') then 'waiting'
            else g.state end as state,
       c.measured_at
from consolidator.published p
join consolidator.projection j on j.name = p.projection
join consolidator.pointer r on r.projection = p.projection
join consolidator.generation g on g.id = r.generation
cross join lateral (
    select case when bool_and(k.end_offset is not null) then sum(greatest(k.end_offset - k.next_offset, 0))::bigint end as gap,
           count(*) filter (where (k.end_offset > k.next_offset or k.end_offset is null) and k.as_of is null) as unknown,
           max(k.as_of) as newest,
           min(k.as_of) filter (where k.end_offset > k.next_offset or k.end_offset is null) as slowest,
           max(greatest(0, extract(epoch from k.measured_at - k.as_of)))
               filter (where k.end_offset > k.next_offset and isfinite(k.as_of))::double precision as lag_seconds,
           min(k.measured_at) as measured_at
    from consolidator.checkpoint k
    where k.generation = g.id
) c;
