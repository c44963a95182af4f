//! Topics and their envelopes. Knows nothing of tables.

use crate::definition::check::compile::Compiler;
use crate::definition::check::{declared, not_supported_yet, one_of};
use crate::definition::diagnostic::Report;
use crate::definition::file::{EnvelopeFile, TopicFile};
use crate::definition::projection::{Envelope, EnvelopeField, EnvelopeMapping, Format, Topic};
use crate::definition::source::Text;
use crate::event::Path;

/// Kafka's own limit.
const TOPIC_LEN_MAX: usize = 249;

pub fn topics(report: &mut Report<'_>, compiler: &mut Compiler, files: &[TopicFile]) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for file in files {
        check_name(report, &file.name);
        if topics.iter().any(|topic| topic.name == file.name.text) {
            let message = format!("the topic `{}` stands here a second time", file.name.text);
            report.error(file.name.span.clone(), "duplicate-name", message);
            continue;
        }
        declared::check_types(report, &file.events);
        check_format(report, file.format.as_ref());
        topics.push(Topic {
            name: file.name.text.clone(),
            format: Format::Json,
            envelope: envelope(report, compiler, file.envelope.as_ref()).unwrap_or(Envelope::Plain),
            ignore: file.ignore.iter().map(|text| text.text.clone()).collect(),
        });
    }
    topics
}

fn check_name(report: &mut Report<'_>, name: &Text) {
    let text = name.as_str();
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.len() > TOPIC_LEN_MAX || text == "." || text == ".." || !text.bytes().all(known) {
        report
            .error(
                name.span.clone(),
                "bad-name",
                format!("`{text}` is no name for a topic"),
            )
            .hint(format!(
                "Kafka allows letters, digits, `.`, `_` and `-`, at most {TOPIC_LEN_MAX}"
            ));
    }
}

fn check_format(report: &mut Report<'_>, format: Option<&Text>) {
    let Some(text) = format else { return };
    if one_of(
        report,
        text,
        "format",
        &[("json", true), ("avro", false), ("protobuf", false)],
    ) == Some(false)
    {
        not_supported_yet(
            report,
            text.span.clone(),
            &format!("the format {}", text.text),
        );
    }
}

fn envelope(
    report: &mut Report<'_>,
    compiler: &mut Compiler,
    file: Option<&EnvelopeFile>,
) -> Option<Envelope> {
    const WORDS: &[(&str, Option<bool>)] = &[
        ("plain", Some(true)),
        ("none", Some(false)),
        ("cloudevents", None),
        ("debezium", None),
    ];
    match file? {
        EnvelopeFile::Word(text) => match one_of(report, text, "envelope", WORDS)? {
            Some(true) => Some(Envelope::Plain),
            Some(false) => Some(Envelope::None),
            None => {
                not_supported_yet(
                    report,
                    text.span.clone(),
                    &format!("the envelope {}", text.text),
                );
                None
            }
        },
        EnvelopeFile::Mapping(parts) => {
            let mut mapping = EnvelopeMapping::default();
            for (part, place) in parts {
                let Some(field) = field(report, compiler, place) else {
                    continue;
                };
                match part.as_str() {
                    "type" => mapping.event_type = Some(field),
                    "id" => mapping.id = Some(field),
                    "subject" => mapping.subject = Some(field),
                    "source" => mapping.source = Some(field),
                    "time" => mapping.time = Some(field),
                    "version" => mapping.version = Some(field),
                    _ => match field {
                        EnvelopeField::Member(path) => mapping.data = Some(path),
                        EnvelopeField::Header(_) => {
                            report.error(
                                place.span.clone(),
                                "wrong-value",
                                "data cannot come from a header",
                            );
                        }
                    },
                }
            }
            Some(Envelope::Mapping(mapping))
        }
    }
}

/// `body.<path>`: a member of the record's value; `headers.<name>`: a header.
fn field(report: &mut Report<'_>, compiler: &mut Compiler, place: &Text) -> Option<EnvelopeField> {
    let parts = path(place.as_str());
    let field = parts
        .as_ref()
        .and_then(|parts| match (parts[0].as_str(), &parts[1..]) {
            ("body", path) => Some(EnvelopeField::Member(Path(path.to_vec()))),
            ("headers", [name]) => Some(EnvelopeField::Header(compiler.header_slot(name))),
            _ => None,
        });
    if field.is_none() {
        report
            .error(
                place.span.clone(),
                "wrong-value",
                format!("`{}` is no place in a record", place.text),
            )
            .hint(match parts {
                Some(parts) if !["body", "headers"].contains(&parts[0].as_str()) => format!(
                    "the record's value is `body`: `body.{place}`; a header is `headers.{place}`",
                    place = place.text
                ),
                _ => {
                    "a place is `body.<path>` in the record's value, or `headers.<name>`".to_owned()
                }
            });
    }
    field
}

/// `a.b[0]."x-y"` as its names; `None` if it is no path.
fn path(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            parts.push(quoted[..end].to_owned());
            rest = &quoted[end + 1..];
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            parts.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        while let Some(subscript) = rest.strip_prefix('[') {
            let (number, behind) = subscript.split_once(']')?;
            parts.push(number.parse::<u32>().ok()?.to_string());
            rest = behind;
        }
        if rest.is_empty() {
            return Some(parts);
        }
        rest = rest.strip_prefix('.')?;
    }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths_may_quote_and_subscript() {
        assert_eq!(
            path("body.items[0].\"x-y\"").unwrap(),
            ["body", "items", "0", "x-y"]
        );
        for bad in ["", "a.", ".a", "a b", "a[x]", "a[0", "a\"b\""] {
            assert!(path(bad).is_none(), "{bad}");
        }
    }
}
