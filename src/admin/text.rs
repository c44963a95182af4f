//! Words, numbers and columns as people read them in a terminal. Knows nothing of what they stand for.

/// Colours, or none where nobody sees them.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    pub colour: bool,
}

/// How a text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// A heading.
    Strong,
    /// Of less interest.
    Dim,
    Good,
    /// Wants a look.
    Mind,
    /// Wants a person.
    Bad,
}

impl Paint {
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Mind => "33",
            Tone::Bad => "1;31",
        };
        match self.colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// How the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// One text among others in a column.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn toned(tone: Tone, text: impl Into<String>) -> Cell {
        let text = text.into();
        Cell { text, tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::toned(Tone::Plain, text)
    }
}

/// Lines with the cells under one another, two blanks apart, below their headings.
pub fn columns(
    headings: &[(Side, &str)],
    rows: &[Vec<Cell>],
    indent: usize,
    paint: Paint,
) -> String {
    let heading = headings
        .iter()
        .map(|(_, text)| Cell::toned(Tone::Dim, *text));
    let heading: Vec<Cell> = heading.collect();
    let lines = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| {
        let cells = lines().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.text.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for row in lines() {
        let mut line = " ".repeat(indent);
        let filled = row.iter().rposition(|cell| !cell.text.is_empty());
        let filled = filled.map_or(0, |last| last + 1);
        for (column, cell) in row[..filled].iter().enumerate() {
            let (side, last) = (headings[column].0, column + 1 == filled);
            let blanks = " ".repeat(widths[column] - cell.text.chars().count());
            let painted = paint.tone(cell.tone, &cell.text);
            match side {
                Side::Left if last => line.push_str(&painted),
                Side::Left => line.extend([&*painted, &blanks]),
                Side::Right => line.extend([&*blanks, &painted]),
            }
            line.push_str(if last { "" } else { "  " });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `12,345`.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    match number < 0 {
        true => format!("-{text}"),
        false => text,
    }
}

/// `1 event`, `12,345 events`.
pub fn counted(number: i64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(number))
}

/// `0 s`, `40 ms`, `1.2 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as i64;
    match seconds {
        s if s < 0.0005 => "0 s".to_owned(),
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s").replace(".0 s", " s"),
        _ if whole < 120 => format!("{whole} s"),
        _ if whole < 7_200 => format!("{} min {} s", whole / 60, whole % 60),
        _ if whole < 172_800 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", count(whole / 86_400), whole % 86_400 / 3_600),
    }
}

/// `512 B`, `1.5 MiB`.
pub fn bytes(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while size >= 1_024.0 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A value out of an event, on one line and of bounded length: it may hold anything, also what moves a cursor.
pub fn quoted(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let shown: String = text.chars().take(CHARACTERS_MAX).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    let plain = |c: char| !c.is_control() && c != '`';
    match shown.chars().all(plain) {
        true => format!("`{shown}{more}`"),
        false => format!("{shown:?}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(
            ["0", "999", "1,000", "-1,234,567"].map(str::to_owned),
            [count(0), count(999), count(1_000), count(-1_234_567)]
        );
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(2, "event"), "2 events");
        let times = [0.0, 0.04, 1.23, 9.96, 119.6, 185.0, 7_800.0, 360_000.0];
        let texts = [
            "0 s",
            "40 ms",
            "1.2 s",
            "10 s",
            "2 min 0 s",
            "3 min 5 s",
            "2 h 10 min",
            "4 d 4 h",
        ];
        assert_eq!(times.map(seconds), texts);
        assert_eq!(
            [bytes(512), bytes(1_536), bytes(3 << 30)],
            ["512 B", "1.5 KiB", "3.0 GiB"]
        );
    }

    #[test]
    fn what_an_event_holds_stays_on_its_line() {
        assert_eq!(quoted("o-17"), "`o-17`");
        assert_eq!(quoted("a\u{1b}[2Jb\n"), "\"a\\u{1b}[2Jb\\n\"");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 83);
    }

    #[test]
    fn cells_stand_under_one_another() {
        let rows = [vec!["t".into(), Cell::toned(Tone::Bad, "12")]];
        let headings = [(Side::Left, "table"), (Side::Right, "rows")];
        let plain = columns(&headings, &rows, 2, Paint { colour: false });
        assert_eq!(plain, "  table  rows\n  t        12\n");
        let painted = columns(&headings, &rows, 0, Paint { colour: true });
        assert!(
            painted.ends_with("t        \u{1b}[1;31m12\u{1b}[0m\n"),
            "{painted:?}"
        );
    }
}
