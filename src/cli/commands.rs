//! One function per command: the boundary between the command line and the part of the program that answers it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::admin::http::{Health, Http};
use crate::admin::screen::Screen;
use crate::admin::status::{Looks, Measurer, Status, to_json, to_text};
use crate::cli::output;
use crate::definition;
use crate::definition::commands::Format;
use crate::definition::testing::oracle::{Answer, Question};
use crate::demo::{self, DemoOptions};
use crate::error::{Failure, Outcome};
use crate::settings::{Footprint, Settings, show_json, show_yaml};
use crate::store::{Evaluator, Store, StoreError};
use crate::telemetry;
use crate::worker::{self, Shutdown};

pub fn config(settings: &Settings, json: bool) -> Result<Outcome, Failure> {
    check_kafka(settings)?;
    let footprint = Footprint::new(settings, count_definitions(&settings.projections));
    match json {
        true => output::print_line(&show_json(settings, &footprint))?,
        false => output::print(&show_yaml(settings, &footprint))?,
    }
    Ok(Outcome::Fine)
}

pub fn schema() -> Result<Outcome, Failure> {
    output::print_line(&format!("{:#}", definition::schema::schema()))?;
    Ok(Outcome::Fine)
}

pub fn lint(paths: &[PathBuf], format: Format) -> Result<Outcome, Failure> {
    let status = definition::commands::lint(paths, format);
    Ok(Outcome::of_status(status))
}

pub fn test(paths: &[PathBuf], format: Format, postgres: Option<&str>) -> Result<Outcome, Failure> {
    let Some(url) = postgres else {
        let status = definition::commands::test(paths, format, None);
        return Ok(Outcome::of_status(status));
    };
    let failed = |error: StoreError| Failure::from_error("--postgres", &error);
    let runtime = runtime()?;
    let mut server = runtime.block_on(Evaluator::connect(url)).map_err(failed)?;
    let described = runtime.block_on(server.describe()).map_err(failed)?;
    warn_of_other_texts(&described);
    let mut ask = |questions: &[Question]| {
        let evaluate = async {
            let mut answers = Vec::new();
            for question in questions {
                answers.push(server.evaluate(&question.sql, &question.value_type).await?);
            }
            Ok(answers)
        };
        let answers: Result<Vec<Answer>, StoreError> = runtime.block_on(evaluate);
        answers.map_err(|error| failed(error).to_string())
    };
    let status = definition::commands::test(paths, format, Some(&mut ask));
    runtime.block_on(server.close()).map_err(failed)?;
    Ok(Outcome::of_status(status))
}

/// Texts compare and change their case as in PostgreSQL 15 with C.UTF-8.
fn warn_of_other_texts([version, encoding, collate, ctype]: &[String; 4]) {
    let plain = |locale: &String| ["c.utf-8", "c.utf8"].contains(&locale.to_lowercase().as_str());
    if encoding != "UTF8" || !plain(collate) || !plain(ctype) {
        eprintln!(
            "note: the database of PostgreSQL {version} has encoding {encoding}, collation {collate} and character type {ctype}; \
             expressions mean UTF8 and C.UTF-8, so texts may compare or change their case otherwise there"
        );
    }
}

/// What librdkafka refuses is found here once, and not by every lane.
fn check_kafka(settings: &Settings) -> Result<(), Failure> {
    let checked = settings.kafka.check();
    checked.map_err(|error| Failure::new(format!("kafka.properties: {error}")))
}

pub fn demo(settings: Settings, options: DemoOptions) -> Result<Outcome, Failure> {
    let screen = Screen::of_stdout();
    let aside = screen.clone();
    telemetry::write_through(move |write| aside.aside(write));
    runtime()?.block_on(async {
        let shutdown = Shutdown::default();
        end_on_signal(&shutdown)?;
        Ok(
            match demo::run(settings, options, screen, shutdown).await? {
                true => Outcome::Fine,
                false => Outcome::NotFine,
            },
        )
    })
}

pub fn run(settings: Settings) -> Result<Outcome, Failure> {
    check_kafka(&settings)?;
    runtime()?.block_on(async {
        let shutdown = Shutdown::default();
        end_on_signal(&shutdown)?;
        let health = Health::default();
        if let Some(address) = settings.http.listen {
            let http = Http::bind(address)
                .await
                .map_err(|error| Failure::new(format!("http.listen {address}: {error}")))?;
            let ended = shutdown.clone();
            let token_file = settings.http.token_file.clone();
            tokio::spawn(http.serve(
                health.clone(),
                token_file,
                async move { ended.asked().await },
            ));
        }
        worker::run(&settings, &health, shutdown).await?;
        Ok(Outcome::Fine)
    })
}

/// SIGTERM and Ctrl-C ask for the end; a second one ends at once.
pub(super) fn end_on_signal(shutdown: &Shutdown) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::from_error("cannot listen for signals", &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_asked() {
                // What is not committed is not applied: nothing is lost by ending here.
                std::process::exit(1);
            }
            shutdown.ask();
        }
    });
    Ok(())
}

pub fn status(settings: Settings, watch: bool, json: bool) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let store = admin::connect(&settings).await?;
        let mut measurer = Measurer::new(&settings.kafka);
        if watch {
            return watch_status(&store, measurer, json).await;
        }
        let status = Status::read(&store, &mut measurer).await;
        let status = status.map_err(admin::failed)?;
        match json {
            true => output::print_line(&to_json(&status).to_string())?,
            false => output::print(&to_text(&status, &Looks::of(&Screen::of_stdout())))?,
        }
        Ok(match status.is_fine() {
            true => Outcome::Fine,
            false => Outcome::NotFine,
        })
    })
}

/// Until Ctrl-C, and while the server is away too.
async fn watch_status(
    store: &Store,
    mut measurer: Measurer,
    json: bool,
) -> Result<Outcome, Failure> {
    let screen = Screen::of_stdout();
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::from_error("cannot listen for signals", &error))?;
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut looks = Looks::of(&screen);
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = every.tick() => {}
        }
        let text = match Status::read(store, &mut measurer).await {
            Ok(status) if json => format!("{}\n", to_json(&status)),
            Ok(status) => looks.next_text(&status),
            Err(error) if json => return Err(admin::failed(error)),
            Err(error) => format!("{error}; asking again\n"),
        };
        match json {
            true => output::print(&text)?,
            false => output::written(screen.show(&text))?,
        }
    }
    screen.leave();
    Ok(Outcome::Fine)
}

pub fn pause(settings: Settings, projection: &str) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let store = admin::connect(&settings).await?;
        let paused = store.pause(projection).await.map_err(admin::failed)?;
        output::print_line(match paused {
            true => "paused; workers stop folding it within a second",
            false => "it was paused already",
        })?;
        Ok(Outcome::Fine)
    })
}

pub fn resume(settings: Settings, projection: &str, accept_hole: bool) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let store = admin::connect(&settings).await?;
        let resumed = store
            .resume(projection, accept_hole)
            .await
            .map_err(admin::failed)?;
        output::print_line(match resumed {
            true => "resumed; workers go on within a second",
            false => "it was neither paused nor stopped",
        })?;
        Ok(Outcome::Fine)
    })
}

/// For database calls and http; lanes have threads of their own, so two threads are enough.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("consolidator-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error("cannot start the runtime", &error))
}

/// Definitions in the folder, without looking into them; none where it cannot be read.
fn count_definitions(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| is_definition(name)).count()
}

/// `NAME.yaml` or `NAME.yml`, but not `NAME.test.yaml`.
fn is_definition(name: &str) -> bool {
    let stem = name
        .strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| !stem.starts_with('.') && !stem.ends_with(".test"))
}
