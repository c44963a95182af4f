//! What deploy/ and docker-compose.yml say agrees with itself and with what the program accepts. Needs no server; where
//! the programs that read these files are on the machine (.ci/run sees to it), they are asked too.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use consolidator::metrics::Metrics;
use serde_json::Value;

use crate::support::root;
use crate::support::worker::{BINARY, run_command};

/// Paths that `run` answers.
const HTTP_PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// What the names of metrics begin with.
const NAMESPACE: &str = "consolidator_";

#[test]
fn the_compose_file_is_in_order() {
    assert_compose_file_is_in_order();
}

/// Also of the block in the README that uses it.
pub fn assert_compose_file_is_in_order() {
    let compose = yaml(&read("docker-compose.yml"));
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        for other in service["depends_on"].as_object().into_iter().flatten() {
            assert!(
                services.contains_key(other.0),
                "{name} waits for {}",
                other.0
            );
        }
        for volume in strings(&service["volumes"]) {
            let host = volume.split(':').next().unwrap_or_default();
            assert!(root().join(host).exists(), "{name} mounts {host}");
        }
    }
    let worker = &services["worker"];
    assert!(root().join(text(&worker["build"]["dockerfile"])).exists());
    assert_arguments(&strings(&worker["command"]));
    assert_environment(&variables(&worker["environment"]));
    let definitions = format!("{}/projections", dockerfile_value("WORKDIR"));
    let mounts = strings(&worker["volumes"]);
    assert_eq!(mounts, [format!("./projections:{definitions}:ro")]);
    let port = format!("127.0.0.1:{0}:{0}", dockerfile_value("EXPOSE"));
    assert_eq!(strings(&worker["ports"]), [port]);

    for program in [&["docker", "compose"][..], &["docker-compose"]] {
        if answers(&[program, &["version"]].concat()) {
            assert_runs(&[program, &["-f", "docker-compose.yml", "config", "--quiet"]].concat());
        }
    }
}

#[test]
fn the_image_is_built_from_what_it_copies() {
    let context = tempfile::tempdir().unwrap();
    let kept = read("deploy/Dockerfile.dockerignore");
    for line in read("deploy/Dockerfile").lines() {
        let Some(names) = line
            .strip_prefix("COPY ")
            .filter(|names| !names.starts_with("--"))
        else {
            continue;
        };
        let names: Vec<&str> = names.split(' ').collect();
        let (target, sources) = names.split_last().unwrap();
        for source in sources {
            let kept = kept.lines().any(|line| line == format!("!{source}"));
            assert!(kept, "{source} is not in Dockerfile.dockerignore");
            let target = context.path().join(target);
            assert_runs(&["cp", "-r", source, &target.display().to_string()]);
        }
    }
    // Reads the manifest as a build does, and finds every target's file and the whole lock file, or says why not.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let manifest = context.path().join("Cargo.toml").display().to_string();
    let fetch = ["cargo", "fetch", "--locked", "--offline"];
    let place = ["--manifest-path", &manifest, "--target", host.unwrap()];
    assert_runs(&[&fetch[..], &place].concat());
}

#[test]
fn the_image_runs_the_program_as_it_wants_to_be_run() {
    let toolchain = read("rust-toolchain.toml");
    let version = between(&toolchain, "channel = \"", "\"");
    let base = dockerfile_value("FROM rust:");
    let base = base.split('-').next().unwrap();
    assert!(version.starts_with(base), "{base} is not {version}");
    let (name, value) = dockerfile_value("ENV").split_once('=').map(owned).unwrap();
    assert_eq!(value, format!("0.0.0.0:{}", dockerfile_value("EXPOSE")));
    assert_environment(&[(name, value)]);
    let entry: Vec<String> = serde_json::from_str(&dockerfile_value("ENTRYPOINT")).unwrap();
    assert_eq!(entry, ["consolidator"]);
    assert_arguments(&serde_json::from_str::<Vec<String>>(&dockerfile_value("CMD")).unwrap());
}

#[test]
fn kubernetes_runs_settings_and_definitions_that_the_program_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let definitions = kubernetes("definitions.yaml");
    for (name, text) in variables(&definitions["data"]) {
        fs::write(dir.path().join(&name), text).unwrap();
        for command in ["lint", "test"] {
            assert_program(dir.path(), &[command, &name]);
        }
    }
    let settings = text(&kubernetes("settings.yaml")["data"]["consolidator.yaml"]).to_owned();
    let values = yaml(&settings);
    let secret = dir.path().join("postgres-url");
    fs::write(&secret, "postgres://consolidator@localhost/app").unwrap();
    let url_file = text(&values["postgres"]["url_file"]);
    let local = settings.replace(url_file, &secret.display().to_string());
    fs::write(dir.path().join("consolidator.yaml"), local).unwrap();
    assert_program(dir.path(), &["config"]);

    let pod = &kubernetes("deployment.yaml")["spec"]["template"]["spec"];
    let worker = &pod["containers"][0];
    let mounted = |name: &str| {
        let mounts = worker["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == name).unwrap();
        text(&mount["mountPath"])
    };
    assert_eq!(text(&values["projections"]), mounted("definitions"));
    assert_eq!(url_file, format!("{}/postgres-url", mounted("secrets")));
    let found_by_default = format!("{}/consolidator.yaml", dockerfile_value("WORKDIR"));
    assert_eq!(mounted("settings"), found_by_default);
    let listen = text(&values["http"]["listen"]);
    let port = worker["ports"][0]["containerPort"].to_string();
    assert_eq!(listen, format!("0.0.0.0:{port}"));
    let limit = mebibytes(text(&worker["resources"]["limits"]["memory"]));
    let request = mebibytes(text(&worker["resources"]["requests"]["memory"]));
    let own = mebibytes(text(&values["worker"]["memory_limit"]));
    assert!(own < request && request <= limit && limit >= own * 3 / 2);
}

#[test]
fn kubernetes_manifests_agree_with_one_another() {
    let deployment = kubernetes("deployment.yaml");
    let template = &deployment["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    let service = kubernetes("service.yaml");
    assert_eq!(&service["spec"]["selector"], labels);
    let worker = &template["spec"]["containers"][0];
    assert_arguments(&strings(&worker["args"]));
    let port = &worker["ports"][0];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(service["spec"]["ports"][0]["port"], port["containerPort"]);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &worker[probe]["httpGet"];
        assert!(HTTP_PATHS.contains(&text(&get["path"])), "{get}");
        assert_eq!(get["port"], port["name"]);
    }
    let notes = &template["metadata"]["annotations"];
    assert_eq!(notes["prometheus.io/path"], "/metrics");
    let noted = text(&notes["prometheus.io/port"]);
    assert_eq!(noted, port["containerPort"].to_string());

    let volumes = &template["spec"]["volumes"];
    let names = |list: &Value| -> BTreeSet<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|item| text(&item["name"]).to_owned()).collect()
    };
    assert_eq!(names(volumes), names(&worker["volumeMounts"]));
    for (volume, manifest) in [(0, "settings.yaml"), (1, "definitions.yaml")] {
        let map = &volumes[volume]["configMap"]["name"];
        assert_eq!(map, &kubernetes(manifest)["metadata"]["name"]);
    }

    let kustomization = kubernetes("kustomization.yaml");
    for resource in strings(&kustomization["resources"]) {
        kubernetes(&resource);
    }
    let image = &kustomization["images"][0];
    assert_eq!(image["name"], worker["image"]);
    assert_eq!(image["newTag"], env!("CARGO_PKG_VERSION"));

    let keda = kubernetes("keda.yaml");
    let target = &keda["spec"]["scaleTargetRef"]["name"];
    assert_eq!(target, &deployment["metadata"]["name"]);
    let settings = yaml(text(
        &kubernetes("settings.yaml")["data"]["consolidator.yaml"],
    ));
    let definitions = kubernetes("definitions.yaml");
    let (_, definition) = variables(&definitions["data"]).remove(0);
    let group = format!(
        "{}.{}.g1",
        text(&settings["kafka"]["group"]),
        between(&definition, "projection: ", "\n")
    );
    let trigger = &keda["spec"]["triggers"][0]["metadata"];
    assert_eq!(trigger["consumerGroup"], group);
    assert!(definition.contains(&format!("topic: {}\n", text(&trigger["topic"]))));
    assert_eq!(trigger["bootstrapServers"], settings["kafka"]["brokers"]);
}

#[test]
fn the_systemd_unit_runs_the_program() {
    let unit = read("deploy/systemd/consolidator.service");
    let start = between(&unit, "ExecStart=", "\n");
    let mut words: Vec<String> = start.split(' ').map(str::to_owned).collect();
    let program = words.remove(0);
    // The settings file is made by whoever installs the unit.
    let config = words.iter().position(|word| word == "--config").unwrap();
    words.drain(config..config + 2);
    assert_arguments(&words);
    let variable = between(&unit, "Environment=", "\n").split_once('=');
    let (name, value) = variable.map(owned).unwrap();
    let credential = between(&unit, "LoadCredential=", ":");
    assert_eq!(value, format!("%d/{credential}"));
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join(credential);
    fs::write(&secret, "postgres://consolidator@localhost/app").unwrap();
    assert_environment(&[(name, secret.display().to_string())]);

    if answers(&["systemd-analyze", "--version"]) {
        let file = dir.path().join("consolidator.service");
        fs::write(&file, unit.replace(&program, BINARY)).unwrap();
        let file = file.display().to_string();
        assert_runs(&["systemd-analyze", "verify", "--man=no", &file]);
    }
}

#[test]
fn alerts_and_the_dashboard_use_metrics_that_exist() {
    let alerts = yaml(&read("deploy/prometheus/alerts.yml"));
    let dashboard = Value::from_str(&read("deploy/grafana/consolidator.json")).unwrap();
    let mut expressions = Vec::new();
    collect("expr", &alerts, &mut expressions);
    let of_alerts = expressions.len();
    collect("expr", &dashboard, &mut expressions);
    assert!(of_alerts > 5 && expressions.len() > of_alerts + 10);
    collect("query", &dashboard, &mut expressions);
    let (names, labels) = exposed();
    for expression in expressions {
        for (_, rest) in occurrences(&expression, NAMESPACE) {
            let rest: String = rest.chars().take_while(is_name).collect();
            let name = format!("{NAMESPACE}{rest}");
            assert!(names.contains(&name), "{name} in {expression}");
        }
        for (_, rest) in occurrences(&expression, " by (") {
            for label in rest.split(')').next().unwrap().split(", ") {
                let known = label == "le" || labels.contains(label);
                assert!(known, "{label} in {expression}");
            }
        }
    }
    if answers(&["promtool", "--version"]) {
        assert_runs(&["promtool", "check", "rules", "deploy/prometheus/alerts.yml"]);
    }
}

/// Names of all series, and of all labels.
fn exposed() -> (BTreeSet<String>, BTreeSet<String>) {
    let metrics = Metrics::new();
    let _projection = metrics.projection("p", &["t"]);
    metrics.stands_still("p", false, false);
    let _partition = metrics.partition("p", 1, "t", 0);
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for line in metrics
        .gather()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, pairs) = series.split_once('{').unwrap_or((series, ""));
        names.insert(name.to_owned());
        let pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
        labels.extend(pairs.map(|(label, _)| label.to_owned()));
    }
    (names, labels)
}

/// Every text under the key, however deep.
fn collect(key: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == key => found.push(text.clone()),
                    other => collect(key, other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(key, item, found)),
        _ => {}
    }
}

/// What stands before and after each place of `word`.
fn occurrences<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let places = text.match_indices(word);
    places.map(|(place, _)| (&text[..place], &text[place + word.len()..]))
}

fn is_name(c: &char) -> bool {
    c.is_ascii_alphanumeric() || *c == '_'
}

/// The program knows the command and its flags.
fn assert_arguments(arguments: &[String]) {
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push("--help");
    assert_program(root(), &arguments);
}

/// The program takes the variables as settings.
fn assert_environment(variables: &[(String, String)]) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.arg("config").current_dir(dir.path());
    command.envs(variables.iter().cloned());
    let output = command.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{variables:?}: {said}");
    for (name, _) in variables {
        assert!(shown.contains(name), "{name} has no effect:\n{shown}");
    }
}

fn assert_program(dir: &Path, arguments: &[&str]) {
    let output = run_command(dir, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// Whether the machine has the program.
fn answers(words: &[&str]) -> bool {
    let output = Command::new(words[0]).args(&words[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs the words in the repository.
fn assert_runs(words: &[&str]) {
    let mut command = Command::new(words[0]);
    let output = command.args(&words[1..]).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", words[0]));
    assert!(
        output.status.success(),
        "{words:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What stands after a line's beginning like `WORKDIR`; of the last stage, which is the one that runs.
fn dockerfile_value(beginning: &str) -> String {
    let text = read("deploy/Dockerfile");
    let value = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(beginning));
    let value = value.unwrap_or_else(|| panic!("no {beginning} in the Dockerfile"));
    value.trim().to_owned()
}

fn kubernetes(name: &str) -> Value {
    yaml(&read(&format!("deploy/kubernetes/{name}")))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(text: &str) -> Value {
    let file = config::File::from_str(text, config::FileFormat::Yaml);
    let read = config::Config::builder().add_source(file).build();
    read.unwrap().try_deserialize().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| text(item).to_owned()).collect()
}

/// The members of a map of texts.
fn variables(value: &Value) -> Vec<(String, String)> {
    let members = value.as_object().unwrap().iter();
    members
        .map(|(name, value)| (name.clone(), text(value).to_owned()))
        .collect()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no `{before}`"))
        .1;
    rest.split_once(after)
        .unwrap_or_else(|| panic!("no `{after}`"))
        .0
}

/// `1536Mi`, as Kubernetes writes it, or `1GiB`, as our settings do.
fn mebibytes(size: &str) -> u64 {
    let digits = size.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().unwrap();
    match &size[digits.len()..] {
        "Mi" | "MiB" => number,
        "Gi" | "GiB" => number * 1024,
        unit => panic!("no size: {unit}"),
    }
}
