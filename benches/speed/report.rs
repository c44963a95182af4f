//! Tables of results: printed, written into docs/performance.md between their marks, and drawn as SVG. Knows nothing of what was
//! measured.

use std::fmt::Write as _;
use std::fs;

use crate::support::root;

/// One bar of a plot, with the spread around it.
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

pub struct Table {
    title: String,
    unit: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
    bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
const NAMES: f64 = 240.0;
const VALUES: f64 = 70.0;
const STEP: f64 = 28.0;
const TOP: f64 = 44.0;

impl Table {
    /// `unit` is that of the bars.
    pub fn new(title: &str, unit: &str, head: &[&str]) -> Table {
        Table {
            title: title.to_owned(),
            unit: unit.to_owned(),
            head: head.iter().map(|text| (*text).to_owned()).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
            bars: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        // At once, on the side: the next ones may take minutes.
        eprintln!("| {} |", cells.join(" | "));
        self.rows.push(cells);
    }

    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub fn bar(&mut self, bar: Bar) {
        self.bars.push(bar);
    }

    /// Of the bar that was added last.
    pub fn last_value(&self) -> f64 {
        self.bars.last().map_or(0.0, |bar| bar.value)
    }

    pub fn print(&self) {
        println!("\n{}\n{}", self.title, self.markdown());
    }

    /// Puts the table between its marks in docs/performance.md, and its plot beside it.
    ///
    /// # Panics
    /// If there are no such marks.
    pub fn write(&self, name: &str) {
        let manual = root().join("docs/performance.md");
        let text = fs::read_to_string(&manual).expect("the manual is there");
        let (begin, end) = (
            format!("<!-- {name}: written by the benchmark -->\n"),
            format!("<!-- end of {name} -->"),
        );
        let from = text.find(&begin).expect("the mark is there") + begin.len();
        let to = from + text[from..].find(&end).expect("its end is there");
        let plot = format!("\n![{}](performance/{name}.svg)\n", self.title);
        let text = format!(
            "{}\n{}{plot}\n{}",
            &text[..from],
            self.markdown(),
            &text[to..]
        );
        fs::write(&manual, text).expect("the manual can be written");
        let plots = root().join("docs/performance");
        fs::create_dir_all(&plots).expect("a folder can be made");
        fs::write(plots.join(format!("{name}.svg")), self.svg()).expect("a plot can be written");
    }

    fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|", self.head.join(" | "));
        for (at, _) in self.head.iter().enumerate() {
            text.push_str(if at == 0 { " --- |" } else { " ---: |" });
        }
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.join(" | "));
        }
        text.push('\n');
        for note in &self.notes {
            let _ = write!(text, "\n- {note}");
        }
        text + "\n"
    }

    fn svg(&self) -> String {
        let height = TOP + STEP * self.bars.len() as f64 + 12.0;
        let highest = self.bars.iter().map(|bar| bar.high).fold(0.0, f64::max);
        let scale = (WIDTH - NAMES - VALUES) / highest.max(f64::MIN_POSITIVE);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"8\" y=\"22\" font-weight=\"bold\">{}, {}</text>\n",
            self.title, self.unit
        );
        for (at, bar) in self.bars.iter().enumerate() {
            let y = TOP + STEP * at as f64;
            let end = NAMES + bar.value * scale;
            let (low, high) = (NAMES + bar.low * scale, NAMES + bar.high * scale);
            let middle = y + 9.0;
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{NAMES}\" y=\"{y}\" width=\"{:.1}\" height=\"18\" fill=\"#4878a8\"/>\n\
                 <path d=\"M{low:.1} {middle}H{high:.1}M{low:.1} {y}v18M{high:.1} {y}v18\" stroke=\"black\" fill=\"none\"/>\n\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>\n",
                NAMES - 8.0,
                y + 14.0,
                bar.name,
                end - NAMES,
                high.max(end) + 6.0,
                y + 14.0,
                rounded(bar.value),
            );
        }
        svg + "</svg>\n"
    }
}

/// With as many digits as say something.
fn rounded(value: f64) -> String {
    if value < 20.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}
