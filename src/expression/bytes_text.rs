//! Texts of uuid and bytea, and the formats of `encode` and `decode`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::EvalError;

/// 32 hexadecimal digits, with hyphens after any group of four, all in braces or not.
pub fn parse_uuid(text: &str) -> Result<[u8; 16], EvalError> {
    uuid_bytes(text.as_bytes()).ok_or_else(|| EvalError::invalid_text("uuid", text))
}

fn uuid_bytes(text: &[u8]) -> Option<[u8; 16]> {
    let body = match text {
        [b'{', inner @ .., b'}'] => inner,
        [b'{', ..] => return None,
        whole => whole,
    };
    let mut bytes = [0; 16];
    let mut at = 0;
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = hex_digit(*body.get(at)?)? << 4 | hex_digit(*body.get(at + 1)?)?;
        at += 2;
        if index % 2 == 1 && index < 15 && body.get(at) == Some(&b'-') {
            at += 1;
        }
    }
    (at == body.len()).then_some(bytes)
}

pub fn write_uuid(bytes: &[u8; 16], out: &mut String) {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        push_hex(*byte, out);
    }
}

/// `\x` and hexadecimal digits, or the escape format.
pub fn parse_bytea(text: &str) -> Result<Vec<u8>, EvalError> {
    match text.strip_prefix("\\x") {
        Some(digits) => parse_hex(digits.as_bytes()),
        None => parse_escaped(text.as_bytes())
            .ok_or_else(|| EvalError::new("22P02", "invalid input syntax for type bytea")),
    }
}

fn parse_hex(digits: &[u8]) -> Result<Vec<u8>, EvalError> {
    let digit = |byte: u8| {
        hex_digit(byte).ok_or_else(|| {
            EvalError::new(
                "22023",
                format!("invalid hexadecimal digit: \"{}\"", byte as char),
            )
        })
    };
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    let mut rest = digits;
    while let [high, tail @ ..] = rest {
        if matches!(high, b' ' | b'\n' | b'\t' | b'\r') {
            rest = tail;
            continue;
        }
        let high = digit(*high)?;
        let [low, tail @ ..] = tail else {
            return Err(EvalError::new(
                "22023",
                "invalid hexadecimal data: odd number of digits",
            ));
        };
        bytes.push(high << 4 | digit(*low)?);
        rest = tail;
    }
    Ok(bytes)
}

fn parse_escaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Some(bytes),
            [b'\\', b'\\', tail @ ..] => {
                bytes.push(b'\\');
                tail
            }
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                tail @ ..,
            ] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            [b'\\', ..] => return None,
            [byte, tail @ ..] => {
                bytes.push(*byte);
                tail
            }
        };
    }
}

pub fn write_bytea(bytes: &[u8], out: &mut String) {
    out.push_str("\\x");
    for byte in bytes {
        push_hex(*byte, out);
    }
}

/// Two lower-case digits.
pub fn push_hex(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(DIGITS[usize::from(byte >> 4)] as char);
    out.push(DIGITS[usize::from(byte & 15)] as char);
}

/// Value of a hexadecimal digit of either case.
pub fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Length of a line of base64, after which PostgreSQL breaks it.
const BASE64_LINE: usize = 76;

fn unrecognized(format: &str) -> EvalError {
    EvalError::new("22023", format!("unrecognized encoding: \"{format}\""))
}

/// `encode(bytea, format)`: hex, base64 (in lines) or escape.
pub fn encode(bytes: &[u8], format: &str) -> Result<String, EvalError> {
    let mut out = String::with_capacity(bytes.len() * 2);
    match format.to_ascii_lowercase().as_str() {
        "hex" => bytes.iter().for_each(|byte| push_hex(*byte, &mut out)),
        "base64" => {
            for (at, line) in bytes.chunks(BASE64_LINE / 4 * 3).enumerate() {
                if at > 0 {
                    out.push('\n');
                }
                STANDARD.encode_string(line, &mut out);
            }
            // The break follows a full line, also where nothing follows the break.
            if !bytes.is_empty() && bytes.len().is_multiple_of(BASE64_LINE / 4 * 3) {
                out.push('\n');
            }
        }
        "escape" => {
            for byte in bytes {
                match byte {
                    b'\\' => out.push_str("\\\\"),
                    0 | 0x80.. => {
                        out.push('\\');
                        for shift in [6, 3, 0] {
                            out.push((b'0' + (byte >> shift & 7)) as char);
                        }
                    }
                    _ => out.push(*byte as char),
                }
            }
        }
        _ => return Err(unrecognized(format)),
    }
    Ok(out)
}

/// `decode(text, format)`.
pub fn decode(text: &str, format: &str) -> Result<Vec<u8>, EvalError> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => parse_hex(text.as_bytes()),
        "base64" => decode_base64(text.as_bytes()),
        "escape" => parse_escaped(text.as_bytes())
            .ok_or_else(|| EvalError::new("22P02", "invalid input syntax for type bytea")),
        _ => Err(unrecognized(format)),
    }
}

/// As PostgreSQL reads base64: space is skipped, and what follows the end is still read, as short groups.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, EvalError> {
    let invalid = |message: String| EvalError::new("22023", message);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut count, mut kept) = (0_u32, 0, 3);
    for byte in text {
        let value = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => continue,
            b'=' => {
                if kept == 3 {
                    kept = match count {
                        2 => 1,
                        3 => 2,
                        _ => {
                            let message = "unexpected \"=\" while decoding base64 sequence";
                            return Err(invalid(message.to_owned()));
                        }
                    };
                }
                0
            }
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => {
                let message = "invalid symbol found while decoding base64 sequence";
                return Err(invalid(message.to_owned()));
            }
        };
        group = group << 6 | u32::from(value);
        count += 1;
        if count == 4 {
            out.extend_from_slice(&group.to_be_bytes()[1..=kept]);
            (group, count) = (0, 0);
        }
    }
    if count == 0 {
        Ok(out)
    } else {
        Err(invalid("invalid base64 end sequence".to_owned()))
    }
}
