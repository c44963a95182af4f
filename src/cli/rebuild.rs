//! The commands on generations: their arguments, and what they are handed to.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use tracing::debug;

use super::commands::{end_on_signal, runtime};
use super::output;
use super::{JsonArguments, ProjectionArguments};
use crate::admin::as_of::{Freeze, parse_time};
use crate::admin::explain::{self, ExplainRequest};
use crate::admin::plan;
use crate::admin::rebuild::{self, Accepted, RebuildRequest};
use crate::admin::verify::{self, VerifyRequest};
use crate::error::{Failure, Outcome};
use crate::settings::Settings;
use crate::worker::Shutdown;

/// What is added to the nice value: about a tenth of the processor where others want all of it.
const NICENESS: i32 = 10;

#[derive(Debug, Subcommand)]
pub enum GenerationCommand {
    /// The definitions against the database: what would change, and what that needs
    Plan(JsonArguments),
    /// Builds a projection anew beside the live one, then switches readers to it
    ///
    /// Works along with the workers of the deployment, and without any. Ctrl-C leaves the build to them.
    Rebuild(RebuildArguments),
    /// Shows readers the generation that is held
    Switch(SwitchArguments),
    /// Shows readers the generation again that they saw before the last switch
    Rollback(RollbackArguments),
    /// Is the table the fold of its events? Exit status 1 if not
    ///
    /// Folds the events again beside the live generation, to exactly where a snapshot of it stands, and compares.
    Verify(VerifyArguments),
    /// The events behind a row, in order, each with the row before and after
    ///
    /// Reads the topics again, up to where the live tables are, and folds what touches the row. At the end it says whether the
    /// table has that row; exit status 1 if not.
    Explain(ExplainArguments),
    /// Gives up the build that is under way
    Cancel(ProjectionArguments),
    /// Drops a generation that readers do not see, or a projection whose file is gone
    Drop(DropArguments),
}

#[derive(Debug, Args)]
pub struct RebuildArguments {
    #[command(flatten)]
    pub projection: ProjectionArguments,
    /// Keep the new generation beside the live one, until `switch`
    #[arg(long)]
    pub hold: bool,
    /// Compare it with the live one at equal offsets before the switch; differences are listed and hold nothing up
    #[arg(long, conflicts_with_all = ["as_of", "as_of_offsets"])]
    pub compare: bool,
    /// The state as of this moment: events with a later event.time are left out; kept in a schema of its own, not fed any more
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with_all = ["hold", "as_of_offsets"])]
    pub as_of: Option<i64>,
    /// The state as of offsets: a JSON or YAML file, topic: { partition: first offset that is left out }
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "hold", requires = "into")]
    pub as_of_offsets: Option<PathBuf>,
    /// The schema of that state [default: <postgres.read_schema>_as_of_<time>]
    #[arg(long, value_name = "SCHEMA")]
    pub into: Option<String>,
    /// Record it and return; the workers build it
    #[arg(long)]
    pub no_wait: bool,
    /// Progress and summary as one JSON object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub projection: ProjectionArguments,
    /// Only rows with this key; may be given again. A key of several columns as a row: (o-7,2)
    #[arg(long = "key", value_name = "K")]
    pub keys: Vec<String>,
    /// Put right the rows that are missing, extra or differ, live going on
    #[arg(long)]
    pub repair: bool,
    #[command(flatten)]
    pub output: JsonArguments,
}

#[derive(Debug, Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    pub projection: ProjectionArguments,
    /// One of its tables
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// A value for each key column
    #[arg(value_name = "KEY", required = true)]
    pub key: Vec<String>,
    #[command(flatten)]
    pub output: JsonArguments,
}

#[derive(Debug, Args)]
pub struct SwitchArguments {
    #[command(flatten)]
    pub projection: ProjectionArguments,
    /// Switch although the log no longer holds all that the live generation was built from
    #[arg(long)]
    pub accept_hole: bool,
    /// Switch although events of the new generation are set aside
    #[arg(long)]
    pub accept_dead_letters: bool,
    /// Switch although readers lose columns or tables, or get others of another type
    #[arg(long)]
    pub incompatible: bool,
}

#[derive(Debug, Args)]
pub struct RollbackArguments {
    #[command(flatten)]
    pub projection: ProjectionArguments,
    /// Go back although readers get columns of another type
    #[arg(long)]
    pub incompatible: bool,
}

#[derive(Debug, Args)]
pub struct DropArguments {
    #[command(flatten)]
    pub projection: ProjectionArguments,
    /// The generation's number, as `status` shows it
    #[arg(long, value_name = "G")]
    pub generation: Option<i64>,
}

pub fn answer(settings: &Settings, command: GenerationCommand) -> Result<Outcome, Failure> {
    if let GenerationCommand::Rebuild(_)
    | GenerationCommand::Verify(_)
    | GenerationCommand::Explain(_) = command
    {
        give_way();
    }
    runtime()?.block_on(async {
        let text = match command {
            GenerationCommand::Plan(arguments) => {
                let items = plan::plan(settings, arguments.json).await?;
                Ok(items.join("\n"))
            }
            GenerationCommand::Rebuild(arguments) => return rebuild(settings, &arguments).await,
            GenerationCommand::Verify(arguments) => {
                let shutdown = Shutdown::default();
                end_on_signal(&shutdown)?;
                let request = VerifyRequest {
                    name: &arguments.projection.name,
                    keys: &arguments.keys,
                    repair: arguments.repair,
                    json: arguments.output.json,
                };
                return verify::verify(settings, request, &mut output::print_line, shutdown).await;
            }
            GenerationCommand::Explain(arguments) => {
                let shutdown = Shutdown::default();
                end_on_signal(&shutdown)?;
                let request = ExplainRequest {
                    name: &arguments.projection.name,
                    table: &arguments.table,
                    key: &arguments.key,
                    json: arguments.output.json,
                };
                return explain::explain(settings, request, &mut output::print_line, shutdown)
                    .await;
            }
            GenerationCommand::Switch(arguments) => {
                let accepted = Accepted {
                    hole: arguments.accept_hole,
                    dead_letters: arguments.accept_dead_letters,
                    incompatible: arguments.incompatible,
                };
                rebuild::switch(settings, &arguments.projection.name, accepted).await
            }
            GenerationCommand::Rollback(arguments) => {
                rebuild::rollback(settings, &arguments.projection.name, arguments.incompatible)
                    .await
            }
            GenerationCommand::Cancel(projection) => {
                rebuild::cancel(settings, &projection.name).await
            }
            GenerationCommand::Drop(arguments) => {
                rebuild::drop(settings, &arguments.projection.name, arguments.generation).await
            }
        }?;
        output::print_line(&text)?;
        Ok(Outcome::Fine)
    })
}

/// Whoever reads whole logs leaves the processor to others that want it: to live, Kafka and Postgres, where they are on this machine.
/// Threads that are started from now on are as this one is.
fn give_way() {
    if let Err(error) = rustix::process::nice(NICENESS) {
        debug!("works at the priority that it was given: {error}");
    }
}

async fn rebuild(settings: &Settings, arguments: &RebuildArguments) -> Result<Outcome, Failure> {
    let shutdown = Shutdown::default();
    end_on_signal(&shutdown)?;
    let freeze = Freeze {
        as_of: arguments.as_of,
        offsets: arguments.as_of_offsets.as_deref(),
        into: arguments.into.as_deref(),
    };
    let asked = freeze.as_of.is_some() || freeze.offsets.is_some();
    if freeze.into.is_some() && !asked {
        return Err(Failure::new("--into says where, but not as of when")
            .hint("Give --as-of TIME or --as-of-offsets FILE too."));
    }
    let freeze = asked.then_some(freeze);
    let request = RebuildRequest {
        name: &arguments.projection.name,
        hold: arguments.hold,
        compare: arguments.compare,
        no_wait: arguments.no_wait,
        json: arguments.json,
        freeze,
        left_to_workers: false,
    };
    rebuild::rebuild(settings, request, &mut output::print_line, shutdown).await
}
