//! The right sides that most rules have, told without registers: a member, a part of the envelope or a constant as it stands, and
//! what is added to a column. Values go from the record to the row in one step; anything else is run by [`super::machine`].

use crate::event::{Event, Member};

use super::cell::Cell;
use super::json_member::{small_decimal, small_integer};
use super::numeric::{Numeric, POWERS, SMALL_DIGITS};
use super::program::{Load, Op, Program};
use super::typed::EventField;
use super::value::{Scalar, Value};

/// What a program does, if it is one of those.
#[derive(Clone, Copy, Debug)]
pub(super) enum Quick {
    /// `data.member` as text.
    Text {
        slot: u16,
    },
    /// `data.member` as bigint.
    BigInt {
        slot: u16,
    },
    Event {
        field: EventField,
    },
    Constant {
        constant: u16,
    },
    /// `column + 1`, of bigint.
    AddConstant {
        column: u16,
        by: i64,
    },
    /// `column + data.member`, of bigint.
    AddMember {
        column: u16,
        slot: u16,
        subtract: bool,
    },
    /// The same of `numeric(precision, scale)`.
    AddNumeric {
        column: u16,
        slot: u16,
        subtract: bool,
        precision: u16,
        scale: i16,
    },
}

impl Quick {
    /// `None`: it takes the machine.
    pub(super) fn of(program: &Program) -> Option<Quick> {
        match program.ops[..] {
            [Op::Load { load, .. }] => Quick::load(load),
            [
                Op::Load {
                    load: Load::Column { column },
                    ..
                },
                Op::Load {
                    load: Load::Constant { constant },
                    ..
                },
                ref add @ (Op::AddBigInt { .. } | Op::SubtractBigInt { .. }),
            ] => {
                let Value::Int64(constant) = program.constants[usize::from(constant)].value()
                else {
                    return None;
                };
                let by = match add {
                    Op::AddBigInt { .. } => constant,
                    _ => constant.checked_neg()?,
                };
                Some(Quick::AddConstant { column, by })
            }
            [
                Op::Load {
                    load: Load::Column { column },
                    ..
                },
                Op::Load {
                    load:
                        Load::Member {
                            slot,
                            item: false,
                            scalar: Scalar::Numeric,
                            array: false,
                        },
                    ..
                },
                Op::AddNumeric { subtract, .. },
                Op::Fit {
                    precision, scale, ..
                },
            ] if (0..=SMALL_DIGITS as i16).contains(&scale) => Some(Quick::AddNumeric {
                column,
                slot,
                subtract,
                precision,
                scale,
            }),
            _ => None,
        }
    }

    fn load(load: Load) -> Option<Quick> {
        match load {
            Load::Constant { constant } => Some(Quick::Constant { constant }),
            Load::Event { field } => Some(Quick::Event { field }),
            Load::Member {
                slot,
                item: false,
                scalar,
                array: false,
            } => match scalar {
                Scalar::Text | Scalar::Varchar => Some(Quick::Text { slot }),
                Scalar::BigInt => Some(Quick::BigInt { slot }),
                _ => None,
            },
            Load::AddColumnMember {
                column,
                slot,
                subtract,
            } => Some(Quick::AddMember {
                column,
                slot,
                subtract,
            }),
            _ => None,
        }
    }
}

/// A value that was quickly told: in words, so that it stays in the processor's registers on its way. A [`Value`], which has its
/// parts at any byte, takes a detour over memory.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Told<'a> {
    Null,
    BigInt(i64),
    Numeric { mantissa: i64, scale: u64 },
    Text(&'a str),
    Time(i64),
    Constant(&'a Cell),
}

impl<'a> Told<'a> {
    pub fn value(self) -> Value<'a> {
        match self {
            Told::Null => Value::Null,
            Told::BigInt(value) => Value::Int64(value),
            Told::Numeric { mantissa, scale } => {
                let scale = scale as u8;
                Value::Numeric(Numeric::Small { mantissa, scale })
            }
            Told::Text(text) => Value::Text(text),
            Told::Time(time) => Value::TimestampTz(time),
            Told::Constant(cell) => cell.value(),
        }
    }

    #[inline(always)]
    pub fn is_null(self) -> bool {
        match self {
            Told::Null => true,
            Told::Constant(cell) => cell.is_null(),
            _ => false,
        }
    }
}

impl Program {
    /// The value, where it is quickly told; `None` is no verdict, also where it is an error.
    #[inline(always)]
    pub fn quick<'a>(&'a self, row: &[Cell], event: &Event<'a>) -> Option<Told<'a>> {
        match self.quick? {
            Quick::Text { slot } => match event.members[usize::from(slot)] {
                Member::Text(text) => Some(Told::Text(text)),
                Member::Missing => Some(Told::Null),
                _ => None,
            },
            Quick::BigInt { slot } => match event.members[usize::from(slot)] {
                Member::Json(json) => small_integer(json.as_bytes()).map(Told::BigInt),
                Member::Missing => Some(Told::Null),
                _ => None,
            },
            Quick::Event { field } => match field {
                EventField::Type => Some(Told::Text(event.event_type)),
                EventField::Id => event.id.map(Told::Text),
                EventField::Key => event.key.map(Told::Text),
                EventField::Subject => event.subject.map(Told::Text),
                EventField::Time => Some(Told::Time(event.time)),
                EventField::Version => event.version.map(Told::BigInt),
                _ => None,
            },
            Quick::Constant { constant } => {
                Some(Told::Constant(&self.constants[usize::from(constant)]))
            }
            Quick::AddConstant { column, by } => {
                let left = row[usize::from(column)].bigint()?;
                left.checked_add(by).map(Told::BigInt)
            }
            Quick::AddMember {
                column,
                slot,
                subtract,
            } => {
                let left = row[usize::from(column)].bigint()?;
                let right = match event.members[usize::from(slot)] {
                    Member::Json(json) => small_integer(json.as_bytes())?,
                    _ => return None,
                };
                let sum = match subtract {
                    false => left.checked_add(right),
                    true => left.checked_sub(right),
                };
                sum.map(Told::BigInt)
            }
            Quick::AddNumeric {
                column,
                slot,
                subtract,
                precision,
                scale,
            } => {
                let (left, left_scale) = row[usize::from(column)].small_numeric()?;
                let (right, right_scale) = match event.members[usize::from(slot)] {
                    Member::Json(json) => small_decimal(json.as_bytes())?,
                    _ => return None,
                };
                let limit = POWERS[usize::from(precision).min(SMALL_DIGITS as usize)];
                let left = scaled(left, left_scale, scale)?;
                let right = scaled(right, right_scale, scale)?;
                let mantissa = match subtract {
                    false => left.checked_add(right)?,
                    true => left.checked_sub(right)?,
                };
                let scale = scale as u64;
                let fits = mantissa.unsigned_abs() < limit.unsigned_abs();
                fits.then_some(Told::Numeric { mantissa, scale })
            }
        }
    }
}

/// The mantissa at a scale that is not less, so that nothing is rounded.
#[inline(always)]
fn scaled(mantissa: i64, from: u8, to: i16) -> Option<i64> {
    if i16::from(from) == to {
        return Some(mantissa);
    }
    let more = usize::try_from(to - i16::from(from)).ok()?;
    mantissa.checked_mul(*POWERS.get(more)?)
}

#[cfg(test)]
mod tests {
    use super::super::cell::same;
    use super::super::{Env, Machine, Names, Paths, Scope, compile, parse_type};
    use super::*;
    use bumpalo::Bump;

    const COLUMNS: [(&str, &str); 6] = [
        ("big", "bigint"),
        ("amount", "numeric(14,2)"),
        ("whole", "numeric(30,0)"),
        ("fine", "numeric(36,20)"),
        ("note", "text"),
        ("at", "timestamptz"),
    ];

    /// Expressions, and the columns that they are for.
    const PROGRAMS: [(&str, usize); 17] = [
        ("big + 1", 0),
        ("big - 1", 0),
        ("big + 9223372036854775807", 0),
        ("big + data.m", 0),
        ("big - data.m", 0),
        ("data.m", 0),
        ("event.version", 0),
        ("7", 0),
        ("amount + data.m", 1),
        ("amount - data.m", 1),
        ("whole + data.m", 2),
        ("fine + data.m", 3),
        ("data.m", 4),
        ("event.subject", 4),
        ("'a constant'", 4),
        ("null", 4),
        ("event.time", 5),
    ];

    fn members() -> impl Iterator<Item = Member<'static>> {
        let json = [
            "0",
            "-0",
            "7",
            "-7",
            "0.5",
            "-0.05",
            "1.005",
            "99999999999.99",
            "100000000000",
            "1e3",
            "-1E-2",
            "true",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "999999999999999999",
            "0.000000000000000001",
            "123456789012345678901234567890",
            r#""with \" quotes""#,
            "[1]",
            "{}",
            "null",
        ];
        let texts = [
            "",
            "7",
            "1.5",
            "é",
            "a text of 22 bytes, so",
            "a text that is a good deal longer than that",
        ];
        let json = json.into_iter().map(Member::Json);
        json.chain(texts.into_iter().map(Member::Text))
            .chain([Member::Missing])
    }

    fn rows() -> Vec<Vec<Cell>> {
        let numeric = |mantissa, scale| Value::Numeric(Numeric::Small { mantissa, scale });
        let rows = [
            [
                Value::Int64(5),
                numeric(150, 2),
                numeric(0, 0),
                numeric(0, 18),
                Value::Text("short"),
                Value::TimestampTz(1),
            ],
            [
                Value::Int64(i64::MAX),
                numeric(99_999_999_999_999, 2),
                numeric(999_999_999_999_999_999, 0),
                numeric(7, 18),
                Value::Text("a text that is a good deal longer than that"),
                Value::TimestampTz(0),
            ],
            [
                Value::Int64(i64::MIN),
                numeric(-99_999_999_999_999, 2),
                Value::Numeric(Numeric::NaN),
                numeric(-1, 3),
                Value::Text(""),
                Value::Null,
            ],
            [Value::Null; 6],
        ];
        rows.map(|row| row.map(Cell::from_value).to_vec()).to_vec()
    }

    #[test]
    fn what_is_quickly_told_is_what_the_machine_gives() {
        let columns = COLUMNS.map(|(name, ty)| (name.to_owned(), parse_type(ty).unwrap()));
        let mut told = [0; PROGRAMS.len()];
        for (n, (text, column)) in PROGRAMS.into_iter().enumerate() {
            let (mut data, mut headers) = (Paths::new(), Names::new());
            let mut scope = Scope {
                columns: &columns,
                old: false,
                lookups: &[],
                item: None,
                data: &mut data,
                headers: &mut headers,
            };
            let program = compile(text, &mut scope, Some(columns[column].1));
            let program = program.unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
            let arena = Bump::new();
            for (row, member) in rows()
                .iter()
                .flat_map(|row| members().map(move |m| (row, m)))
            {
                let event = Event {
                    event_type: "t",
                    id: None,
                    key: None,
                    subject: Some("a subject"),
                    source: None,
                    time: 17,
                    version: Some(3),
                    topic: 0,
                    topic_name: "orders",
                    partition: 0,
                    offset: 0,
                    timestamp: 0,
                    headers: &[],
                    members: &[member],
                };
                let env = Env {
                    row,
                    old: &[],
                    lookups: &[],
                    event: &event,
                    item: &[],
                    index: 0,
                    arena: &arena,
                };
                let value = program.evaluate(&env, &mut Machine::new());
                let Some(quick) = program.quick(row, &event) else {
                    continue;
                };
                told[n] += 1;
                let place = format!("{text} of {member:?} and {row:?}");
                let value = value.unwrap_or_else(|error| panic!("{place}: {error:?}"));
                assert!(
                    same(quick.value(), value),
                    "{place}: {quick:?} for {value:?}"
                );
                assert_eq!(quick.is_null(), matches!(value, Value::Null), "{place}");
                for cell in rows().concat() {
                    assert_eq!(
                        cell.is(quick),
                        same(cell.value(), value),
                        "{place}: over {cell:?}"
                    );
                    let mut cell = cell;
                    cell.set(quick);
                    assert!(same(cell.value(), value), "{place}: {cell:?}");
                }
            }
        }
        for ((text, _), told) in PROGRAMS.iter().zip(told) {
            // More digits behind the point than a short number has.
            assert_eq!(told > 0, *text != "fine + data.m", "{text}");
        }
    }
}
