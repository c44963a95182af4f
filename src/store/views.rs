//! A view of the read schema, as it is and as it would have to be to show one more generation, or one less. Writes nothing: what
//! is drafted here is carried out by [`super::readers`] and [`super::switch`].

use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use super::error::{Context, Result, StoreError};
use super::pointer;
use super::quote::{generation_schema, identifier, identifiers, qualified};
use crate::definition::projection::GHOST;

/// A column as PostgreSQL names its type: `numeric(10,2)`.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct ViewColumn {
    pub(super) name: String,
    pub(super) ty: String,
}

/// A row of `consolidator.published`.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Recorded {
    pub(super) table_name: String,
    pub(super) projection: String,
    pub(super) schema: String,
    pub(super) branches: Vec<i64>,
}

/// What a view would become.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) relation: String,
    /// Published columns first, in their order: they are append-only.
    pub(super) columns: Vec<ViewColumn>,
    pub(super) branches: Vec<i64>,
    /// The view is there.
    pub(super) exists: bool,
    /// It is already so.
    pub(super) current: bool,
    /// Why it cannot become so by being replaced: what readers would lose.
    pub(super) problems: Vec<String>,
}

/// All views of a projection that readers have.
pub(super) async fn recorded(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<Vec<Recorded>> {
    sqlx::query_as(
        "select table_name, projection, schema, branches from consolidator.published where projection = $1 order by table_name",
    )
    .bind(projection)
    .fetch_all(connection)
    .await
    .doing("reading which views readers have")
}

/// Who has a name in the read schema.
pub(super) async fn recorded_as(
    connection: &mut PgConnection,
    relation: &str,
) -> Result<Option<Recorded>> {
    sqlx::query_as(
        "select table_name, projection, schema, branches from consolidator.published where table_name = $1",
    )
    .bind(relation)
    .fetch_optional(connection)
    .await
    .doing("reading which views readers have")
}

/// The view that shows `incoming` beside what it shows already. `backwards`: the way back to an earlier generation, which may
/// lack what the later ones added (null there).
pub(super) async fn with_branch(
    connection: &mut PgConnection,
    read_schema: &str,
    relation: &str,
    incoming: i64,
    backwards: bool,
) -> Result<Draft> {
    let recorded = recorded_as(connection, relation).await?;
    let shown = columns(connection, read_schema, relation).await?;
    let offered = columns(connection, &generation_schema(incoming), relation).await?;
    let mut problems = Vec::new();
    for column in &shown {
        match offered.iter().find(|offer| offer.name == column.name) {
            Some(offer) if offer.ty != column.ty => problems.push(format!(
                "column {relation}.{} becomes {} instead of {}",
                column.name, offer.ty, column.ty
            )),
            None if !backwards => problems.push(format!(
                "column {relation}.{} is no longer there",
                column.name
            )),
            Some(_) | None => {}
        }
    }
    let is_new = |offer: &&ViewColumn| !shown.iter().any(|column| column.name == offer.name);
    let added: Vec<ViewColumn> = offered.iter().filter(is_new).cloned().collect();
    let mut branches = recorded.map_or_else(Vec::new, |recorded| recorded.branches);
    let current = branches.contains(&incoming)
        && added.is_empty()
        && problems.is_empty()
        && !shown.is_empty();
    if !branches.contains(&incoming) {
        branches.push(incoming);
    }
    let kept = shown.iter().filter_map(|column| {
        let offer = offered.iter().find(|offer| offer.name == column.name);
        if problems.is_empty() {
            Some(column.clone())
        } else {
            // To be created anew: as the incoming generation has it.
            offer.cloned()
        }
    });
    Ok(Draft {
        relation: relation.to_owned(),
        columns: kept.chain(added).collect(),
        branches,
        exists: !shown.is_empty(),
        current,
        problems,
    })
}

/// The view without a generation's branch; its columns stay.
pub(super) async fn without_branch(
    connection: &mut PgConnection,
    recorded: &Recorded,
    outgoing: i64,
) -> Result<Draft> {
    let shown = columns(connection, &recorded.schema, &recorded.table_name).await?;
    let branches = recorded.branches.iter().copied();
    Ok(Draft {
        relation: recorded.table_name.clone(),
        exists: !shown.is_empty(),
        columns: shown,
        branches: branches.filter(|branch| *branch != outgoing).collect(),
        current: !recorded.branches.contains(&outgoing),
        problems: Vec::new(),
    })
}

/// The statement that makes the view so: one branch per generation, and the pointer opens exactly one of them. A branch
/// whose generation lacks a column, or has it in another type, shows null there; a generation without the table has none.
pub(super) async fn statement(
    connection: &mut PgConnection,
    projection: &str,
    read_schema: &str,
    draft: &Draft,
) -> Result<String> {
    let mut branches = Vec::with_capacity(draft.branches.len());
    for generation in &draft.branches {
        let schema = generation_schema(*generation);
        let has = columns(connection, &schema, &draft.relation).await?;
        if has.is_empty() {
            continue;
        }
        let selected = draft.columns.iter().map(|column| {
            if has.contains(column) {
                identifier(&column.name)
            } else {
                format!("null::{} as {}", column.ty, identifier(&column.name))
            }
        });
        let ghosts: bool = sqlx::query_scalar(
            "select exists (select from pg_catalog.pg_attribute where attrelid = to_regclass($1) and attname = $2)",
        )
        .bind(qualified(&schema, &draft.relation))
        .bind(GHOST)
        .fetch_one(&mut *connection)
        .await
        .doing("looking for hidden rows")?;
        branches.push(format!(
            "select {} from {} where {}{}",
            selected.collect::<Vec<_>>().join(", "),
            qualified(&schema, &draft.relation),
            pointer::gate(projection, *generation),
            if ghosts {
                format!(" and not {}", identifier(GHOST))
            } else {
                String::new()
            }
        ));
    }
    if branches.is_empty() {
        let nulls = draft
            .columns
            .iter()
            .map(|column| format!("null::{}", column.ty));
        branches.push(format!(
            "select {} where false",
            nulls.collect::<Vec<_>>().join(", ")
        ));
    }
    let names = draft.columns.iter().map(|column| column.name.as_str());
    Ok(format!(
        "create or replace view {} ({}) as\n{}",
        qualified(read_schema, &draft.relation),
        identifiers(names),
        branches.join("\nunion all\n")
    ))
}

/// Columns of a relation in their order, hidden ones left out; none if it is not there.
pub(super) async fn columns(
    connection: &mut PgConnection,
    schema: &str,
    relation: &str,
) -> Result<Vec<ViewColumn>> {
    sqlx::query_as(
        "select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as ty from pg_catalog.pg_attribute a \
         where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped and a.attname not like '$%' \
         order by a.attnum",
    )
    .bind(qualified(schema, relation))
    .fetch_all(connection)
    .await
    .context(|| format!("reading the columns of {relation}"))
}

/// What others built on a view and would break if it went.
pub(super) async fn dependants(
    connection: &mut PgConnection,
    schema: &str,
    relation: &str,
) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select distinct d.objid_name from ( \
           select case when v.oid is not null then v.oid::regclass::text \
                  else pg_describe_object(d.classid, d.objid, d.objsubid) end as objid_name \
           from pg_catalog.pg_depend d \
           left join pg_catalog.pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid \
           left join pg_catalog.pg_class v on v.oid = r.ev_class \
           where d.refclassid = 'pg_class'::regclass and d.refobjid = to_regclass($1) and d.deptype = 'n' \
             and (v.oid is null or v.oid <> d.refobjid)) d order by 1",
    )
    .bind(qualified(schema, relation))
    .fetch_all(connection)
    .await
    .context(|| format!("looking for what depends on {relation}"))
}

/// The rights on a view and its columns, as statements that give them again.
pub(super) async fn grants(
    connection: &mut PgConnection,
    schema: &str,
    relation: &str,
) -> Result<Vec<String>> {
    let place = qualified(schema, relation);
    sqlx::query_scalar(
        "select format('grant %s on %s to %s%s', x.privilege_type, $1, \
             case when x.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(x.grantee)) end, \
             case when x.is_grantable then ' with grant option' else '' end) \
         from pg_catalog.pg_class c, aclexplode(c.relacl) x \
         where c.oid = to_regclass($1) and x.grantee <> c.relowner \
         union all \
         select format('grant %s (%I) on %s to %s%s', x.privilege_type, a.attname, $1, \
             case when x.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(x.grantee)) end, \
             case when x.is_grantable then ' with grant option' else '' end) \
         from pg_catalog.pg_attribute a, aclexplode(a.attacl) x \
         where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped",
    )
    .bind(&place)
    .fetch_all(connection)
    .await
    .context(|| format!("reading who may see {relation}"))
}

/// Comments on a view and its columns: column (none for the view itself) and text.
pub(super) async fn comments(
    connection: &mut PgConnection,
    schema: &str,
    relation: &str,
) -> Result<Vec<(Option<String>, String)>> {
    sqlx::query_as(
        "select a.attname::text, d.description from pg_catalog.pg_description d \
         left join pg_catalog.pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid and d.objsubid > 0 \
         where d.classoid = 'pg_class'::regclass and d.objoid = to_regclass($1)",
    )
    .bind(qualified(schema, relation))
    .fetch_all(connection)
    .await
    .context(|| format!("reading the comments on {relation}"))
}

/// The name belongs to another projection, or to nobody of ours.
///
/// # Errors
/// `Refused`, saying whose it is.
pub(super) async fn claim_name(
    connection: &mut PgConnection,
    projection: &str,
    read_schema: &str,
    relation: &str,
) -> Result<Option<Recorded>> {
    let context = || format!("projection {projection}, {relation}");
    let recorded = recorded_as(connection, relation).await?;
    if let Some(recorded) = &recorded
        && recorded.projection != projection
    {
        return Err(StoreError::refused(
            context(),
            format!(
                "the name belongs to projection {} already",
                recorded.projection
            ),
        )
        .hint("A table or view name belongs to one projection: rename one of them."));
    }
    let place = qualified(read_schema, relation);
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(&place)
        .fetch_one(&mut *connection)
        .await
        .context(context)?;
    let ours = recorded
        .as_ref()
        .is_some_and(|recorded| recorded.schema == read_schema);
    if exists && !ours {
        return Err(StoreError::refused(
            context(),
            format!("there is a relation {place} already, and it is not ours"),
        )
        .hint("Rename or drop it, or choose another postgres.read_schema."));
    }
    Ok(recorded.filter(|_| exists && ours))
}
