use super::*;
use std::ffi::OsString;

/// Settings of a file's text, variables and `--set` flags.
fn load(yaml: &str, environment: &[(&str, &str)], set: &[&str]) -> Result<Settings, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.yaml");
    std::fs::write(&file, yaml).unwrap();
    let sources = Sources {
        config: Some(file),
        environment: environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        set: set.iter().map(|flag| flag.to_string()).collect(),
    };
    let shorten = |text: &str| text.replace(&format!("{}/", folder.path().display()), "");
    let mut settings = Settings::load(&sources).map_err(|error| SettingsError {
        problems: error.problems.iter().map(|p| shorten(p)).collect(),
    })?;
    settings
        .origins
        .values_mut()
        .for_each(|origin| *origin = shorten(origin));
    Ok(settings)
}

fn problem(yaml: &str, environment: &[(&str, &str)], set: &[&str]) -> String {
    load(yaml, environment, set).unwrap_err().to_string()
}

#[test]
fn nothing_written_gives_the_defaults() {
    let settings = load("", &[], &[]).unwrap();
    assert_eq!(settings.kafka.brokers, "localhost:9092");
    assert_eq!(settings.kafka.group, "consolidator");
    assert_eq!(settings.postgres.read_schema, "read_model");
    assert!(settings.postgres.readers.is_empty());
    assert_eq!(
        settings.http.listen,
        Some("127.0.0.1:8080".parse().unwrap())
    );
    assert_eq!(settings.worker.memory_limit, 1 << 30);
    assert_eq!(settings.worker.batch_linger, Duration::from_millis(3));
    assert_eq!(settings.rebuild.grace, Duration::from_secs(3600));
    assert_eq!(settings.origins["worker.lanes"], "default");
}

#[test]
fn a_missing_default_file_is_fine_but_a_missing_named_one_is_not() {
    let gone = Sources {
        config: Some(PathBuf::from("/nowhere/x.yaml")),
        ..Sources::default()
    };
    let error = Settings::load(&gone).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read the settings file /nowhere/x.yaml: No such file"),
        "{error}"
    );
}

#[test]
fn later_layers_win() {
    let yaml = "worker: { lanes: 3, batch_events: 500 }\nprojections: a\n";
    let environment = [
        ("CONSOLIDATOR__WORKER__LANES", "4"),
        ("CONSOLIDATOR__PROJECTIONS", "b"),
        ("CONSOLIDATOR_PORT", "x"),
    ];
    let settings = load(yaml, &environment, &["worker.lanes=5"]).unwrap();
    assert_eq!(
        (settings.worker.lanes, settings.worker.batch_events),
        (5, 500)
    );
    assert_eq!(settings.projections, PathBuf::from("b"));
    assert_eq!(settings.origins["worker.lanes"], "--set worker.lanes");
    assert_eq!(settings.origins["projections"], "CONSOLIDATOR__PROJECTIONS");
    assert_eq!(
        settings.origins["worker.batch_events"],
        "settings.yaml:1:21"
    );
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let settings = load(
        "worker: { lanes: 3 }",
        &[("CONSOLIDATOR__WORKER__LANES", "")],
        &[],
    )
    .unwrap();
    assert_eq!(settings.worker.lanes, 3);
}

#[test]
fn properties_keep_their_dots_and_their_text() {
    let yaml = "kafka:\n  properties:\n    security.protocol: SSL\n    message.max.bytes: 1_000\n    x.version: 1.10\n    ssl: { ca.location: /ca.pem }\n";
    let environment = [
        (
            "CONSOLIDATOR__KAFKA__PROPERTIES__SASL_MECHANISM",
            "SCRAM-SHA-512",
        ),
        ("CONSOLIDATOR__KAFKA__PROPERTIES__client.rack", "a"),
    ];
    let settings = load(
        yaml,
        &environment,
        &["kafka.properties.socket.timeout.ms=500"],
    )
    .unwrap();
    let properties: Vec<(&str, &str)> = settings
        .kafka
        .properties
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        properties,
        [
            ("client.rack", "a"),
            ("message.max.bytes", "1_000"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("security.protocol", "SSL"),
            ("socket.timeout.ms", "500"),
            ("ssl.ca.location", "/ca.pem"),
            ("x.version", "1.10"),
        ]
    );
}

#[test]
fn lists_stand_as_yaml_or_separated_by_commas() {
    let settings = load(
        "postgres: { readers: [analyst, bi] }",
        &[("CONSOLIDATOR__KAFKA__BROKERS", "a:1, b:2")],
        &[],
    )
    .unwrap();
    assert_eq!(settings.postgres.readers, ["analyst", "bi"]);
    assert_eq!(settings.kafka.brokers, "a:1,b:2");
}

#[test]
fn every_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let url = file("url", "postgres://u:p@h/d\n");
    let password = file("password", "hunter2\n");
    let yaml = format!(
        "postgres: {{ url_file: {url} }}\nkafka: {{ properties: {{ sasl.password_file: {password} }} }}"
    );
    let settings = load(&yaml, &[], &[]).unwrap();
    assert_eq!(settings.postgres.url.expose(), "postgres://u:p@h/d");
    assert_eq!(settings.kafka.properties["sasl.password"], "hunter2");
    assert_eq!(settings.secret_files["postgres.url"], PathBuf::from(&url));

    let environment = [
        ("CONSOLIDATOR__POSTGRES__URL", "postgres://other/d"),
        ("CONSOLIDATOR__KAFKA__PROPERTIES__SASL_PASSWORD", "x"),
    ];
    let settings = load(&yaml, &environment, &[]).unwrap();
    assert_eq!(settings.postgres.url.expose(), "postgres://other/d");
    assert_eq!(settings.kafka.properties["sasl.password"], "x");

    let environment = [(
        "CONSOLIDATOR__KAFKA__PROPERTIES__SASL_PASSWORD_FILE",
        password.as_str(),
    )];
    let settings = load(
        "kafka: { properties: { sasl.password: y } }",
        &environment,
        &[],
    )
    .unwrap();
    assert_eq!(settings.kafka.properties["sasl.password"], "hunter2");
}

#[test]
fn wrong_settings_name_the_place_and_the_cure() {
    let cases: &[(&str, &str)] = &[
        (
            "worker:\n  lanse: 2",
            "settings.yaml:2:3: unknown key `worker.lanse`, did you mean `worker.lanes`?",
        ),
        (
            "wroker:\n  lanes: 2",
            "settings.yaml:1:1: unknown key `wroker`, did you mean `worker`?",
        ),
        (
            "kafka: { memory_limit: 1GiB }",
            "settings.yaml:1:10: unknown key `kafka.memory_limit`, did you mean `worker.memory_limit`?",
        ),
        (
            "zzz: 1",
            "settings.yaml:1:1: unknown key `zzz`; `consolidator config` shows all keys",
        ),
        (
            "http: 8080",
            "settings.yaml:1:1: `http` is a section, its keys are: listen, token_file",
        ),
        (
            "worker: { lanes: 0 }",
            "settings.yaml:1:11: worker.lanes: expected a whole number from 1 to 64, got `0`",
        ),
        (
            "worker: { lanes: [1, 2] }",
            "settings.yaml:1:11: worker.lanes: expected one value, got a list",
        ),
        (
            "worker: { lanes: { a: 1 } }",
            "settings.yaml:1:18: `worker.lanes` takes a value, not a mapping",
        ),
        (
            "worker: { memory_limit: 1MiB }",
            "settings.yaml:1:11: worker.memory_limit: expected at least 64MiB, got `1MiB`",
        ),
        (
            "rebuild: { grace: 1 }",
            "settings.yaml:1:12: rebuild.grace: expected a duration such as 5ms, 30s or 1h30m, got `1`",
        ),
        (
            "kafka: { brokers: \"a:b\" }",
            "settings.yaml:1:10: kafka.brokers: expected host:port, several separated by commas, got `a:b`",
        ),
        (
            "kafka: { brokers: [] }",
            "settings.yaml:1:10: kafka.brokers: must not be empty",
        ),
        (
            "kafka: { properties: { group.id: x } }",
            "settings.yaml:1:24: `group.id` cannot be set in kafka.properties: set `kafka.group`",
        ),
        (
            "postgres: { url: \"hunter2\" }",
            "settings.yaml:1:13: postgres.url: expected postgres://user:password@host:port/database",
        ),
        (
            "postgres: { url_file: /nowhere }",
            "settings.yaml:1:13: postgres.url_file: cannot read /nowhere: No such file or directory (os error 2)",
        ),
        (
            "postgres: { read_schema: consolidator }",
            "settings.yaml:1:13: postgres.read_schema: `consolidator` is taken; choose another schema for readers",
        ),
        (
            "kafka: { group_file: x }",
            "settings.yaml:1:10: unknown key `kafka.group_file`: `kafka.group` is no secret and cannot come from a file",
        ),
        (
            "worker: { lanes: 1, lanes: 2 }",
            "settings.yaml:1:21: `worker.lanes` is given twice, first at settings.yaml:1:11",
        ),
        (
            "a: &x 1\nb: *x",
            "settings.yaml:2:4: aliases are not allowed in settings",
        ),
        (
            "- a",
            "settings.yaml:1:1: expected sections such as `kafka:` and `postgres:`",
        ),
        (
            "{}\n---\n{}",
            "settings.yaml:2:1: one document is enough, this begins another",
        ),
    ];
    for (yaml, expected) in cases {
        let found = problem(yaml, &[], &[]);
        assert!(
            found.lines().any(|line| line == *expected),
            "{yaml}\n  expected {expected}\n  found    {found}"
        );
    }
    assert_eq!(
        problem("", &[("CONSOLIDATOR__WORKER__LANSE", "1")], &[]),
        "CONSOLIDATOR__WORKER__LANSE: unknown key `worker.lanse`, did you mean `worker.lanes`?"
    );
    assert_eq!(
        problem("", &[], &["worker.lanes"]),
        "--set: expected section.key=value"
    );
    assert!(problem("worker: [", &[], &[]).starts_with("settings.yaml:"));
}

#[test]
fn all_problems_are_reported_at_once() {
    let found = problem(
        "worker: { lanes: x, lanse: 1 }\nhttp: { listen: y }",
        &[("CONSOLIDATOR__LOG__FORMAT", "z")],
        &[],
    );
    assert_eq!(found.lines().count(), 4, "{found}");
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let found = problem("", &[], &["kafka.properties.sasl.password=hunter2"]);
    assert!(
        found.starts_with("--set kafka.properties.sasl.password: a secret"),
        "{found}"
    );
    assert!(!found.contains("hunter2"));
}

#[test]
fn no_secret_shows_in_the_effective_settings_or_in_debug_output() {
    let yaml = "postgres: { url: \"postgres://u:hunter2@h/d?sslpassword=hunter2\" }\nkafka: { properties: { sasl.password: hunter2, ssl.key.password: hunter2, client.id: worker } }";
    let settings = load(yaml, &[], &[]).unwrap();
    let footprint = Footprint::new(&settings, 2);
    for shown in [
        show_yaml(&settings, &footprint),
        show_json(&settings, &footprint),
        format!("{settings:?}"),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("worker"), "{shown}");
    }
}

#[test]
fn what_config_prints_is_a_settings_file_that_gives_the_same() {
    let yaml = "postgres: { readers: [a, b] }\nkafka: { properties: { client.id: 'x y: z', security.protocol: SSL } }\nhttp: { listen: 'off' }\nlog: { filter: 'info,a=debug' }\nrebuild: { grace: 90m }";
    let first = load(yaml, &[], &[]).unwrap();
    let shown = show_yaml(&first, &Footprint::new(&first, 1));
    let second = load(&shown, &[], &[]).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    let values = |text: &str| {
        text.lines()
            .filter_map(|l| l.split("  #").next().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        values(&shown),
        values(&show_yaml(&second, &Footprint::new(&second, 1)))
    );
    for key in keys::KEYS {
        assert!(
            second.origins[key.name].starts_with("settings.yaml:"),
            "{} is missing in\n{shown}",
            key.name
        );
    }
}

#[test]
fn the_manual_lists_every_setting_with_its_default() {
    let manual = include_str!("../../docs/operating.md");
    for key in keys::KEYS {
        let default = match key.default {
            "" => " ".to_owned(),
            default => format!(" `{default}` "),
        };
        let row = format!("| `{}` |{default}| ", key.name);
        assert!(
            manual.contains(&row),
            "docs/operating.md has no row that begins {row}"
        );
    }
}
