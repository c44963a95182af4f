//! Random values of columns, and payloads with a member for most types, spelled in JSON's many ways.

use super::generate::Generator;
use super::values::{TYPES, json, json_string, text, value_text};

impl Generator {
    pub fn column_value(&mut self, ty: &str) -> Option<String> {
        if self.random.chance(10) {
            return None;
        }
        let stem = TYPES
            .iter()
            .find(|(_, t)| *t == ty)
            .map_or("t", |(name, _)| *name);
        let text = value_text(&mut self.random, stem);
        // The column cuts nothing.
        Some(if stem == "v" {
            text.chars().take(8).collect()
        } else {
            text
        })
    }

    /// A payload with a member for most types, spelled in JSON's many ways.
    pub fn payload(&mut self) -> String {
        let mut members = self.members();
        let inner = self.members().join(",");
        members.push(format!("\"o\" : {{{inner}}}"));
        let (first, last) = (self.members().join(","), self.members().join(" ,"));
        members.push(format!("\"list\":[{{{first}}} , {{{last}}}]"));
        format!("{{ {} }}", members.join(", "))
    }

    fn members(&mut self) -> Vec<String> {
        let mut members = Vec::new();
        for (stem, _) in TYPES {
            if self.random.chance(10) {
                continue;
            }
            // Of equal names the last counts.
            let times = 1 + usize::from(self.random.chance(4));
            for _ in 0..times {
                let value = self.member_value(stem);
                members.push(format!("\"{stem}\":{value}"));
            }
        }
        members
    }

    fn member_value(&mut self, stem: &str) -> String {
        let random = &mut self.random;
        if random.chance(4) {
            return json(random, 1);
        }
        if random.chance(3) {
            return "null".to_owned();
        }
        let value = value_text(random, stem);
        let number = matches!(stem, "s" | "i" | "l" | "n" | "m" | "r" | "d");
        match stem {
            "j" | "b" => value,
            "t" if random.chance(30) => json_string(random),
            "t" if random.chance(10) => json(random, 1),
            _ if number && is_json_number(&value) && random.chance(70) => value,
            "t" => as_json_string(&text(random)),
            _ => as_json_string(&value),
        }
    }
}

fn is_json_number(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_number())
}

fn as_json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}
