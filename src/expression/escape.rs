//! `E'…'` strings as PostgreSQL's scanner reads them: escapes give bytes, and the whole must be UTF-8 without zero bytes.
//! sqlparser's own reading gives characters for `\xc3\xa9`, which is another text.

/// The value of an `E'…'` literal given with its quotes.
pub(super) fn unescape(source: &str) -> Result<String, String> {
    let inner = source
        .strip_prefix(['e', 'E'])
        .and_then(|s| s.strip_prefix('\''))
        .and_then(|s| s.strip_suffix('\''))
        .ok_or("this string is not closed")?;
    let mut bytes = inner.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while let Some((&first, rest)) = bytes.split_first() {
        bytes = rest;
        match first {
            b'\'' => {
                out.push(b'\'');
                bytes = rest
                    .strip_prefix(b"'")
                    .ok_or("a quote inside a string must be doubled")?;
            }
            b'\\' => bytes = escape(rest, &mut out)?,
            _ => out.push(first),
        }
    }
    if out.contains(&0) {
        return Err("a text cannot hold a zero byte".to_owned());
    }
    String::from_utf8(out).map_err(|_| "the escapes do not give valid UTF-8".to_owned())
}

/// Reads what follows a backslash; gives what is left.
fn escape<'s>(rest: &'s [u8], out: &mut Vec<u8>) -> Result<&'s [u8], String> {
    let (&letter, after) = rest.split_first().ok_or("a string ends in a backslash")?;
    match letter {
        b'b' => out.push(8),
        b'f' => out.push(12),
        b'n' => out.push(b'\n'),
        b'r' => out.push(b'\r'),
        b't' => out.push(b'\t'),
        b'x' => {
            let (value, left) = digits(after, 16, 2);
            let Some(value) = value else {
                out.push(b'x');
                return Ok(after);
            };
            out.push(value as u8);
            return Ok(left);
        }
        b'0'..=b'7' => {
            let (value, left) = digits(rest, 8, 3);
            out.push((value.unwrap_or(0) & 0xff) as u8);
            return Ok(left);
        }
        b'u' | b'U' => {
            let length = if letter == b'u' { 4 } else { 8 };
            let (value, left) = digits(after, 16, length);
            let complete = after.len() - left.len() == length;
            let character = value.filter(|_| complete).and_then(char::from_u32);
            // Surrogate pairs are left out: the character itself can be written.
            let character = character
                .ok_or("a Unicode escape is \\uXXXX or \\UXXXXXXXX and names one character")?;
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(left);
        }
        _ => out.push(letter),
    }
    Ok(after)
}

fn digits(bytes: &[u8], radix: u32, most: usize) -> (Option<u32>, &[u8]) {
    let mut value = None;
    let mut used = 0;
    while used < most {
        let Some(digit) = bytes.get(used).and_then(|b| (*b as char).to_digit(radix)) else {
            break;
        };
        value = Some(
            value
                .unwrap_or(0_u32)
                .wrapping_mul(radix)
                .wrapping_add(digit),
        );
        used += 1;
    }
    (value, &bytes[used..])
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_give_what_postgresql_gives() {
        let cases = [
            (r"E'a\nb'", Ok("a\nb")),
            (r"E'\x41\101\u00e4'", Ok("AAä")),
            (r"E'\xc3\xa9'", Ok("é")),
            (r"e'it\'s it''s \q'", Ok("it's it's q")),
            (r"E'\xff'", Err(())),
            (r"E'\0'", Err(())),
            (r"E'\u12'", Err(())),
        ];
        for (text, expected) in cases {
            assert_eq!(
                unescape(text).map_err(|_| ()),
                expected.map(str::to_owned),
                "{text}"
            );
        }
    }
}
