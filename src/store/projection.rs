//! Projections as the files last said, pause and resume, and which deployment this control schema belongs to.

use sqlx::postgres::PgConnection;

use super::connect::Store;
use super::error::{Context, Result, StoreError};
use super::stop::hint_of_other_log;
use crate::definition::projection::Projection;

impl Store {
    /// Two deployments on one control schema would each fold everything: the second one is refused.
    ///
    /// # Errors
    /// `Refused`, naming the other `kafka.group`.
    pub async fn claim_deployment(&self, kafka_group: &str) -> Result<()> {
        sqlx::query(
            "insert into consolidator.deployment (kafka_group) values ($1) on conflict do nothing",
        )
        .bind(kafka_group)
        .execute(&self.pool)
        .await
        .doing("recording the deployment")?;
        let recorded: String =
            sqlx::query_scalar("select kafka_group from consolidator.deployment")
                .fetch_one(&self.pool)
                .await
                .doing("reading the deployment")?;
        if recorded == kafka_group {
            return Ok(());
        }
        Err(StoreError::refused(
            format!("kafka.group {kafka_group}"),
            format!("the control schema of this database belongs to the deployment with kafka.group {recorded}"),
        )
        .hint("Use that group, or another database."))
    }

    /// Stops feeding a projection until it is resumed; false if it was paused already.
    ///
    /// # Errors
    /// `Refused`: no such projection.
    pub async fn pause(&self, projection: &str) -> Result<bool> {
        self.set_paused(projection, true).await
    }

    /// Ends a pause, and clears what the projection's generations stopped at, so that they try again; false if there was
    /// neither. Where Kafka no longer holds what comes next they go on without it, if that is accepted.
    ///
    /// # Errors
    /// `Refused`: no such projection; it stands still at a hole, and that is not accepted.
    pub async fn resume(&self, projection: &str, accept_hole: bool) -> Result<bool> {
        let holes = self.open_holes(projection).await?;
        if !holes.is_empty() && !accept_hole {
            let named: Vec<String> = holes.iter().map(ToString::to_string).collect();
            return Err(StoreError::refused(
                format!("projection {projection}"),
                format!("Kafka no longer holds what comes next: {}", named.join("; ")),
            )
            .hint(format!(
                "`consolidator resume {projection} --accept-hole` goes on without these events, for good, and records it."
            )));
        }
        if accept_hole {
            self.accept_holes(projection).await?;
        } else {
            self.refuse_other_logs(projection).await?;
        }
        let resumed = self.set_paused(projection, false).await?;
        let cleared = sqlx::query(
            "delete from consolidator.stop s using consolidator.generation g \
             where g.id = s.generation and g.projection = $1",
        )
        .bind(projection)
        .execute(&self.pool)
        .await
        .doing("clearing what a projection stopped at")?;
        Ok(resumed || cleared.rows_affected() > 0)
    }

    async fn refuse_other_logs(&self, projection: &str) -> Result<()> {
        let others = self.other_logs(projection).await?;
        if others.is_empty() {
            return Ok(());
        }
        Err(
            StoreError::refused(format!("projection {projection}"), others.join("; "))
                .hint(hint_of_other_log(projection)),
        )
    }

    /// The definition that should become live, as the files last said; `None`: there is no such projection.
    ///
    /// # Errors
    /// As the server's.
    pub async fn remembered_definition(&self, projection: &str) -> Result<Option<String>> {
        sqlx::query_scalar("select definition from consolidator.projection where name = $1")
            .bind(projection)
            .fetch_optional(&self.pool)
            .await
            .doing("reading a projection")
    }

    /// All projections, by name.
    ///
    /// # Errors
    /// As the server's.
    pub async fn projection_names(&self) -> Result<Vec<String>> {
        sqlx::query_scalar("select name from consolidator.projection order by name")
            .fetch_all(&self.pool)
            .await
            .doing("reading the projections")
    }

    async fn set_paused(&self, projection: &str, paused: bool) -> Result<bool> {
        let was: Option<bool> = sqlx::query_scalar(
            "update consolidator.projection p set paused_at = case when $2 then coalesce(p.paused_at, now()) end \
             from (select paused_at from consolidator.projection where name = $1 for update) before \
             where p.name = $1 returning before.paused_at is not null",
        )
        .bind(projection)
        .bind(paused)
        .fetch_optional(&self.pool)
        .await
        .doing("pausing or resuming a projection")?;
        match was {
            Some(was) => Ok(was != paused),
            None => Err(StoreError::refused(
                format!("projection {projection}"),
                "there is no projection of that name",
            )),
        }
    }
}

/// One process at a time prepares a projection; until the end of the transaction.
pub(super) async fn lock(connection: &mut PgConnection, projection: &str) -> Result<()> {
    sqlx::query(
        "select pg_advisory_xact_lock(hashtextextended('consolidator projection ' || $1, 0))",
    )
    .bind(projection)
    .execute(connection)
    .await
    .doing("waiting for another process that prepares the projection")?;
    Ok(())
}

/// Records what should become live.
pub(super) async fn remember(
    connection: &mut PgConnection,
    projection: &Projection,
    fingerprint: &str,
) -> Result<()> {
    sqlx::query(
        "insert into consolidator.projection as p (name, definition, fingerprint) values ($1, $2, $3) \
         on conflict (name) do update set definition = excluded.definition, fingerprint = excluded.fingerprint, updated_at = now() \
         where (p.definition, p.fingerprint) is distinct from (excluded.definition, excluded.fingerprint)",
    )
    .bind(&projection.name)
    .bind(&projection.text)
    .bind(fingerprint)
    .execute(connection)
    .await
    .doing("recording a projection")?;
    Ok(())
}
