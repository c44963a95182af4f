//! A definition as PL/pgSQL: its rules as plain statements over a raw dump of the topics, event by event, in offset order per
//! partition. What comes of it is in the schema `oracle`, under the tables' names. Knows nothing of how the product folds.

use super::definition::{Definition, Rule, TYPES, Table};

/// Events out of `raw`, once for all definitions.
pub const EVENTS: &str = "
    drop schema if exists oracle cascade; create schema oracle;
    create table oracle.event as
    select topic, partition, \"offset\", key, v->>'id' as id, coalesce(v->>'type', 'tombstone') as type,
           coalesce((v->>'time')::timestamptz, at) as time, (v->>'version')::bigint as version, v->'data' as data
    from (select *, value::jsonb as v from raw) r where v->>'type' is distinct from 'Pad'";

/// Makes the definition's tables in `oracle`, and fills them. `keyed`: the topic that owned tables are made from.
pub fn statements(definition: &Definition, keyed: &str) -> String {
    let topics = match definition.deduplicates {
        true => {
            "exists (select from oracle.seen s where (s.topic, s.partition, s.id) = (e.topic, e.partition, e.id))"
        }
        false => "false",
    };
    let mut sql = vec![
        "set timezone = 'UTC'; set plpgsql.variable_conflict = 'use_column'; drop table if exists oracle.seen;
         create table oracle.seen (topic text, partition int, id text)"
            .to_owned(),
        "create index on oracle.seen (topic, partition, id)".to_owned(),
    ];
    let mut body = Vec::new();
    for table in &definition.tables {
        sql.extend(tables(table));
        body.push(of_table(table, definition, keyed));
    }
    body.extend(definition.tables.iter().map(after_event));
    let rows = definition.tables.iter().map(|table| {
        format!(
            "    r_{0} oracle.{0}; o_{0} oracle.{0}; l_{0} oracle.{0};",
            table.name
        )
    });
    sql.push(format!(
        "create or replace function oracle.fold() returns void language plpgsql as $body$
declare e record; i record; k record; touched record; is_new boolean;
{}
begin
  for e in select * from oracle.event order by topic, partition, \"offset\" loop
    if {topics} then continue; end if;
    insert into oracle.seen select e.topic, e.partition, e.id where e.id is not null;
{}
  end loop;
end $body$",
        rows.collect::<Vec<_>>().join("\n"),
        body.join("\n")
    ));
    sql.push("select oracle.fold()".to_owned());
    sql.join(";\n")
}

fn keys(table: &Table) -> Vec<String> {
    (1..=table.key.len())
        .map(|number| format!("k{number}"))
        .collect()
}

/// Key and other columns.
pub fn columns(table: &Table) -> Vec<String> {
    let others = (0..table.columns.len()).map(|number| format!("c{number}"));
    keys(table).into_iter().chain(others).collect()
}

fn tables(table: &Table) -> Vec<String> {
    let name = &table.name;
    let key_types = table.key.iter().enumerate();
    let key_types = key_types.map(|(at, (ty, _))| format!("k{} {ty}", at + 1));
    let of_key = key_types.clone().collect::<Vec<_>>().join(", ");
    let others = table.columns.iter().enumerate();
    let others = others.map(|(at, column)| format!("c{at} {}", column.sql()));
    let all: Vec<String> = key_types.chain(others).collect();
    let key = keys(table).join(", ");
    vec![
        format!("create table oracle.{name} ({}, primary key ({key}))", all.join(", ")),
        // What the event at hand has touched: the row before it, whether its version is new, whether it deleted the row.
        format!("create table oracle.{name}_touched ({of_key}, was oracle.{name}, is_new boolean, gone boolean not null default false, primary key ({key}))"),
        format!("create table oracle.{name}_version ({of_key}, version bigint, primary key ({key}))"),
        format!("create table oracle.{name}_state (seq bigint generated always as identity, {of_key}, row_after oracle.{name}, time timestamptz,
                 id text, type text, topic text, partition int, \"offset\" bigint)"),
    ]
}

/// All that an event does to one table, but for what is kept of it until its end.
fn of_table(table: &Table, definition: &Definition, keyed: &str) -> String {
    let mut parts = Vec::new();
    for (types, rules) in &table.rules {
        for rule in rules {
            parts.push(of_rule(table, types, rule, definition, keyed));
        }
    }
    parts.join("\n")
}

/// Behind the rules of all tables: what one of them sees of another is as it was before the event.
fn after_event(table: &Table) -> String {
    let name = &table.name;
    let mut parts = Vec::new();
    if table.history {
        let same = same_key(table, "t", "n");
        parts.push(format!(
            "    insert into oracle.{name}_state ({0}, row_after, time, id, type, topic, partition, \"offset\")
      select {1}, n, e.time, e.id, e.type, e.topic, e.partition, e.\"offset\"
      from oracle.{name}_touched t left join oracle.{name} n on {same} where t.was is distinct from n;",
            keys(table).join(", "),
            of(table, "t").join(", "),
        ));
    }
    parts.push(format!("    delete from oracle.{name}_touched;"));
    parts.join("\n")
}

fn of(table: &Table, alias: &str) -> Vec<String> {
    keys(table)
        .iter()
        .map(|key| format!("{alias}.{key}"))
        .collect()
}

fn same_key(table: &Table, one: &str, other: &str) -> String {
    format!(
        "({}) = ({})",
        of(table, one).join(", "),
        of(table, other).join(", ")
    )
}

fn of_rule(
    table: &Table,
    types: &str,
    rule: &Rule,
    definition: &Definition,
    keyed: &str,
) -> String {
    let name = &table.name;
    let types: Vec<&str> = match types {
        "\"*\"" => TYPES.to_vec(),
        types => types.split(", ").collect(),
    };
    let topic = match table.kind {
        super::definition::Kind::Owned => format!("and e.topic = '{keyed}'"),
        _ => String::new(),
    };
    let elements = match rule.each {
        true => {
            "select x.item, x.no - 1 as index from jsonb_array_elements(e.data->'items') with ordinality as x (item, no) order by x.no"
        }
        false => "select null::jsonb as item, 0 as index",
    };
    let key = keys(table).join(", ");
    let reached = match rule.prefix {
        true => format!("select {key} from oracle.{name} where k1 = e.key order by {key}"),
        false => {
            let values = table.key.iter().enumerate();
            let values = values.map(|(at, (_, value))| format!("{} as k{}", value.theirs, at + 1));
            format!("select {}", values.collect::<Vec<_>>().join(", "))
        }
    };
    let is_row = same_key(table, "t", "k");
    let missing = match rule.skips_missing {
        true => "continue;".to_owned(),
        false => {
            let defaults = table
                .columns
                .iter()
                .map(|column| format!("{}::{}", column.default.unwrap_or("null"), column.ty));
            let all: Vec<String> = of(table, "k").into_iter().chain(defaults).collect();
            format!(
                "if touched.gone then continue; end if;\n          select {} into r_{name};",
                all.join(", ")
            )
        }
    };
    let lookup = rule.lookup.as_ref().map_or(String::new(), |other| {
        let of_other = definition.tables.iter().find(|table| table.name == *other);
        let all = columns(of_other.expect("it is there"));
        let before: Vec<String> = all.iter().map(|c| format!("(b.was).{c}")).collect();
        format!(
            "        select * into l_{other} from oracle.{other} b where b.k1 = e.key;
        if exists (select from oracle.{other}_touched b where b.k1 = e.key) then
          select {} into l_{other} from oracle.{other}_touched b where b.k1 = e.key;
        end if;\n",
            before.join(", ")
        )
    });
    let when = rule.when.as_ref().map_or(String::new(), |when| {
        format!(
            "        if ({}) is not true then continue; end if;\n",
            rows(&when.theirs, table, rule)
        )
    });
    let version = version(table, &is_row);
    let action = action(table, rule, &is_row);
    let before: Vec<String> = columns(table)
        .iter()
        .map(|c| format!("(touched.was).{c}"))
        .collect();
    format!(
        "    if e.type in ('{}') {topic} then
      for i in {elements} loop for k in {reached} loop
        insert into oracle.{name}_touched ({key}, was) select {}, t from (select) one left join oracle.{name} t on {is_row} on conflict do nothing;
        select * into touched from oracle.{name}_touched t where {is_row};
        select t.* into r_{name} from oracle.{name} t where {is_row};
        if not found then
          {missing}
        end if;
        select {} into o_{name};
{lookup}{when}{version}{action}      end loop; end loop;
    end if;",
        types.join("', '"),
        of(table, "k").join(", "),
        before.join(", "),
    )
}

/// Asked once per event and row.
fn version(table: &Table, is_row: &str) -> String {
    let name = &table.name;
    if !table.version {
        return String::new();
    }
    format!(
        "        is_new := touched.is_new;
        if is_new is null then
          is_new := e.version > coalesce((select t.version from oracle.{name}_version t where {is_row}), -1);
          update oracle.{name}_touched t set is_new = e.version > coalesce((select t.version from oracle.{name}_version t where {is_row}), -1)
            where {is_row};
        end if;
        if not is_new then continue; end if;
        delete from oracle.{name}_version t where {is_row};
        insert into oracle.{name}_version select {}, e.version;\n",
        of(table, "k").join(", ")
    )
}

fn action(table: &Table, rule: &Rule, is_row: &str) -> String {
    let name = &table.name;
    let gone = format!("        delete from oracle.{name} t where {is_row};\n");
    let Some(set) = &rule.set else {
        return format!(
            "{gone}        update oracle.{name}_touched t set gone = true where {is_row};\n"
        );
    };
    let right = |number: usize| {
        let set = set.iter().find(|(column, _)| *column == number);
        set.map_or(format!("r_{name}.c{number}"), |(_, right)| {
            rows(&right.theirs, table, rule)
        })
    };
    let values: Vec<String> = (0..table.columns.len()).map(right).collect();
    format!(
        "{gone}        insert into oracle.{name} select {}, {};\n",
        of(table, "k").join(", "),
        values.join(", ")
    )
}

/// `r`, `o` and `l` are variables of the row types of their tables.
fn rows(expression: &str, table: &Table, rule: &Rule) -> String {
    let named = |short: &str, table: &str, text: String| {
        text.replace(&format!("{short}.c"), &format!("{short}_{table}.c"))
    };
    let text = named("r", &table.name, expression.to_owned());
    let text = named("o", &table.name, text);
    match &rule.lookup {
        Some(other) => named("l", other, text),
        None => text,
    }
}

/// The states of a table with a history, in the columns of its view.
pub fn history(table: &Table) -> String {
    let key = keys(table).join(", ");
    let after: Vec<String> = (0..table.columns.len())
        .map(|number| format!("(row_after).c{number}"))
        .collect();
    format!(
        "select {key}, {}, valid_from, case when ended then next_from end, time < valid_from, id, type, topic, partition, \"offset\"
         from (select *, max(time) over so_far as valid_from, lead(time) over so_far is not null as ended,
                      max(time) over (partition by {key} order by seq rows between unbounded preceding and 1 following) as next_from
               from oracle.{}_state window so_far as (partition by {key} order by seq)) s
         where (row_after).k1 is not null",
        after.join(", "),
        table.name
    )
}
