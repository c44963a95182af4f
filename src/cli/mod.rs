//! The command line: arguments as typed ([`Arguments`]), and which part of the program answers them ([`dispatch`]).
//!
//! Knows every command, and no more of each than how to call it. Nobody imports this module but `main`.

mod commands;
mod draft;
mod letters;
pub mod output;
mod rebuild;
mod trial;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::definition::commands::Format;
use crate::demo::DemoOptions;
use crate::error::{Failure, Outcome};
use crate::settings::{Settings, Sources, parse_duration};
use crate::telemetry::{self, Audience};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Folds Kafka events into Postgres read models, exactly once.
///
/// Exit status: 0 fine, 1 the thing asked about is not fine (lint error, test failed), 2 could not run.
#[derive(Debug, Parser)]
#[command(name = "consolidator", version, styles = STYLES, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalArguments,
    #[command(subcommand)]
    pub command: Command,
}

/// Stand before or after the command.
#[derive(Debug, Args)]
pub struct GlobalArguments {
    /// Settings file; must exist. Without it: consolidator.yaml, if there is one
    #[arg(long, value_name = "FILE", global = true, env = "CONSOLIDATOR_CONFIG", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// One setting, above file and environment, e.g. --set worker.lanes=4; may be repeated
    #[arg(
        long,
        value_name = "SECTION.KEY=VALUE",
        global = true,
        help_heading = "Global options"
    )]
    pub set: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything embedded: broker, Postgres, sample events, live projections
    ///
    /// Needs nothing but this program: starts a broker and a Postgres of its own, feeds sample shop events at a steady rate,
    /// folds them by the definitions in the projections folder and shows a live status. Ctrl-C ends everything it started.
    Demo(DemoArguments),
    /// The worker: folds events into the tables until it is told to stop
    ///
    /// SIGTERM or Ctrl-C: finishes its batches, leaves the consumer groups, exits 0. A second one exits at once.
    Run,
    /// Checks definitions; needs no Kafka, no Postgres, no settings
    Lint(FilesArguments),
    /// Runs the given/then cases of definitions; needs no Kafka, no Postgres, no settings, but for --postgres
    Test(TestArguments),
    /// Writes a first definition from a sample of a topic
    ///
    /// Finds out where the type and the data of its events stand, and which members and SQL types they have, and writes
    /// projections/NAME.yaml with comments and a test. Needs settings for Kafka; no Postgres.
    New(draft::NewArguments),
    /// What an event does: which rules, every value, the row before and after
    ///
    /// Folds events into tables that begin empty, one after the other. Needs no Kafka, no Postgres, no settings, but for
    /// --from-topic.
    Try(trial::TryArguments),
    /// Shows every projection: its state, gap, lag, and what holds it up
    Status(StatusArguments),
    /// Stops folding a projection, on every worker, until `resume`
    Pause(ProjectionArguments),
    /// Folds a paused or stopped projection on from its checkpoints
    Resume(ResumeArguments),
    #[command(flatten)]
    Generation(rebuild::GenerationCommand),
    /// Events that could not be applied: what they are, and what is to become of them
    #[command(subcommand)]
    DeadLetters(letters::LettersCommand),
    /// Prints a completion script for a shell
    ///
    /// For bash, for example: consolidator completions bash > /etc/bash_completion.d/consolidator
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Prints the JSON Schema of definition files, for editors
    ///
    /// For editors with the YAML language server: write it to a file, and name that in a definition's first line:
    /// # yaml-language-server: $schema=consolidator.schema.json
    Schema,
    /// Shows the effective settings, secrets hidden, and what they come to
    Config(JsonArguments),
}

#[derive(Debug, Args)]
pub struct DemoArguments {
    /// End by itself after this time, with a summary, e.g. 20s
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub run_for: Option<Duration>,
    /// Events per second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,
    /// Show once what a changed rule leads to: plan, rebuild --compare, rollback
    #[arg(long)]
    pub rebuild: bool,
}

#[derive(Debug, Args)]
pub struct FilesArguments {
    /// Definitions, or folders of them [default: projections]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub output: JsonArguments,
    /// Workflow commands, which GitHub shows on the line
    #[arg(long, conflicts_with = "json")]
    pub github: bool,
}

impl FilesArguments {
    fn format(&self) -> Format {
        match (self.output.json, self.github) {
            (true, _) => Format::Json,
            (false, true) => Format::Github,
            (false, false) => Format::Text,
        }
    }
}

#[derive(Debug, Args)]
pub struct TestArguments {
    #[command(flatten)]
    pub files: FilesArguments,
    /// Ask this PostgreSQL too what every expression comes to, with the values it had; nothing is kept there
    #[arg(
        long,
        value_name = "URL",
        env = "CONSOLIDATOR_TEST_POSTGRES",
        hide_env_values = true
    )]
    pub postgres: Option<String>,
}

#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Show it again every second until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub output: JsonArguments,
}

#[derive(Debug, Args)]
pub struct ProjectionArguments {
    /// The projection's name
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct ResumeArguments {
    #[command(flatten)]
    pub projection: ProjectionArguments,
    /// Go on although Kafka no longer holds what comes next, at what it still has
    #[arg(long)]
    pub accept_hole: bool,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct JsonArguments {
    /// One JSON object per line instead of text
    #[arg(long)]
    pub json: bool,
}

/// The arguments, or clap's own answer (help, version, usage error), which is already printed then; its exit status is 0 or 2.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, u8> {
    Arguments::try_parse_from(arguments).map_err(|answer| {
        match answer.print() {
            // A reader that has gone away wanted no more.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Failure::EXIT_STATUS,
            _ if answer.use_stderr() => Failure::EXIT_STATUS,
            _ => 0,
        }
    })
}

/// Answers the command. Settings are read only by those that need them.
pub fn dispatch(arguments: Arguments) -> Result<Outcome, Failure> {
    let GlobalArguments { config, set } = arguments.global;
    let settings = || settings(config, set);
    match arguments.command {
        Command::Lint(files) => {
            let format = files.format();
            commands::lint(&paths_or_default(files.paths), format)
        }
        Command::Test(TestArguments { files, postgres }) => {
            let format = files.format();
            commands::test(&paths_or_default(files.paths), format, postgres.as_deref())
        }
        Command::New(arguments) => draft::run(&logged(settings()?, Audience::Command), &arguments),
        Command::Try(arguments) => {
            trial::run(&arguments, || Ok(logged(settings()?, Audience::Command)))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "consolidator",
                &mut script,
            );
            output::print(&String::from_utf8_lossy(&script))?;
            Ok(Outcome::Fine)
        }
        Command::Schema => commands::schema(),
        Command::Config(output) => commands::config(&settings()?, output.json),
        Command::Demo(demo) => commands::demo(
            logged(settings()?, Audience::Demonstration),
            DemoOptions {
                run_for: demo.run_for,
                events_per_second: demo.rate,
                rebuild: demo.rebuild,
            },
        ),
        Command::Run => commands::run(logged(settings()?, Audience::Service)),
        Command::Status(status) => commands::status(
            logged(settings()?, Audience::Command),
            status.watch,
            status.output.json,
        ),
        Command::Pause(projection) => {
            commands::pause(logged(settings()?, Audience::Command), &projection.name)
        }
        Command::Generation(command) => {
            rebuild::answer(&logged(settings()?, Audience::Command), command)
        }
        Command::DeadLetters(command) => {
            letters::answer(&logged(settings()?, Audience::Command), command)
        }
        Command::Resume(resume) => {
            let settings = logged(settings()?, Audience::Command);
            commands::resume(settings, &resume.projection.name, resume.accept_hole)
        }
    }
}

fn settings(config: Option<PathBuf>, set: Vec<String>) -> Result<Settings, Failure> {
    Settings::load(&Sources::here(config, set)).map_err(|error| match error.problems.as_slice() {
        [problem] => Failure::new(problem),
        problems => Failure::new(format!(
            "{} problems in the settings\n  {}",
            problems.len(),
            problems.join("\n  ")
        )),
    })
}

/// With logging on.
fn logged(settings: Settings, audience: Audience) -> Settings {
    telemetry::init(&settings.log, audience);
    settings
}

fn paths_or_default(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    match paths.is_empty() {
        true => vec![PathBuf::from("projections")],
        false => paths,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn the_command_tree_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for line in [
            "consolidator --config a.yaml --set x=1 status --json",
            "consolidator status --json --set x=1 --config a.yaml",
        ] {
            let arguments = typed(line);
            assert_eq!(
                arguments.global.config,
                Some(PathBuf::from("a.yaml")),
                "{line}"
            );
            assert_eq!(arguments.global.set, ["x=1"], "{line}");
            assert!(matches!(
                arguments.command,
                Command::Status(StatusArguments {
                    output: JsonArguments { json: true },
                    ..
                })
            ));
        }
    }

    #[test]
    fn durations_and_rates_are_checked_where_they_are_typed() {
        let Command::Demo(demo) = typed("consolidator demo --for 20s --rate 500").command else {
            panic!()
        };
        assert_eq!(
            (demo.run_for, demo.rate),
            (Some(Duration::from_secs(20)), 500)
        );
        for line in [
            "consolidator demo --for 20",
            "consolidator demo --rate 0",
            "consolidator pause",
            "consolidator nothing",
        ] {
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
    }
}
