-- What readers may see of the control schema. Boundaries as in 0001_control.sql.
--
--   freshness   one row per table or view of the read schema, of the generation that readers see; and one, named
--               schema.table, per table or view that is as of a time or of offsets: as_of says which (the time asked for, or the
--               newest event's); gap and lag_seconds are null, because it is not meant to follow the log.
--     gap          events behind: the sum over partitions of end_offset - next_offset, as last measured; null while some partition
--                  was never measured. Offsets have holes, so it is an upper bound.
--     as_of        gap 0: event time of the newest applied event. Otherwise the event time up to which the slowest partition
--                  is applied (null if one of those behind has applied nothing yet).
--     lag_seconds  0 at gap 0, else how long before measured_at the slowest partition's last applied event happened; never negative.
--     state        the generation's state; `paused`, `stopped` or `waiting` when its projection stands still.
--     measured_at  the oldest of the partitions' measurements: gap and lag_seconds are true as of then.
--   wait_for     true once the offset is applied (next_offset > "offset", durably) in the generation readers see.

create view consolidator.freshness as
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
) c
union all
select g.projection,
       g.read_schema || '.' || v.name,
       g.id,
       coalesce(g.as_of, (select max(k.as_of) from consolidator.checkpoint k where k.generation = g.id)),
       null, null, g.state, g.caught_up_at
from consolidator.generation g
cross join lateral unnest(g.relations) as v (name)
where g.state = 'frozen';
comment on view consolidator.freshness is 'How far the tables that readers see are behind the log.';

create view consolidator.blocked_keys as
select g.projection, d.key, min(d.set_aside_at) as since, (array_agg(d.reason order by d."offset"))[1] as reason
from consolidator.dead_letter d
join consolidator.generation g on g.id = d.generation
join consolidator.pointer r on r.projection = g.projection and r.generation = g.id
where d.key is not null
group by g.projection, d.topic, d.partition, d.key;
comment on view consolidator.blocked_keys is 'Keys whose events are set aside: their rows stand still since then.';

create function consolidator.wait_for(projection text, topic text, "partition" integer, "offset" bigint, timeout interval)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    deadline      timestamptz;
    -- A partition that was assigned just now gets its checkpoint within this time.
    known_by      timestamptz := clock_timestamp() + interval '2 seconds';
    seen          bigint;
    seen_topics   text[];
    reached       bigint;
    -- What a load has written counts only when its keys stand: until then it may begin anew.
    loading       boolean;
    pause_seconds double precision := 0.005;
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'wait_for needs read committed: under % this transaction can never see the commit it waits for',
            current_setting('transaction_isolation') using errcode = 'invalid_transaction_state';
    end if;
    if wait_for.projection is null or wait_for.topic is null or wait_for."partition" is null
        or wait_for."offset" is null or wait_for.timeout is null then
        raise exception 'wait_for: no argument may be null' using errcode = 'null_value_not_allowed';
    end if;
    deadline := clock_timestamp() + wait_for.timeout;
    loop
        select g.id, g.topics, c.next_offset, g.phase in ('load', 'drain', 'index') into seen, seen_topics, reached, loading
        from consolidator.pointer r
        join consolidator.generation g on g.id = r.generation
        left join consolidator.checkpoint c
            on c.generation = g.id and c.topic = wait_for.topic and c.partition = wait_for."partition"
        where r.projection = wait_for.projection;
        if seen is null then
            raise exception 'wait_for: there is no projection "%"', wait_for.projection using errcode = 'invalid_parameter_value';
        elsif wait_for.topic <> all (seen_topics) then
            raise exception 'wait_for: projection "%" does not read topic "%"', wait_for.projection, wait_for.topic
                using errcode = 'invalid_parameter_value', hint = 'It reads ' || array_to_string(seen_topics, ', ') || '.';
        elsif reached > wait_for."offset" and not loading then
            return true;
        elsif reached is null and not loading and (clock_timestamp() >= known_by or clock_timestamp() >= deadline) then
            raise exception 'wait_for: projection "%" knows no partition % of topic "%"',
                wait_for.projection, wait_for."partition", wait_for.topic using errcode = 'invalid_parameter_value';
        elsif clock_timestamp() >= deadline then
            return false;
        end if;
        perform pg_sleep(greatest(0, least(pause_seconds, extract(epoch from deadline - clock_timestamp()))));
        pause_seconds := least(pause_seconds * 1.5, 0.020);
    end loop;
end
$$;
comment on function consolidator.wait_for(text, text, integer, bigint, interval) is
    'True once the offset is applied in what readers see, false when the time is up.';
revoke all on function consolidator.wait_for(text, text, integer, bigint, interval) from public;
