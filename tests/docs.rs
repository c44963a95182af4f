//! Everything that README.md and docs/*.md show is run, and every link in them leads somewhere.
//!
//! How a block is checked says the text after its fence; a block that says nothing of this fails:
//!
//! | text | the block |
//! | --- | --- |
//! | `text config` | is printed, line by line, by `config` where projections/ is |
//! | `text` | is output or a sketch: not run |
//! | `sh tests` | is the test command, which is running already, or a part of it |
//! | `sh compose` | is answered by docker-compose.yml, which tests/deploy.rs checks |
//! | `sh demo` | one line that starts the demonstration: run in the repository, to an end after some seconds |
//! | `sh offline` | is run by `bash -eu` in a folder that holds a copy of projections/, the program on the PATH |
//! | `sh server` | the same with Kafka and Postgres there, the sample events folded, and a worker with its http at `$HTTP`; Postgres is at `$POSTGRES_URL` |
//! | `yaml definition` | must pass `lint` and `test` |
//! | `yaml cookbook/NAME.yaml` | is that file beside the manual, which must pass `lint` and `test` |
//! | `yaml settings` | must be accepted by `config`; files that it names are made first |
//! | `sql rows` | is run on what `sh server` has, as a role that has only the readers' grants, and gives a row at least |
//! | `sql reader` | the same, and may give nothing |
//! | `sql admin` | is run as the database's superuser |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::deploy::assert_compose_file_is_in_order;
use crate::support::database::Database;
use crate::support::root;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_until;
use crate::support::worker::{BINARY, http_address, is_ready, run_command};

const IN_TIME: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    NotRun,
    Config,
    Tests,
    Compose,
    Demo,
    Offline,
    Server,
    Definition,
    Cookbook,
    Settings,
    Rows,
    Reader,
    Admin,
}

struct Block {
    /// File and line, for messages.
    place: String,
    check: Option<Check>,
    /// What stands behind the fence.
    fence: String,
    text: String,
}

#[test]
fn every_block_says_how_it_is_checked() {
    let blocks = blocks();
    assert!(blocks.len() > 20, "only {} blocks found", blocks.len());
    for block in blocks {
        assert!(
            block.check.is_some(),
            "{}: how is this block checked? See tests/docs.rs",
            block.place
        );
    }
}

#[test]
fn the_test_command_is_one_line_that_ci_runs() {
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    for block in blocks_for(&[Check::Tests]) {
        assert!(
            block.text.contains("cargo test --release"),
            "{}",
            block.place
        );
        if !block.place.contains("README.md") {
            // A part of the tests, for a longer time.
            continue;
        }
        let words: Vec<&str> = block.text.split_whitespace().collect();
        let has_words = |line: &str| words.iter().all(|word| line.split(' ').any(|w| w == *word));
        assert!(ci.lines().any(has_words), "{}", block.place);
    }
}

#[test]
fn every_guarantee_names_a_test_that_there_is() {
    let page = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let tests: String = crate::tidy::rust_files(&root().join("tests"))
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let is_test = |word: &&str| word.matches('_').count() >= 4 && !word.contains(' ');
    let named: Vec<&str> = page.split('`').filter(is_test).collect();
    assert!(named.len() > 40, "only {} tests are named", named.len());
    for name in named {
        assert!(
            tests.contains(&format!("fn {name}()")),
            "there is no test {name}"
        );
    }
    let faults: String = page
        .lines()
        .filter_map(|line| line.strip_prefix("| F"))
        .map(|line| format!("F{line} "))
        .collect();
    for number in 1..=40 {
        let named = |end: &str| faults.contains(&format!("F{number}{end}"));
        assert!(
            named(" ") || named(","),
            "F{number} is neither shown nor excused"
        );
    }
}

#[test]
fn every_alert_and_state_is_in_the_runbook() {
    let page = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let rules = fs::read_to_string(root().join("deploy/prometheus/alerts.yml")).unwrap();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let states = [
        "building",
        "caught_up",
        "held",
        "live",
        "grace",
        "frozen",
        "failed",
    ];
    for name in alerts.chain(states) {
        assert!(page.contains(&format!("| `{name}`")), "{name}");
    }
}

#[test]
fn the_compose_command_needs_nothing_but_the_compose_file() {
    for block in blocks_for(&[Check::Compose]) {
        assert_eq!(block.text, "docker compose up --build\n", "{}", block.place);
        assert_compose_file_is_in_order();
    }
}

#[test]
fn the_demonstration_runs_as_the_readme_says() {
    for block in blocks_for(&[Check::Demo]) {
        let arguments = block.text.trim().strip_prefix("cargo run --release -- ");
        let mut arguments: Vec<&str> = arguments.expect("a cargo command").split(' ').collect();
        arguments.extend(["--for", "8s"]);
        let output = run_command(root(), &arguments);
        assert_succeeds(&block, &output);
    }
}

#[test]
fn commands_that_need_no_server_run_anywhere() {
    for block in blocks_for(&[Check::Offline]) {
        let dir = tempfile::tempdir().unwrap();
        copy_projections(dir.path());
        let output = shell(&block, dir.path(), &[]);
        assert_succeeds(&block, &output);
    }
}

#[test]
fn definitions_pass_lint_and_their_tests() {
    for block in blocks_for(&[Check::Definition]) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sample.yaml"), &block.text).unwrap();
        for command in ["lint", "test"] {
            let output = run_command(dir.path(), &[command, "sample.yaml"]);
            assert_succeeds(&block, &output);
        }
    }
}

#[test]
fn the_cookbook_shows_all_its_files_and_what_they_promise_holds() {
    let docs = root().join("docs");
    let mut shown = Vec::new();
    for block in blocks_for(&[Check::Cookbook]) {
        let file = docs.join(block.fence.trim_start_matches("yaml "));
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, block.text, "{}: {}", block.place, file.display());
        shown.push(file);
    }
    let files = fs::read_dir(docs.join("cookbook")).unwrap().flatten();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    files.sort();
    shown.sort();
    assert_eq!(files, shown);
    assert!(shown.len() >= 15, "{}", shown.len());
    let linted = run_command(root(), &["lint", "docs/cookbook"]);
    let tested = run_command(root(), &["test", "docs/cookbook"]);
    for output in [&linted, &tested] {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        for warning in ["uncovered", "untested", "no-tests"] {
            assert!(!said.contains(warning), "{said}");
        }
    }
}

#[test]
fn settings_are_accepted() {
    for block in blocks_for(&[Check::Settings]) {
        let dir = tempfile::tempdir().unwrap();
        let settings = with_files_made(&block.text, dir.path());
        fs::write(dir.path().join("consolidator.yaml"), settings).unwrap();
        let output = run_command(dir.path(), &["config"]);
        assert_succeeds(&block, &output);
    }
}

#[test]
fn what_the_settings_come_to_is_printed_as_the_manual_says() {
    for block in blocks_for(&[Check::Config]) {
        let dir = tempfile::tempdir().unwrap();
        copy_projections(dir.path());
        let output = run_command(dir.path(), &["config"]);
        assert_succeeds(&block, &output);
        let printed = String::from_utf8_lossy(&output.stdout);
        for line in block.text.lines() {
            let found = printed.lines().any(|printed| printed == line);
            assert!(found, "{}: {line}\n{printed}", block.place);
        }
    }
}

#[test]
fn commands_and_queries_run_where_a_worker_has_folded_the_sample_events() {
    let mut space = Space::new("manual");
    let (role, reader_url) = space.role("analyst");
    space.settings.readers.push(role);
    copy_projections(space.dir());
    let topics = write_sample_events(&space);
    let worker = space.start_worker("worker");
    for (projection, topic) in [
        ("inventory", "inventory-events"),
        ("shop", "shop-orders"),
        ("shop", "shop-customers"),
    ] {
        assert!(topics.iter().any(|made| made == topic), "{topics:?}");
        space.wait_applied(projection, &[topic], IN_TIME);
    }
    let settings = space.dir().join("worker.settings.yaml");
    let http = http_address(&settings);
    wait_until("the worker to be ready", IN_TIME, || is_ready(&http));
    let environment = [
        ("CONSOLIDATOR_CONFIG", settings.display().to_string()),
        ("HTTP", http.clone()),
        ("POSTGRES_URL", space.settings.postgres_url.clone()),
    ];
    let reader = Database::at(&reader_url);
    for block in blocks() {
        match block.check {
            Some(Check::Server) => {
                if block.text.contains("/readyz") {
                    // Lanes of a generation that an earlier block has made may be joining.
                    wait_until("the worker to be ready", IN_TIME, || is_ready(&http));
                }
                assert_succeeds(&block, &shell(&block, space.dir(), &environment))
            }
            Some(Check::Rows) => assert!(rows(&block, &reader) > 0, "{}: no row", block.place),
            Some(Check::Reader) => _ = rows(&block, &reader),
            Some(Check::Admin) => _ = rows(&block, &space.database),
            _ => {}
        }
    }
    assert!(worker.terminate(IN_TIME).success());
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for file in manuals()
        .into_iter()
        .chain([root().join("ARCHITECTURE.md")])
    {
        let text = fs::read_to_string(&file).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if !link.starts_with("http") && !leads_somewhere(&file, link) {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

impl Check {
    fn parse(fence: &str) -> Option<Check> {
        Some(match fence {
            "text" => Check::NotRun,
            "text config" => Check::Config,
            "sh tests" => Check::Tests,
            "sh compose" => Check::Compose,
            "sh demo" => Check::Demo,
            "sh offline" => Check::Offline,
            "sh server" => Check::Server,
            "yaml definition" => Check::Definition,
            _ if fence.starts_with("yaml cookbook/") => Check::Cookbook,
            "yaml settings" => Check::Settings,
            "sql rows" => Check::Rows,
            "sql reader" => Check::Reader,
            "sql admin" => Check::Admin,
            _ => return None,
        })
    }
}

/// README.md and all of docs/.
fn manuals() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().flatten();
    let mut files: Vec<PathBuf> = docs.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.push(root().join("README.md"));
    files.sort();
    files
}

fn blocks() -> Vec<Block> {
    manuals().iter().flat_map(|file| blocks_of(file)).collect()
}

/// Never empty: a check without a block would pass whatever happens.
fn blocks_for(checks: &[Check]) -> Vec<Block> {
    let wanted = |block: &Block| block.check.is_some_and(|check| checks.contains(&check));
    let found: Vec<Block> = blocks().into_iter().filter(wanted).collect();
    assert!(!found.is_empty(), "no block for {checks:?}");
    found
}

fn blocks_of(file: &Path) -> Vec<Block> {
    let text = fs::read_to_string(file).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (open.take(), line.strip_prefix("```")) {
            (None, None) => {}
            (None, Some(fence)) => {
                open = Some(Block {
                    place: format!("{}:{}", file.display(), number + 1),
                    check: Check::parse(fence),
                    fence: fence.to_owned(),
                    text: String::new(),
                });
            }
            (Some(block), Some(_)) => blocks.push(block),
            (Some(mut block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
        }
    }
    assert!(open.is_none(), "{}: a block is left open", file.display());
    blocks
}

/// Runs the block's lines, the program on the PATH; the first line that fails ends it.
fn shell(block: &Block, dir: &Path, environment: &[(&str, String)]) -> Output {
    let programs = Path::new(BINARY).parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("bash");
    command.args(["-eu", "-o", "pipefail", "-c", &block.text]);
    command.env("PATH", format!("{programs}:{path}"));
    for (name, value) in environment {
        command.env(name, value);
    }
    command.current_dir(dir).output().unwrap()
}

fn rows(block: &Block, database: &Database) -> usize {
    let rows = database.try_query(&block.text);
    rows.unwrap_or_else(|error| panic!("{}: {error}", block.place))
        .len()
}

fn assert_succeeds(block: &Block, output: &Output) {
    assert!(
        output.status.success(),
        "{}: {}\n{}{}",
        block.place,
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn copy_projections(dir: &Path) {
    let target = dir.join("projections");
    fs::create_dir_all(&target).unwrap();
    for file in fs::read_dir(root().join("projections")).unwrap().flatten() {
        fs::copy(file.path(), target.join(file.file_name())).unwrap();
    }
}

/// Makes the topics of deploy/sample-events and writes their events, as docker-compose.yml does. Gives their names, which
/// are those that the sample projections and the manuals use.
fn write_sample_events(space: &Space) -> Vec<String> {
    let mut topics = Vec::new();
    for file in fs::read_dir(root().join("deploy/sample-events"))
        .unwrap()
        .flatten()
    {
        let name = file.file_name().display().to_string();
        let Some(topic) = name.strip_suffix(".events") else {
            continue;
        };
        let text = fs::read_to_string(file.path()).unwrap();
        let records: Vec<Record> = text
            .lines()
            .map(|line| line.split_once('|').expect("key|value"))
            .map(|(key, value)| Record::new(key, value).in_partition(0))
            .collect();
        space.kafka.create_topic(topic, PARTITIONS, &[]);
        Producer::new(space.kafka).write(topic, &records);
        topics.push(topic.to_owned());
    }
    topics
}

/// The settings with every file that they name made in `dir`, and named there.
fn with_files_made(settings: &str, dir: &Path) -> String {
    let mut made = String::new();
    for line in settings.lines() {
        let file = line.split_once("_file: ").map(|(_, file)| file);
        match file {
            None => made.push_str(line),
            Some(file) => {
                let secret = match line.contains("url_file") {
                    true => "postgres://consolidator:secret@localhost/app\n",
                    false => "secret\n",
                };
                let place = dir.join(file.rsplit('/').next().unwrap_or_default());
                fs::write(&place, secret).unwrap();
                made.push_str(&line.replace(file, &place.display().to_string()));
            }
        }
        made.push('\n');
    }
    made
}

/// A file of the repository, and the heading in it that the link names.
fn leads_somewhere(from: &Path, link: &str) -> bool {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => from.to_owned(),
        path => from.parent().unwrap().join(path),
    };
    if heading.is_empty() {
        return target.exists();
    }
    let text = fs::read_to_string(target).unwrap_or_default();
    let mut headings = text.lines().filter(|line| line.starts_with('#'));
    headings.any(|line| anchor(line) == heading)
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
