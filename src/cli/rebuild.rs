//! The commands on generations: their arguments, and what they are handed to.

use clap::{Args, Subcommand};

use super::commands::{end_on_signal, runtime};
use super::output;
use super::{JsonArguments, ProjectionArguments};
use crate::admin::plan;
use crate::admin::rebuild::{self, Accepted, RebuildRequest};
use crate::admin::verify;
use crate::error::{Failure, Outcome};
use crate::settings::Settings;
use crate::worker::Shutdown;

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
                let (name, json) = (&arguments.projection.name, arguments.output.json);
                return verify::verify(settings, name, json, &mut output::print_line, shutdown)
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

async fn rebuild(settings: &Settings, arguments: &RebuildArguments) -> Result<Outcome, Failure> {
    let shutdown = Shutdown::default();
    end_on_signal(&shutdown)?;
    let request = RebuildRequest {
        name: &arguments.projection.name,
        hold: arguments.hold,
        compare: false,
        no_wait: arguments.no_wait,
        json: arguments.json,
    };
    rebuild::rebuild(settings, request, &mut output::print_line, shutdown).await
}
