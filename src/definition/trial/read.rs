//! Events as people type them: as under `given` of a test, or a record's value as it is. Knows nothing of what they do.

use super::super::diagnostic::{Report, Severity};
use super::super::projection::Projection;
use super::super::source::{Source, Text};
use super::super::testing::read::{GIVEN_KEYS, given};
use super::super::testing::record::record;
use super::super::testing::{Given, OwnedRecord, Payload, check};
use super::super::yaml::{self, Kind, Node};

/// What an event has that does not say so itself.
#[derive(Debug, Default)]
pub struct Defaults {
    pub topic: Option<String>,
    pub partition: i32,
    pub key: Option<String>,
    pub event_type: Option<String>,
    pub time: Option<String>,
    pub headers: Vec<(String, String)>,
    /// The text is a record's value, whatever it looks like.
    pub raw: bool,
}

/// One event, a list of them, or one on each line. `what` names the text in messages.
pub fn read(
    projection: &Projection,
    what: &str,
    text: &str,
    defaults: &Defaults,
) -> Result<Vec<OwnedRecord>, String> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let object = |line: &str| line.starts_with('{') && line.ends_with('}');
    let pieces: Vec<&str> = match lines().count() > 1 && lines().all(object) {
        true => lines().collect(),
        false => vec![text.trim()],
    };
    let mut records = Vec::new();
    for piece in pieces {
        for mut given in givens(projection, what, piece, defaults)? {
            defaults.fill(&mut given);
            let topics = &projection.topics;
            if let Some(topic) = &given.topic
                && !topics.iter().any(|known| known.name == topic.text)
            {
                let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
                let (topic, names) = (&topic.text, names.join(", "));
                return Err(format!(
                    "{what}: the definition does not read the topic `{topic}`, but {names}"
                ));
            }
            records.push(record(projection, &given));
        }
    }
    Ok(records)
}

impl Defaults {
    fn fill(&self, given: &mut Given) {
        let text = |text: &String| Text::verbatim(text, 0);
        given.topic = given.topic.take().or(self.topic.as_ref().map(text));
        given.key = given.key.take().or_else(|| self.key.clone());
        let event_type = self.event_type.as_ref().map(text);
        given.event_type = given.event_type.take().or(event_type);
        given.time = given.time.take().or_else(|| self.time.clone());
        for (name, value) in &self.headers {
            if !given.headers.iter().any(|(known, _)| known == name) {
                given.headers.push((name.clone(), Some(value.clone())));
            }
        }
    }

    fn of_value(&self, value: &str) -> Given {
        let payload = match (&self.event_type, value) {
            (_, "null") => Payload::Value(None),
            (Some(_), _) if !self.raw => Payload::Data(value.to_owned()),
            _ => Payload::Value(Some(value.to_owned())),
        };
        Given {
            span: 0..0,
            line: 1,
            topic: None,
            partition: self.partition,
            key: None,
            event_type: None,
            id: None,
            subject: None,
            source: None,
            time: None,
            version: None,
            headers: Vec::new(),
            payload,
        }
    }
}

fn givens(
    projection: &Projection,
    what: &str,
    text: &str,
    defaults: &Defaults,
) -> Result<Vec<Given>, String> {
    if defaults.raw {
        return Ok(vec![defaults.of_value(text)]);
    }
    let mut report = Report::new(Source::new(what, text));
    // What is no YAML may be JSON all the same.
    let Some(root) = yaml::parse(&mut report).filter(|_| !report.has_errors()) else {
        return Ok(vec![defaults.of_value(text)]);
    };
    let nodes = match &root.kind {
        Kind::List(nodes) => nodes.as_slice(),
        Kind::Map(entries) if entries.iter().all(is_given_key) => std::slice::from_ref(&root),
        _ => return Ok(vec![defaults.of_value(text)]),
    };
    let one = |report: &mut Report<'_>, node: &Node| {
        let mut one = given(report, node, &node.span)?;
        if one.partition == 0 {
            one.partition = defaults.partition;
        }
        if defaults.event_type.is_none() {
            let names: Vec<&str> = projection.topics.iter().map(|t| t.name.as_str()).collect();
            check::given(report, projection, &names, &one);
        }
        Some(one)
    };
    let givens = nodes.iter().filter_map(|node| one(&mut report, node));
    let givens: Vec<Given> = givens.collect();
    let problems = report.finish();
    match problems.iter().find(|p| p.severity == Severity::Error) {
        None => Ok(givens),
        Some(problem) => {
            let hint = problem.hint.as_ref();
            let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
            Err(format!("{what}: {}{hint}", problem.message))
        }
    }
}

fn is_given_key(entry: &yaml::Entry) -> bool {
    GIVEN_KEYS.contains(&entry.key.text.as_str())
}
