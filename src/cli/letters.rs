//! `dead-letters`: its arguments, and what they are handed to.

use clap::{Args, Subcommand};

use super::JsonArguments;
use super::commands::runtime;
use super::output;
use crate::admin::letters::{self, Chosen};
use crate::error::{Failure, Outcome};
use crate::settings::Settings;
use crate::store::Request;

#[derive(Debug, Subcommand)]
pub enum LettersCommand {
    /// Lists what is set aside, in the order of the log
    List(ListArguments),
    /// Shows one letter with its payload
    Show(ShowArguments),
    /// Applies letters, with all that wait behind them, and takes their keys back into the normal flow
    ///
    /// If one fails again it stays, and so do those behind it. Without a filter: all of the projection.
    Retry(RetryArguments),
    /// Throws letters away; what waits behind them is applied by `retry`
    Discard(DiscardArguments),
}

/// Which letters.
#[derive(Debug, Args)]
pub struct FilterArguments {
    /// Of this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// With this in their reason, in any case of letters
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Of this generation [default: the one that readers see]
    #[arg(long, value_name = "G")]
    pub generation: Option<i64>,
}

#[derive(Debug, Args)]
pub struct ListArguments {
    /// The projection's name [default: all of them]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub filter: FilterArguments,
    #[command(flatten)]
    pub output: JsonArguments,
}

#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The projection's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The letter's number, as `list` shows it
    #[arg(value_name = "ID")]
    pub id: i64,
    /// Of this generation [default: the one that readers see]
    #[arg(long, value_name = "G")]
    pub generation: Option<i64>,
    #[command(flatten)]
    pub output: JsonArguments,
}

#[derive(Debug, Args)]
pub struct RetryArguments {
    /// The projection's name
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub filter: FilterArguments,
    /// This letter; may be repeated
    #[arg(long = "id", value_name = "ID")]
    pub ids: Vec<i64>,
    /// Ask for it and return
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Args)]
pub struct DiscardArguments {
    #[command(flatten)]
    pub chosen: RetryArguments,
    /// All of the projection, whatever key and reason
    #[arg(long, conflicts_with_all = ["key", "reason", "ids"])]
    pub all: bool,
}

pub fn answer(settings: &Settings, command: LettersCommand) -> Result<Outcome, Failure> {
    let print = &mut output::print_line;
    runtime()?.block_on(async {
        match command {
            LettersCommand::List(list) => {
                let chosen = chosen(list.name, list.filter, Vec::new());
                letters::list(settings, &chosen, list.output.json, print).await
            }
            LettersCommand::Show(show) => {
                let chosen = Chosen {
                    projection: Some(show.name),
                    generation: show.generation,
                    ids: vec![show.id],
                    ..Chosen::default()
                };
                letters::show(settings, &chosen, show.output.json, print).await
            }
            LettersCommand::Retry(retry) => request(settings, retry, Request::Retry).await,
            LettersCommand::Discard(discard) => {
                let RetryArguments { filter, ids, .. } = &discard.chosen;
                if filter.key.is_none() && filter.reason.is_none() && ids.is_empty() && !discard.all
                {
                    return Err(Failure::new("which letters are to be thrown away?")
                        .hint("`--key`, `--reason` or `--id` choose some, `--all` means all of the projection."));
                }
                request(settings, discard.chosen, Request::Discard).await
            }
        }
    })
}

async fn request(
    settings: &Settings,
    arguments: RetryArguments,
    request: Request,
) -> Result<Outcome, Failure> {
    let no_wait = arguments.no_wait;
    let chosen = chosen(Some(arguments.name), arguments.filter, arguments.ids);
    letters::request(settings, &chosen, request, no_wait, &mut output::print_line).await
}

fn chosen(projection: Option<String>, filter: FilterArguments, ids: Vec<i64>) -> Chosen {
    Chosen {
        projection,
        generation: filter.generation,
        key: filter.key,
        reason: filter.reason,
        ids,
    }
}
