//! Runs compiled expressions. Registers are reused from call to call; nothing is allocated but results in the arena.
//! Knows nothing of names, types and syntax.

use super::cast;
use super::cell::Cell;
use super::compare::compare;
use super::error::EvalError;
use super::member;
use super::program::{Env, Load, Op, Program};
use super::typed::{EventField, Native};
use super::value::Value;

/// Registers that stand on the stack.
const FEW: usize = 4;

/// The registers, kept between evaluations. One per lane.
#[derive(Debug, Default)]
pub struct Machine {
    registers: Vec<Value<'static>>,
    /// Of a machine that tells: what it has evaluated.
    log: Option<Vec<Evaluation>>,
}

/// One expression's value.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// [`Program::id`].
    pub program: usize,
    pub result: Result<Cell, EvalError>,
    /// The expression with what it read, as PostgreSQL takes it; none where a name is read as two types.
    pub sql: Option<String>,
}

impl Machine {
    pub fn new() -> Machine {
        Machine::default()
    }

    /// A machine that notes every evaluation.
    pub fn telling() -> Machine {
        Machine {
            registers: Vec::new(),
            log: Some(Vec::new()),
        }
    }

    #[inline]
    pub fn is_telling(&self) -> bool {
        self.log.is_some()
    }

    /// How many evaluations are noted.
    pub fn noted(&self) -> usize {
        self.log.as_ref().map_or(0, Vec::len)
    }

    /// What was noted since the last time.
    pub fn take_noted(&mut self) -> Vec<Evaluation> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    #[cold]
    fn note(&mut self, program: &Program, env: &Env<'_>, result: Result<Value<'_>, EvalError>) {
        if let Some(log) = &mut self.log {
            log.push(Evaluation {
                program: program.id(),
                result: result.map(Cell::from_value),
                sql: program.substituted(env),
            });
        }
    }
}

/// Gives an empty vector another lifetime and keeps its buffer: collecting in place reuses it.
fn recycle<'b>(mut registers: Vec<Value<'_>>) -> Vec<Value<'b>> {
    registers.clear();
    registers.into_iter().map(|_| Value::Null).collect()
}

pub(super) fn run<'a>(
    program: &'a Program,
    env: &Env<'a>,
    machine: &mut Machine,
) -> Result<Value<'a>, EvalError> {
    let result = match program.ops[..] {
        // Most right sides are a member as it stands.
        [Op::Load { load, .. }] => read(load, program, env),
        _ if program.registers <= FEW => {
            let mut registers = [Value::Null; FEW];
            steps(program, env, &mut registers).map(|()| registers[0])
        }
        _ => {
            let mut registers = recycle(std::mem::take(&mut machine.registers));
            registers.resize(program.registers, Value::Null);
            let outcome = steps(program, env, &mut registers);
            let result = registers[0];
            machine.registers = recycle(registers);
            outcome.map(|()| result)
        }
    };
    if machine.log.is_some() {
        machine.note(program, env, result.clone());
    }
    result
}

#[inline]
fn read<'a>(load: Load, program: &'a Program, env: &Env<'a>) -> Result<Value<'a>, EvalError> {
    Ok(match load {
        Load::Constant { constant } => program.constants[usize::from(constant)].value(),
        Load::Column { column } => env.row[usize::from(column)].value(),
        Load::Old { column } => env.old[usize::from(column)].value(),
        Load::Lookup { lookup, column } => {
            let found = env.lookups[usize::from(lookup)];
            found.map_or(Value::Null, |row| row[usize::from(column)].value())
        }
        Load::Event { field } => event_field(field, env),
        Load::Header { slot } => text(env.event.headers[usize::from(slot)]),
        Load::Index => Value::Int64(env.index),
        Load::Member {
            slot,
            item,
            scalar,
            array,
        } => {
            let members = if item { env.item } else { env.event.members };
            return member::value(members[usize::from(slot)], scalar, array, env.arena);
        }
        Load::AddColumnMember {
            column,
            slot,
            subtract,
        } => {
            let left = env.row[usize::from(column)].value();
            let right = member::bigint(env.event.members[usize::from(slot)], env.arena)?;
            let operation = if subtract {
                i64::checked_sub
            } else {
                i64::checked_add
            };
            return bigint(left, right, operation);
        }
    })
}

fn steps<'a>(program: &'a Program, env: &Env<'a>, r: &mut [Value<'a>]) -> Result<(), EvalError> {
    let mut next = 0;
    while let Some(op) = program.ops.get(next) {
        next += 1;
        match *op {
            Op::Branch { branch } => {
                let taken = &program.branches[usize::from(branch)].taken;
                taken.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            Op::Load { load, to } => r[usize::from(to)] = read(load, program, env)?,
            Op::Copy { from, to } => r[usize::from(to)] = r[usize::from(from)],
            Op::Cast { cast, at } => {
                let to = &program.casts[usize::from(cast)];
                let at = usize::from(at);
                r[at] = cast::cast(r[at], &to.ty, to.explicit, env.arena)?;
            }
            Op::CallStrict { native, at, count } => {
                let at = usize::from(at);
                let arguments = &r[at..at + usize::from(count)];
                let has_null = arguments.iter().any(|v| matches!(v, Value::Null));
                let value = if has_null {
                    Value::Null
                } else {
                    native(arguments, env.arena)?
                };
                r[at] = value;
            }
            Op::Call { native, at, count } => {
                let at = usize::from(at);
                let value = native(&r[at..at + usize::from(count)], env.arena)?;
                r[at] = value;
            }
            Op::AddBigInt { at } => {
                let at = usize::from(at);
                r[at] = bigint(r[at], r[at + 1], i64::checked_add)?;
            }
            Op::SubtractBigInt { at } => {
                let at = usize::from(at);
                r[at] = bigint(r[at], r[at + 1], i64::checked_sub)?;
            }
            Op::AddNumeric { at, subtract } => {
                let at = usize::from(at);
                r[at] = match (r[at], r[at + 1]) {
                    (Value::Numeric(a), Value::Numeric(b)) if subtract => {
                        Value::Numeric(a.subtract(b, env.arena)?)
                    }
                    (Value::Numeric(a), Value::Numeric(b)) => Value::Numeric(a.add(b, env.arena)?),
                    _ => Value::Null,
                };
            }
            Op::Fit {
                at,
                precision,
                scale,
            } => {
                let at = usize::from(at);
                if let Value::Numeric(number) = r[at] {
                    r[at] = Value::Numeric(number.fit(precision, scale, env.arena)?);
                }
            }
            Op::Not { at } => {
                let at = usize::from(at);
                if let Value::Bool(value) = r[at] {
                    r[at] = Value::Bool(!value);
                }
            }
            Op::And { at } => {
                let at = usize::from(at);
                r[at] = match (r[at], r[at + 1]) {
                    (Value::Bool(false), _) | (_, Value::Bool(false)) => Value::Bool(false),
                    (Value::Null, _) | (_, Value::Null) => Value::Null,
                    _ => Value::Bool(true),
                };
            }
            Op::Or { at } => {
                let at = usize::from(at);
                r[at] = match (r[at], r[at + 1]) {
                    (Value::Bool(true), _) | (_, Value::Bool(true)) => Value::Bool(true),
                    (Value::Null, _) | (_, Value::Null) => Value::Null,
                    _ => Value::Bool(false),
                };
            }
            Op::IsNull { at, negated } => {
                let at = usize::from(at);
                let is_null = matches!(r[at], Value::Null);
                r[at] = Value::Bool(is_null != negated);
            }
            Op::IsBool { at, value, negated } => {
                let at = usize::from(at);
                let is = match r[at] {
                    Value::Bool(b) => value == Some(b),
                    _ => value.is_none(),
                };
                r[at] = Value::Bool(is != negated);
            }
            Op::Distinct {
                native,
                at,
                negated,
            } => {
                let at = usize::from(at);
                let distinct = match (r[at], r[at + 1]) {
                    (Value::Null, Value::Null) => false,
                    (Value::Null, _) | (_, Value::Null) => true,
                    _ => !is_true(native(&r[at..at + 2], env.arena)?),
                };
                r[at] = Value::Bool(distinct != negated);
            }
            Op::Nullif { native, at } => {
                let at = usize::from(at);
                let either_null = matches!(r[at], Value::Null) || matches!(r[at + 1], Value::Null);
                if !either_null && is_true(native(&r[at..at + 2], env.arena)?) {
                    r[at] = Value::Null;
                }
            }
            Op::Extreme {
                at,
                count,
                greatest,
            } => {
                let at = usize::from(at);
                r[at] = extreme(&r[at..at + usize::from(count)], greatest);
            }
            Op::Array { at, count } => {
                let at = usize::from(at);
                let elements = env.arena.alloc_slice_copy(&r[at..at + usize::from(count)]);
                r[at] = Value::Array(elements);
            }
            Op::Quantified { native, at, all } => {
                let at = usize::from(at);
                r[at] = quantified(native, r[at], r[at + 1], all, env)?;
            }
            Op::Subscript { at } => {
                let at = usize::from(at);
                r[at] = subscript(r[at], r[at + 1]);
            }
            Op::Jump { target } => next = target as usize,
            Op::JumpIfFalse { at, target } => {
                if matches!(r[usize::from(at)], Value::Bool(false)) {
                    next = target as usize;
                }
            }
            Op::JumpIfTrue { at, target } => {
                if is_true(r[usize::from(at)]) {
                    next = target as usize;
                }
            }
            Op::JumpUnlessTrue { at, target } => {
                if !is_true(r[usize::from(at)]) {
                    next = target as usize;
                }
            }
            Op::JumpIfNull { at, target } => {
                if matches!(r[usize::from(at)], Value::Null) {
                    next = target as usize;
                }
            }
            Op::JumpIfPresent { at, target } => {
                if !matches!(r[usize::from(at)], Value::Null) {
                    next = target as usize;
                }
            }
        }
    }
    Ok(())
}

fn is_true(value: Value<'_>) -> bool {
    matches!(value, Value::Bool(true))
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, Value::Text)
}

pub(super) fn event_field<'a>(field: EventField, env: &Env<'a>) -> Value<'a> {
    let event = env.event;
    match field {
        EventField::Type => Value::Text(event.event_type),
        EventField::Id => text(event.id),
        EventField::Key => text(event.key),
        EventField::Subject => text(event.subject),
        EventField::Source => text(event.source),
        EventField::Time => Value::TimestampTz(event.time),
        EventField::Version => event.version.map_or(Value::Null, Value::Int64),
        EventField::Topic => Value::Text(event.topic_name),
        EventField::Partition => Value::Int32(event.partition),
        EventField::Offset => Value::Int64(event.offset),
        EventField::Timestamp => Value::TimestampTz(event.timestamp),
    }
}

fn bigint<'a>(
    left: Value<'a>,
    right: Value<'a>,
    operation: fn(i64, i64) -> Option<i64>,
) -> Result<Value<'a>, EvalError> {
    match (left, right) {
        (Value::Int64(left), Value::Int64(right)) => match operation(left, right) {
            Some(value) => Ok(Value::Int64(value)),
            None => Err(EvalError::out_of_range("bigint")),
        },
        _ => Ok(Value::Null),
    }
}

/// Nulls do not count; of equal values the first stays.
fn extreme<'a>(values: &[Value<'a>], greatest: bool) -> Value<'a> {
    let mut best = Value::Null;
    for value in values {
        let better = match (best, value) {
            (_, Value::Null) => false,
            (Value::Null, _) => true,
            _ if greatest => compare(best, *value).is_lt(),
            _ => compare(best, *value).is_gt(),
        };
        if better {
            best = *value;
        }
    }
    best
}

/// `ExecEvalScalarArrayOp`, for operators that are null for null.
fn quantified<'a>(
    native: Native,
    left: Value<'a>,
    array: Value<'a>,
    all: bool,
    env: &Env<'a>,
) -> Result<Value<'a>, EvalError> {
    let Value::Array(elements) = array else {
        return Ok(Value::Null);
    };
    if elements.is_empty() {
        return Ok(Value::Bool(all));
    }
    if matches!(left, Value::Null) {
        return Ok(Value::Null);
    }
    let mut outcome = Value::Bool(all);
    for element in elements {
        let value = match element {
            Value::Null => Value::Null,
            _ => native(&[left, *element], env.arena)?,
        };
        match value {
            Value::Bool(value) if value != all => return Ok(Value::Bool(!all)),
            Value::Null => outcome = Value::Null,
            _ => {}
        }
    }
    Ok(outcome)
}

fn subscript<'a>(array: Value<'a>, index: Value<'a>) -> Value<'a> {
    let (Value::Array(elements), Value::Int32(index)) = (array, index) else {
        return Value::Null;
    };
    let place = usize::try_from(i64::from(index) - 1).ok();
    place
        .and_then(|place| elements.get(place))
        .copied()
        .unwrap_or(Value::Null)
}
