//! What `demo --rebuild` shows once: a changed rule, what it needs, what it would change, readers switched and switched back. By the
//! commands that an operator has; the worker builds.

use std::fs;
use std::time::Duration;

use crate::admin::http::Health;
use crate::admin::plan;
use crate::admin::rebuild::{RebuildRequest, rebuild, rollback};
use crate::admin::screen::Screen;
use crate::error::Failure;
use crate::settings::Settings;
use crate::worker::Shutdown;

const NAME: &str = "inventory";
const FILE: &str = "inventory.yaml";
/// The rule as the sample has it, and as it is changed.
const BEFORE: &str = "unit_count - data.units";
const AFTER: &str = "unit_count - 2 * data.units";
/// How long events are folded before something is changed.
const FOLDED_FOR: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Shows it. Definitions that are not the samples are left alone.
///
/// # Errors
/// The rebuild cannot be begun, or does not go through.
pub(super) async fn show(
    settings: &Settings,
    health: &Health,
    screen: &Screen,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    while !health.readiness.missing().is_empty() {
        if shutdown.is_asked() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tokio::select! {
        () = shutdown.asked() => return Ok(()),
        () = tokio::time::sleep(FOLDED_FOR) => {}
    }
    let mut say = |text: &str| {
        let said = screen.say(&format!("{text}\n"));
        said.map_err(|error| Failure::from_error("cannot write to standard output", &error))
    };
    let text = fs::read_to_string(settings.projections.join(FILE)).unwrap_or_default();
    if !text.contains(BEFORE) {
        return say("No rebuild is shown: projections/inventory.yaml is not the sample.");
    }
    let failed = |error: std::io::Error| Failure::from_error("cannot change a definition", &error);
    let folder = tempfile::tempdir().map_err(failed)?;
    for file in fs::read_dir(&settings.projections).map_err(failed)? {
        let file = file.map_err(failed)?;
        fs::copy(file.path(), folder.path().join(file.file_name())).map_err(failed)?;
    }
    let changed = text.replace(BEFORE, AFTER);
    fs::write(folder.path().join(FILE), changed).map_err(failed)?;
    let settings = Settings {
        projections: folder.path().to_owned(),
        ..settings.clone()
    };

    say(&format!(
        "\nA rule is changed: {BEFORE} becomes {AFTER}.\n$ consolidator plan"
    ))?;
    for item in plan::plan(&settings, false).await? {
        say(&item)?;
    }
    say(&format!("$ consolidator rebuild {NAME} --compare"))?;
    let request = RebuildRequest {
        name: NAME,
        hold: false,
        compare: true,
        no_wait: false,
        json: false,
        freeze: None,
        left_to_workers: true,
    };
    rebuild(&settings, request, &mut say, shutdown.clone()).await?;
    say(&format!("$ consolidator rollback {NAME}"))?;
    let told = rollback(&settings, NAME, false).await?;
    say(&format!("{told}\n"))
}
