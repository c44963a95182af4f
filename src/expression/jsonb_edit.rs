//! Operators that give a changed jsonb: `||`, `-`, `#-`, `jsonb_set`, `jsonb_insert`.

use bumpalo::Bump;

use super::error::EvalError;
use super::jsonb_access::array_index;
use super::jsonb_build::write_object;
use super::jsonb_walk::{Kind, elements, kind, members, string_text};
use super::value::Value;

/// `left || right`: objects merge, anything else is joined into an array.
pub fn concat<'a>(left: &str, right: &str, arena: &'a Bump) -> &'a str {
    let mut out = String::with_capacity(left.len() + right.len() + 2);
    match (kind(left), kind(right)) {
        (Kind::Object, Kind::Object) => {
            write_object(pairs(left).chain(pairs(right)).collect(), &mut out);
        }
        _ => write_elements(&[items(left), items(right)].concat(), &mut out),
    }
    arena.alloc_str(&out)
}

/// An array's elements, or the value as the only one.
fn items(json: &str) -> Vec<&str> {
    match kind(json) {
        Kind::Array => elements(json).collect(),
        _ => vec![json],
    }
}

fn pairs(json: &str) -> impl Iterator<Item = (String, String)> {
    members(json).map(|(name, value)| (plain_name(name), value.to_owned()))
}

/// A member's name unescaped.
fn plain_name(name: &str) -> String {
    super::jsonb::unescape(name).unwrap_or_else(|| name.to_owned())
}

fn write_elements(items: &[&str], out: &mut String) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        out.push_str(item);
    }
    out.push(']');
}

fn delete_from_scalar() -> EvalError {
    EvalError::new("22023", "cannot delete from scalar")
}

/// `json - key`: the member, or all elements that are this string.
pub fn delete_key<'a>(json: &str, key: &str, arena: &'a Bump) -> Result<&'a str, EvalError> {
    delete_keys(json, &[Value::Text(key)], arena)
}

/// `json - keys`; nulls among the keys delete nothing.
pub fn delete_keys<'a>(
    json: &str,
    keys: &[Value<'_>],
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    let wanted = |text: &str| {
        keys.iter()
            .any(|key| matches!(key, Value::Text(key) if *key == text))
    };
    let mut out = String::with_capacity(json.len());
    match kind(json) {
        Kind::Object => {
            write_object(
                pairs(json).filter(|(name, _)| !wanted(name)).collect(),
                &mut out,
            );
        }
        Kind::Array => {
            let kept: Vec<&str> = elements(json)
                .filter(|item| kind(item) != Kind::String || !wanted(&string_text(item)))
                .collect();
            write_elements(&kept, &mut out);
        }
        _ => return Err(delete_from_scalar()),
    }
    Ok(arena.alloc_str(&out))
}

/// `json - index`; a negative index counts from the end.
pub fn delete_index<'a>(json: &str, index: i32, arena: &'a Bump) -> Result<&'a str, EvalError> {
    match kind(json) {
        Kind::Array => {}
        Kind::Object => {
            return Err(EvalError::new(
                "22023",
                "cannot delete from object using integer index",
            ));
        }
        _ => return Err(delete_from_scalar()),
    }
    let mut kept: Vec<&str> = elements(json).collect();
    let index = i64::from(index);
    let at = if index < 0 {
        index + kept.len() as i64
    } else {
        index
    };
    if (0..kept.len() as i64).contains(&at) {
        kept.remove(at as usize);
    }
    let mut out = String::with_capacity(json.len());
    write_elements(&kept, &mut out);
    Ok(arena.alloc_str(&out))
}

/// `json #- path`.
pub fn delete_path<'a>(
    json: &'a str,
    path: &[Value<'_>],
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    if kind(json) < Kind::Array {
        return Err(EvalError::new("22023", "cannot delete path in scalar"));
    }
    if path.is_empty() || matches!(json, "{}" | "[]") {
        return Ok(json);
    }
    let mut out = String::with_capacity(json.len());
    Edit {
        path,
        value: None,
        mode: Mode::Replace,
    }
    .write(json, 0, &mut out)?;
    Ok(arena.alloc_str(&out))
}

/// `jsonb_set(target, path, value, create_if_missing)`.
pub fn set<'a>(
    target: &'a str,
    path: &[Value<'_>],
    value: &str,
    create: bool,
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    if kind(target) < Kind::Array {
        return Err(EvalError::new("22023", "cannot set path in scalar"));
    }
    if path.is_empty() || (matches!(target, "{}" | "[]") && !create) {
        return Ok(target);
    }
    let mut out = String::with_capacity(target.len() + value.len());
    Edit {
        path,
        value: Some(value),
        mode: if create { Mode::Create } else { Mode::Replace },
    }
    .write(target, 0, &mut out)?;
    Ok(arena.alloc_str(&out))
}

/// `jsonb_insert(target, path, value, insert_after)`.
pub fn insert<'a>(
    target: &'a str,
    path: &[Value<'_>],
    value: &str,
    after: bool,
    arena: &'a Bump,
) -> Result<&'a str, EvalError> {
    if kind(target) < Kind::Array {
        return Err(EvalError::new("22023", "cannot set path in scalar"));
    }
    if path.is_empty() {
        return Ok(target);
    }
    let mut out = String::with_capacity(target.len() + value.len());
    Edit {
        path,
        value: Some(value),
        mode: if after { Mode::After } else { Mode::Before },
    }
    .write(target, 0, &mut out)?;
    Ok(arena.alloc_str(&out))
}

/// PostgreSQL's `setPath`.
struct Edit<'e> {
    path: &'e [Value<'e>],
    /// `None` deletes.
    value: Option<&'e str>,
    mode: Mode,
}

/// What happens at the end of the path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// What stands there is replaced or goes.
    Replace,
    /// As `Replace`; what is missing is created.
    Create,
    /// The value comes before the element there, or after it.
    Before,
    After,
}

impl Edit<'_> {
    /// `json` changed below the given number of steps of the path.
    fn write(&self, json: &str, level: usize, out: &mut String) -> Result<(), EvalError> {
        let Some(Value::Text(step)) = self.path.get(level) else {
            return Err(EvalError::new(
                "22004",
                format!("path element at position {} is null", level + 1),
            ));
        };
        match kind(json) {
            Kind::Object => self.write_object(json, step, level, out),
            Kind::Array => self.write_array(json, step, level, out),
            // There is nothing below a scalar; it stays.
            _ => {
                out.push_str(json);
                Ok(())
            }
        }
    }

    fn inserts(&self) -> bool {
        matches!(self.mode, Mode::Before | Mode::After)
    }

    fn is_last(&self, level: usize) -> bool {
        level + 1 == self.path.len()
    }

    /// What takes the place of the value that the step leads to; `None` if it goes.
    fn replaced(&self, old: &str, level: usize) -> Result<Option<String>, EvalError> {
        if self.is_last(level) {
            return Ok(self.value.map(str::to_owned));
        }
        let mut inner = String::new();
        self.write(old, level + 1, &mut inner)?;
        Ok(Some(inner))
    }

    fn write_object(
        &self,
        json: &str,
        step: &str,
        level: usize,
        out: &mut String,
    ) -> Result<(), EvalError> {
        let mut changed = Vec::new();
        let mut found = false;
        for (name, value) in pairs(json) {
            if name != step {
                changed.push((name, value));
                continue;
            }
            found = true;
            if self.inserts() && self.is_last(level) {
                return Err(EvalError::new("22023", "cannot replace existing key"));
            }
            if let Some(value) = self.replaced(&value, level)? {
                changed.push((name, value));
            }
        }
        if let Some(value) = self.value
            && !found
            && self.mode != Mode::Replace
            && self.is_last(level)
        {
            changed.push((step.to_owned(), value.to_owned()));
        }
        write_object(changed, out);
        Ok(())
    }

    fn write_array(
        &self,
        json: &str,
        step: &str,
        level: usize,
        out: &mut String,
    ) -> Result<(), EvalError> {
        let index = array_index(step).ok_or_else(|| {
            EvalError::new(
                "22P02",
                format!(
                    "path element at position {} is not an integer: \"{step}\"",
                    level + 1
                ),
            )
        })?;
        let old: Vec<&str> = elements(json).collect();
        let index = i64::from(index);
        let at = if index < 0 {
            index + old.len() as i64
        } else {
            index
        };
        let mut changed: Vec<String> = Vec::with_capacity(old.len() + 1);
        let new_element = self
            .value
            .filter(|_| self.mode != Mode::Replace && self.is_last(level));
        if let Some(value) = new_element
            && at < 0
        {
            changed.push(value.to_owned());
        }
        for (position, item) in old.iter().enumerate() {
            if position as i64 == at && self.is_last(level) && self.inserts() {
                let value = self.value.unwrap_or_default().to_owned();
                let pair = [value, (*item).to_owned()];
                changed.extend(pair);
                if self.mode == Mode::After {
                    let last = changed.len() - 1;
                    changed.swap(last - 1, last);
                }
            } else if position as i64 == at {
                changed.extend(self.replaced(item, level)?);
            } else {
                changed.push((*item).to_owned());
            }
        }
        if let Some(value) = new_element
            && at >= old.len() as i64
        {
            changed.push(value.to_owned());
        }
        let items: Vec<&str> = changed.iter().map(String::as_str).collect();
        write_elements(&items, out);
        Ok(())
    }
}
