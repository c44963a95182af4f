//! `status` tells a person, and a program, where every projection stands and what is to be done.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::{wait_for, wait_until};
use crate::support::worker::{Worker, http_address, metrics};

const IN_TIME: Duration = Duration::from_secs(60);

const COUNTER: &str = "
projection: NAME
on_error: stop
from: [TOPIC]
tables:
  NAME:
    key:
      name: text = event.key
    columns:
      n: bigint not null default 0
    rules:
      Added:
        set: n = n + data.n
";

#[test]
fn status_tells_what_lives_what_is_paused_and_what_has_stopped_and_why() {
    let space = Space::new("status");
    let topics: Vec<String> = ["calm", "resting", "broken"]
        .iter()
        .map(|name| counter(&space, name))
        .collect();
    let worker = space.start_worker("worker");
    let producer = Producer::new(space.kafka);
    for (name, topic) in ["calm", "resting", "broken"].iter().zip(&topics) {
        producer.write(topic, &[added("a", "1"), added("b", "2"), added("a", "3")]);
        space.wait_applied(name, &[topic], IN_TIME);
    }
    assert_eq!(run(&space, &["pause", "resting"]).status.code(), Some(0));
    wait_for(
        "the others to be live, and the pause to hold",
        IN_TIME,
        || {
            let status = json(&space);
            let resting = &projection(&status, "resting")["generations"][0];
            let partitions = resting["partitions"].as_array().unwrap();
            (status["fine"] == true
                && partitions.iter().all(|one| one["owner"].is_null())
                && state_of(&status, "calm") == "live"
                && state_of(&status, "broken") == "live")
                .then_some(())
        },
    );
    let fine = run(&space, &["status"]);
    assert_eq!(fine.status.code(), Some(0), "a pause was somebody's wish");

    producer.write(&topics[1], &[added("a", "4"), added("b", "5")]);
    producer.write(&topics[2], &[added("o-17", r#""many""#)]);
    let status = wait_for("the broken one to stop", IN_TIME, || {
        let status = json(&space);
        // Nobody measures for the paused one: Kafka is asked. For the others lanes do, once in a while.
        let measured = |name: &str, gap: i64| projection(&status, name)["gap"] == gap;
        // Partitions may change hands between lanes of one worker at first.
        let calm = projection(&status, "calm")["generations"][0]["partitions"].as_array();
        let owned = calm.is_some_and(|all| all.iter().all(|one| one["owner"]["connected"] == true));
        let stopped = state_of(&status, "broken") == "stopped";
        (measured("resting", 2) && measured("calm", 0) && owned && stopped).then_some(status)
    });
    says_why_in_json(&status, &topics);
    says_why_in_text(&space, &topics);
    alerts_see_it(&space);

    assert!(worker.terminate(IN_TIME).success());
    let text = text(&run(&space, &["status"]));
    assert!(text.contains("nobody works on it"), "{text}");
    assert!(text.contains("consolidator run"), "{text}");
}

/// What programs read: documented in docs/operating.md.
fn says_why_in_json(status: &Value, topics: &[String]) {
    assert_eq!(status["fine"], false);
    assert_eq!(state_of(status, "resting"), "paused");
    let calm = &projection(status, "calm")["generations"][0];
    assert_eq!((&calm["gap"], &calm["events"]), (&0.into(), &3.into()));
    assert_eq!(calm["seen_by_readers"], true);
    assert_eq!(calm["tables"][0]["table"], "calm");
    let partitions = calm["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2);
    for partition in partitions {
        assert_eq!(partition["topic"], topics[0].as_str());
        assert_eq!(partition["next_offset"], partition["end_offset"]);
        assert_eq!(partition["owner"]["connected"], true, "{partition}");
    }
    let stop = &projection(status, "broken")["generations"][0]["stops"][0];
    assert_eq!(stop["topic"], topics[2].as_str());
    assert_eq!(
        (&stop["key"], &stop["table"]),
        (&"o-17".into(), &"broken".into())
    );
    assert!(
        stop["offset"].is_i64() && stop["partition"].is_i64(),
        "{stop}"
    );
    assert!(stop["rule"].as_str().unwrap().contains("Added"), "{stop}");
    assert!(
        stop["reason"].as_str().unwrap().contains("bigint"),
        "{stop}"
    );
}

/// What deploy/prometheus/alerts.yml looks at.
fn alerts_see_it(space: &Space) {
    let http = http_address(&space.dir().join("worker.settings.yaml"));
    let lines = [
        r#"consolidator_stopped{projection="broken"} 1"#,
        r#"consolidator_stopped{projection="calm"} 0"#,
        r#"consolidator_paused{projection="resting"} 1"#,
        r#"consolidator_paused{projection="broken"} 0"#,
    ];
    wait_until("the metrics to say so", IN_TIME, || {
        let metrics = metrics(&http);
        lines.iter().all(|line| metrics.contains(line))
    });
}

fn says_why_in_text(space: &Space, topics: &[String]) {
    let output = run(space, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    let words = [
        "STOPPED at ",
        &topics[2],
        "`o-17`",
        "Added",
        "bigint",
        "`consolidator resume broken`",
        "paused since",
        "`consolidator resume resting`",
        "seen by readers",
        "checkpoint",
    ];
    for word in words {
        assert!(text.contains(word), "`{word}` is missing:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours outside a terminal");
}

#[test]
fn status_names_the_keys_whose_events_are_set_aside() {
    let space = Space::new("set_aside");
    let topic = counter(&space, "calm");
    let worker = space.start_worker("worker");
    Producer::new(space.kafka).write(&topic, &[added("a", "1")]);
    space.wait_applied("calm", &[&topic], IN_TIME);
    assert!(worker.terminate(IN_TIME).success());
    space.database.execute(&format!(
        "insert into consolidator.dead_letter (generation, topic, partition, \"offset\", key, event_type, reason)
         select g.id, '{topic}', 0, n, 'o-17', 'Added', 'no such order ' || n
         from consolidator.generation g, generate_series(7, 9) n"
    ));
    let status = json(&space);
    let generation = &projection(&status, "calm")["generations"][0];
    assert_eq!(generation["dead_letters"], 3);
    let blocked = generation["blocked_keys"].as_array().unwrap();
    assert_eq!(blocked.len(), 1, "{generation}");
    assert_eq!(
        (&blocked[0]["key"], &blocked[0]["offset"]),
        (&"o-17".into(), &7.into())
    );
    assert_eq!(
        (&blocked[0]["events"], &blocked[0]["reason"]),
        (&3.into(), &"no such order 7".into())
    );
    let output = run(&space, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    assert!(text.contains("3 events set aside"), "{text}");
    assert!(text.contains("`o-17`"), "{text}");
}

#[test]
fn status_says_that_there_is_nothing_yet_and_watches_until_there_is() {
    let space = Space::new("nothing");
    let output = run(&space, &["status"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("consolidator run"));

    let settings = space.write_settings("watch");
    let arguments = ["status", "--watch", "--json", "--config", &settings];
    let watching = Worker::start("watch", space.dir(), &arguments, &[]);
    let lines = |needed: usize| {
        let log = watching.log();
        let lines: Vec<Value> = log.lines().flat_map(serde_json::from_str).collect();
        (lines.len() >= needed).then_some(lines)
    };
    let first = wait_for("two looks", IN_TIME, || lines(2));
    assert_eq!(first[0]["projections"], Value::Array(Vec::new()));

    counter(&space, "late");
    let _worker = space.start_worker("worker");
    wait_until("the projection to show up", IN_TIME, || {
        let last = lines(1).and_then(|mut lines| lines.pop());
        last.is_some_and(|last| last["projections"][0]["projection"] == "late")
    });
}

#[test]
fn status_without_a_server_says_so() {
    let mut space = Space::new("no_server");
    space.settings.postgres_url = "postgres://nobody@127.0.0.1:1/nothing".to_owned();
    let output = run(&space, &["status"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
}

/// Makes the topic and the definition of a counter; gives the topic.
fn counter(space: &Space, name: &str) -> String {
    let topic = space.topic(name, 2);
    let text = COUNTER.replace("TOPIC", &topic).replace("NAME", name);
    space.definition(name, &text);
    topic
}

fn added(key: &str, n: &str) -> Record {
    Record::new(key, format!(r#"{{"type":"Added","data":{{"n":{n}}}}}"#))
}

fn run(space: &Space, arguments: &[&str]) -> Output {
    space.run(arguments)
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// One document on one line.
fn json(space: &Space) -> Value {
    let text = text(&run(space, &["status", "--json"]));
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn projection<'s>(status: &'s Value, name: &str) -> &'s Value {
    let projections = status["projections"].as_array().unwrap();
    let found = projections.iter().find(|one| one["projection"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing: {status}"))
}

fn state_of(status: &Value, name: &str) -> String {
    let projections = status["projections"].as_array().unwrap();
    let found = projections.iter().find(|one| one["projection"] == name);
    let state = found.and_then(|one| one["state"].as_str());
    state.unwrap_or_default().to_owned()
}
