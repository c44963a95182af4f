//! The JSON Schema of a definition file, for editors: made of types that say what `read` takes, with descriptions. The types
//! hold no data.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

/// The schema as one JSON document (draft 2020-12).
pub fn schema() -> Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut schema = generator.into_root_schema_for::<Definition>().to_value();
    if let Some(root) = schema.as_object_mut() {
        let title = "A projection: topics, tables, and what each event does to a row";
        root.insert("title".to_owned(), title.into());
    }
    schema
}

/// One or a list of it.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "types for the schema alone")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// An expression of PostgreSQL, taken by its source text: `true` and `0` are SQL, not YAML.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Expression")]
#[expect(dead_code, reason = "types for the schema alone")]
enum Expression {
    Text(String),
    Number(f64),
    Bool(bool),
}

/// A name: a-z, 0-9 and _, at most 50 characters, no reserved word of SQL.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Name(#[schemars(regex(pattern = "^[a-z_][a-z0-9_]{0,49}$"))] String);

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Definition {
    /// The projection's name.
    #[schemars(extend("examples" = ["inventory"]))]
    projection: Name,
    /// For people.
    description: Option<String>,
    /// The topics that are read: a name, a map about a topic, or a list of these.
    from: OneOrMany<TopicEntry>,
    /// Name → table.
    tables: BTreeMap<String, Table>,
    /// Name → a query over this projection's tables; it is created with every generation and switched with it.
    views: Option<BTreeMap<String, ViewEntry>>,
    /// What becomes of an event that cannot be applied (default `dead_letter`).
    on_error: Option<OnError>,
    /// An id that was seen in the same topic and partition within this time is skipped.
    deduplicate: Option<Deduplicate>,
    /// Given events, and the rows that must come of them.
    tests: Option<Vec<Test>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "types for the schema alone")]
enum OnError {
    Stop,
    Skip,
    DeadLetter,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Deduplicate {
    /// Usually `event.id`.
    by: Expression,
    /// A length of time.
    #[schemars(extend("examples" = ["7 days"]))]
    keep: String,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "types for the schema alone")]
enum TopicEntry {
    Name(String),
    Topic(Box<Topic>),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Topic {
    /// The topic's name.
    topic: String,
    /// How values are encoded (default `json`).
    format: Option<Format>,
    /// Where the parts of an event stand in a record (default `plain`).
    envelope: Option<EnvelopeEntry>,
    /// Event types that are known and need no rule.
    ignore: Option<OneOrMany<String>>,
    /// Event type → the members of its `data` and their types; `?` behind a type: may be missing.
    #[schemars(extend("examples" = [{ "Sold": { "units": "int", "note": "text?" } }]))]
    events: Option<BTreeMap<String, BTreeMap<String, Member>>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "types for the schema alone")]
enum Format {
    Json,
    Avro,
    Protobuf,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "types for the schema alone")]
enum EnvelopeEntry {
    Word(EnvelopeWord),
    Mapping(EnvelopeMapping),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "types for the schema alone")]
enum EnvelopeWord {
    /// `type`, `id`, `time`, `data` … at the top of a JSON object.
    Plain,
    /// The whole value is the data, the event's type is `record`.
    None,
    Cloudevents,
    Debezium,
}

/// Places in a record: `body.<path>` or `headers.<name>`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct EnvelopeMapping {
    /// Where the event's type stands; without it the type is `record`.
    #[schemars(extend("examples" = ["body.meta.eventType"]))]
    r#type: Option<String>,
    id: Option<String>,
    subject: Option<String>,
    source: Option<String>,
    time: Option<String>,
    version: Option<String>,
    /// Without it the whole value is the data.
    data: Option<String>,
}

/// A type, a map for an object, a list of one for an array.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "types for the schema alone")]
enum Member {
    Type(String),
    Object(BTreeMap<String, Member>),
    Array(Vec<Member>),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Table {
    /// Becomes the table's comment in Postgres.
    comment: Option<String>,
    /// Key columns: name → type, then `=` and the expression that gives it; a single one is `event.key` by default.
    #[schemars(extend("examples" = [{ "sku": "text = event.key" }]))]
    key: BTreeMap<String, ColumnEntry>,
    /// The other columns, as in PostgreSQL: type, `not null`, `default <constant>`.
    #[schemars(extend("examples" = [{ "unit_count": "bigint not null default 0" }]))]
    columns: Option<BTreeMap<String, ColumnEntry>>,
    /// Event type, several (`Placed, Changed`) or `"*"` → a rule or a list of rules. All that match apply, in the file's order.
    rules: BTreeMap<String, OneOrMany<Rule>>,
    /// Built after a bulk load.
    indexes: Option<Vec<Index>>,
    /// Keep every state that a row has had in `<table>_history`.
    history: Option<bool>,
    /// An event whose version is not above the last one applied to the row is skipped.
    version: Option<Expression>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "types for the schema alone")]
enum ColumnEntry {
    Definition(String),
    Commented(Column),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Column {
    /// As the short form: type, `not null`, `default <constant>`.
    r#type: String,
    /// Becomes the column's comment in Postgres.
    comment: Option<String>,
}

/// What an event does to a row.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Rule {
    /// Only for events of that topic.
    topic: Option<String>,
    /// The rule is skipped unless this is true.
    when: Option<Expression>,
    /// Which row: expressions for key columns in place of the table's. Only the first columns, `event.key` among them: every row
    /// that has them.
    key: Option<Assignments>,
    /// A JSON array: the rule runs once per element, as `item`, with `index` from 0.
    each: Option<Expression>,
    /// `column = expression, …`, or a map. Every right side sees the row as it was before this rule.
    #[schemars(extend("examples" = ["unit_count = unit_count + data.units"]))]
    set: Option<Assignments>,
    /// The row is removed.
    delete: Option<bool>,
    /// When there is no row (default `create`; `skip` for `delete` and for rules on a prefix).
    if_missing: Option<IfMissing>,
    /// As `version` of the table, for this rule's columns.
    version: Option<Expression>,
    /// Name → a row of another table, as it was before the event; its columns are read as `name.column`.
    #[schemars(extend("examples" = [{ "product": { "table": "products", "key": { "sku": "data.sku" } } }]))]
    lookup: Option<BTreeMap<String, Lookup>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "types for the schema alone")]
enum IfMissing {
    Create,
    Skip,
    Fail,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "types for the schema alone")]
enum Assignments {
    Sql(String),
    Map(BTreeMap<String, Expression>),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Lookup {
    /// Another table of this projection.
    table: String,
    /// Its key, from the event alone; columns that are not named come from the table's own `key:`.
    key: Option<Assignments>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Index {
    columns: OneOrMany<String>,
    /// Only rows that meet this.
    r#where: Option<Expression>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "types for the schema alone")]
enum ViewEntry {
    Sql(String),
    Commented(View),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct View {
    /// A query over this projection's own tables; it may use `now()`.
    sql: String,
    comment: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Test {
    name: Option<String>,
    /// Events, folded one after the other.
    given: Vec<Given>,
    /// Table → all rows that it must have, in any order; columns that are not named are not compared.
    then: Option<BTreeMap<String, Vec<BTreeMap<String, Value>>>>,
    /// Which given events must fail, counted from 1.
    fails: Option<OneOrMany<u32>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "types for the schema alone")]
struct Given {
    /// Default: the first topic of the definition.
    topic: Option<String>,
    partition: Option<u32>,
    /// The record's key.
    key: Option<Expression>,
    r#type: Option<Expression>,
    id: Option<Expression>,
    subject: Option<Expression>,
    source: Option<Expression>,
    time: Option<Expression>,
    version: Option<Expression>,
    headers: Option<BTreeMap<String, Value>>,
    data: Option<Value>,
    /// The record's value byte for byte, in place of `data`; null is a tombstone.
    value: Option<Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::schema;
    use crate::definition::diagnostic::Report;
    use crate::definition::source::Source;
    use crate::definition::{read, testing, yaml};

    /// Just so much of JSON Schema as the schema has.
    fn mistakes(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let Value::Object(schema) = schema else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (word, rule) in schema {
            match word.as_str() {
                "$ref" => {
                    let path = rule.as_str().unwrap().trim_start_matches('#');
                    let target = root.pointer(path).expect("a definition of the schema");
                    found.extend(mistakes(root, target, value, place));
                }
                "anyOf" | "oneOf" => {
                    let of = |option| mistakes(root, option, value, place);
                    let all: Vec<Vec<String>> = rule.as_array().unwrap().iter().map(of).collect();
                    if all.iter().all(|mistakes| !mistakes.is_empty()) {
                        found.push(format!("{place}: none of {all:?}"));
                    }
                }
                "type" if !has_type(rule, value) => found.push(format!("{place}: not {rule}")),
                "enum" if !rule.as_array().unwrap().contains(value) => {
                    found.push(format!("{place}: not one of {rule}"));
                }
                "const" if rule != value => found.push(format!("{place}: not {rule}")),
                "pattern" => {
                    let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
                    if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                        found.push(format!("{place}: does not match {rule}"));
                    }
                }
                "required" => {
                    let missing = |key: &&Value| value.get(key.as_str().unwrap()).is_none();
                    let keys = rule.as_array().unwrap();
                    let missing = keys.iter().filter(|key| value.is_object() && missing(key));
                    found.extend(missing.map(|key| format!("{place}: {key} is missing")));
                }
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        found.extend(mistakes(root, rule, item, &format!("{place}[{n}]")));
                    }
                }
                _ => {}
            }
        }
        if let Value::Object(entries) = value {
            found.extend(wrong_entries(root, schema, entries, place));
        }
        found
    }

    fn wrong_entries(
        root: &Value,
        schema: &Map<String, Value>,
        entries: &Map<String, Value>,
        place: &str,
    ) -> Vec<String> {
        let mut found = Vec::new();
        for (key, value) in entries {
            let place = format!("{place}.{key}");
            let known = schema.get("properties").and_then(|known| known.get(key));
            match known.or(schema.get("additionalProperties")) {
                Some(Value::Bool(false)) => found.push(format!("{place}: unknown")),
                Some(of) => found.extend(mistakes(root, of, value, &place)),
                None => {}
            }
        }
        found
    }

    fn has_type(rule: &Value, value: &Value) -> bool {
        let is = |name: &Value| match name.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            other => panic!("an unknown type {other}"),
        };
        match rule {
            Value::Array(names) => names.iter().any(is),
            name => is(name),
        }
    }

    fn as_json(text: &str) -> Value {
        let mut report = Report::new(Source::new("test.yaml", text));
        let root = yaml::parse(&mut report).expect("YAML");
        serde_json::from_str(&testing::read::json(&root)).unwrap()
    }

    fn samples() -> Vec<&'static str> {
        let manual = include_str!("../../docs/definitions.md");
        let blocks = manual.split("```yaml definition\n").skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap());
        let files = [
            include_str!("../../projections/inventory.yaml"),
            include_str!("../../projections/shop.yaml"),
            include_str!("../../tests/definitions/fine.yaml"),
        ];
        blocks.chain(files).collect()
    }

    #[test]
    fn every_sample_and_documented_definition_is_as_the_schema_says() {
        let schema = schema();
        assert!(samples().len() > 5);
        for sample in samples() {
            let found = mistakes(&schema, &schema, &as_json(sample), "");
            assert!(found.is_empty(), "{found:#?} in\n{sample}");
        }
    }

    #[test]
    fn what_lint_refuses_the_schema_refuses_too() {
        let schema = schema();
        let sample = as_json(include_str!("../../projections/inventory.yaml"));
        let wrong: [(&str, Value); 6] = [
            ("/projection", json!("Inventory-EU")),
            ("/tabels", json!({})),
            ("/tables/inventory/rules/Sold/sett", json!("a = 1")),
            ("/tables/inventory/rules/Sold/if_missing", json!("ignore")),
            ("/tables/inventory/colums", json!({})),
            ("/on_error", json!("retry")),
        ];
        for (path, value) in wrong {
            let mut changed = sample.clone();
            let (parent, key) = path.rsplit_once('/').unwrap();
            let parent = changed.pointer_mut(parent).unwrap();
            parent
                .as_object_mut()
                .unwrap()
                .insert(key.to_owned(), value);
            assert!(
                !mistakes(&schema, &schema, &changed, "").is_empty(),
                "{path}"
            );
        }
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        let schema = schema();
        let keys = |place: &str| -> Vec<String> {
            let properties = schema.pointer(place).and_then(|of| of.get("properties"));
            let properties = properties.and_then(Value::as_object);
            let mut keys: Vec<String> = properties.expect(place).keys().cloned().collect();
            keys.sort();
            keys
        };
        let lists = [
            ("", read::PROJECTION_KEYS),
            ("/$defs/Topic", read::TOPIC_KEYS),
            ("/$defs/Table", read::TABLE_KEYS),
            ("/$defs/Rule", read::RULE_KEYS),
            ("/$defs/Test", testing::read::TEST_KEYS),
            ("/$defs/Given", testing::read::GIVEN_KEYS),
        ];
        for (place, known) in lists {
            let mut known = known.to_vec();
            known.sort_unstable();
            assert_eq!(keys(place), known, "{place}");
        }
    }
}
