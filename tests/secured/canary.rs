//! Secrets, and payloads, where everything that is said is said as loud as can be: none of them is in any of it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::{IN_TIME, counting, property, secured};
use crate::support::kafka_rights::set_password;
use crate::support::space::Space;
use crate::support::topic::{Producer, Record};
use crate::support::wait::wait_until;

/// What no output may hold.
const CANARY: &str = "c4n4ry";

/// Every byte that the program gives off, for people or machines.
fn said(space: &Space, http: &str, token: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for arguments in [
        &["config"][..],
        &["config", "--json"],
        &["status"],
        &["status", "--json"],
        &["plan"],
        &["verify", "small"],
        &["explain", "small", "small", "a"],
        &["dead-letters", "list"],
    ] {
        let output = space.run(arguments);
        let both = [output.stdout, output.stderr].concat();
        all.push((
            arguments.join(" "),
            String::from_utf8_lossy(&both).into_owned(),
        ));
    }
    for path in ["/metrics", "/livez", "/readyz"] {
        all.push((path.to_owned(), get(http, path, Some(token))));
    }
    all
}

fn get(http: &str, path: &str, token: Option<&str>) -> String {
    let mut stream = TcpStream::connect(http).unwrap();
    let header = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!("GET {path} HTTP/1.0\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn assert_silent(what: &str, text: &str) {
    if let Some(at) = text.find(CANARY) {
        let from = text[..at].rfind('\n').map_or(0, |from| from + 1);
        let line = text[from..].lines().next().unwrap_or_default();
        panic!("{what} says: {line}");
    }
}

#[test]
fn no_secret_and_no_payload_is_in_anything_that_the_program_says() {
    let kafka = &secured().0;
    let mut space = Space::new("canary");
    let user = format!("{}_user", space.id);
    let secret = |name: &str| format!("{CANARY}-{name}");
    set_password(&kafka.server, &user, &secret("kafka"));
    let topic = counting(&mut space, &user, kafka.scram);
    property(&mut space, "security.protocol", "SASL_SSL");
    property(&mut space, "sasl.mechanism", "SCRAM-SHA-512");
    property(&mut space, "sasl.username", &user);
    property(&mut space, "sasl.password", &secret("kafka"));
    property(&mut space, "ssl.key.password", &secret("key"));
    property(&mut space, "debug", "all");
    let role = format!("{}_canary", space.id);
    let postgres = secret("postgres");
    space.database.execute(&format!(
        "create role {role} login password '{postgres}'; grant create on database {} to {role}",
        space.id
    ));
    let place = space
        .settings
        .postgres_url
        .split_once('@')
        .unwrap()
        .1
        .to_owned();
    space.settings.postgres_url = format!("postgres://{role}:{postgres}@{place}");
    space
        .settings
        .more
        .push("log: { filter: trace }".to_owned());
    let http_token = space.dir().join("http-token");
    fs::write(&http_token, secret("http")).unwrap();
    space
        .settings
        .http_lines
        .push(format!("  token_file: \"{}\"", http_token.display()));
    let event = |note: &str| {
        Record::new(
            "a",
            format!(r#"{{"type":"Added","data":{{"note":"{note}"}}}}"#),
        )
    };
    Producer::new(&kafka.server).write(&topic, &[event(&secret("payload"))]);

    let worker = space.start_worker("worker");
    space.wait_offset("small", &topic, 0, 0, IN_TIME);
    assert!(
        worker.log().contains("SASL"),
        "librdkafka says what it does"
    );
    let settings = space.dir().join("worker.settings.yaml");
    let http = crate::support::worker::http_address(&settings);
    assert!(get(&http, "/metrics", None).contains(" 401 "));
    assert!(get(&http, "/metrics", Some("other")).contains(" 401 "));
    assert!(get(&http, "/livez", None).contains(" 200 "));
    let metrics = get(&http, "/metrics", Some(&secret("http")));
    assert!(metrics.contains("consolidator_build_info"), "{metrics}");
    for (what, text) in said(&space, &http, &secret("http")) {
        assert_silent(&what, &text);
    }
    let line = fs::read_to_string(format!("/proc/{}/cmdline", worker.pid())).unwrap();
    assert_silent("ps", &line);

    // What goes wrong is told at length.
    space.database.execute(&format!("alter role {role} password 'another'; select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"));
    worker.wait_for_log("password authentication failed", IN_TIME);
    set_password(&kafka.server, &user, "another");
    worker.wait_for_log("Authentication failed", IN_TIME);
    let refused = space.run(&["status"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_silent("status", &String::from_utf8_lossy(&refused.stderr));
    assert!(worker.terminate(IN_TIME).success());
    assert_silent("the log", &worker.log());

    for broken in [
        "postgres://u:c4n4ry/x@y:z/d",
        "postgres://u:c4n4ry?x@y/d",
        "c4n4ry",
        "postgres://u:p@h/d?c4n4ry=1",
    ] {
        space.settings.postgres_url = broken.to_owned();
        let output = space.run(&["status"]);
        assert_eq!(output.status.code(), Some(2), "{broken}");
        assert_silent(broken, &String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_token_for_metrics_that_was_replaced_counts_at_once() {
    let mut space = Space::new("http_token");
    let file = space.dir().join("token");
    fs::write(&file, "first\n").unwrap();
    space
        .settings
        .http_lines
        .push(format!("  token_file: \"{}\"", file.display()));
    let topic = space.topic("events", 1);
    let text = format!(
        "projection: p\nfrom: [{topic}]\ntables:\n  t:\n    key:\n      k: text = event.key\n    rules:\n      A: {{ delete: true }}\n"
    );
    space.definition("p", &text);
    let _worker = space.start_worker("worker");
    let http = crate::support::worker::http_address(&space.dir().join("worker.settings.yaml"));
    wait_until("http", IN_TIME, || TcpStream::connect(&http).is_ok());
    let status = |token: &str| get(&http, "/metrics", Some(token)).contains(" 200 ");
    assert!(status("first") && !status("second"));
    fs::write(&file, "second").unwrap();
    assert!(status("second") && !status("first"));
    fs::write(&file, "").unwrap();
    assert!(!status("second") && !status(""));
}
