//! How readers come to see another generation: views are prepared one by one, then the pointer moves. Decides nothing.

use std::time::Duration;

use tracing::info;

use crate::definition::Projection;
use crate::store::{
    ErrorKind, Generation, Prepared, ReadSettings, Store, StoreError, SwitchOrder, Switched,
};

/// Pauses between tries to prepare a view that readers use: from the first, doubling, to the last.
const VIEW_PAUSE_FIRST: Duration = Duration::from_millis(100);
const VIEW_PAUSE_LAST: Duration = Duration::from_secs(5);

/// Prepares the views, trying again with growing pauses while readers use them, and switches. What it waits for is stored as the
/// generation's reason.
pub async fn switch_to(
    store: &Store,
    generation: &Generation,
    projection: &Projection,
    read: &ReadSettings,
    order: SwitchOrder,
) -> Result<Switched, StoreError> {
    let mut pause = VIEW_PAUSE_FIRST;
    loop {
        match store
            .prepare_switch(generation, projection, read, order)
            .await?
        {
            Prepared::Ready => {}
            Prepared::Waiting { relation, pids } => {
                let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
                let reason = format!(
                    "the switch waits for readers of {relation}: session {}",
                    pids.join(", ")
                );
                info!(projection = %projection.name, generation = generation.id, "{reason}");
                store.set_reason(generation.id, Some(&reason)).await?;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(VIEW_PAUSE_LAST);
                continue;
            }
            incompatible @ Prepared::Incompatible(_) => {
                return Ok(Switched::NotPrepared(incompatible));
            }
        }
        fail::fail_point!("views-prepared");
        match store.switch(generation, projection, read, order).await {
            Err(error) if error.kind == ErrorKind::Contention => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(VIEW_PAUSE_LAST);
            }
            Ok(Switched::NotPrepared(Prepared::Waiting { .. })) => {}
            outcome => return outcome,
        }
    }
}
