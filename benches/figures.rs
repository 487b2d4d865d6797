//! What the benches share: medians, and a table in which each figure stands beside what it is compared with.

use std::fmt;
use std::time::Duration;

use comfy_table::Table;

/// One line of the table: what was measured, and how it compares.
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// What came out.
    pub measured: Amount,
    /// What it is compared with, where it was measured in the same run.
    pub beside: Option<Amount>,
    /// What it should stay within.
    pub target: Target,
}

/// A measured amount.
#[derive(Clone, Copy)]
pub enum Amount {
    /// A time.
    Time(Duration),
    /// A share of one core, in percent.
    CorePercent(f64),
    /// Memory, in bytes.
    Bytes(u64),
}

/// What a figure should stay within.
pub enum Target {
    /// So many times what stands beside it.
    Times(f64),
    /// An amount.
    Below(Amount),
    /// Nothing: it is there to compare others with.
    None,
}

impl Figure {
    fn ratio(&self) -> Option<f64> {
        Some(self.measured.number() / self.beside?.number())
    }

    fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::Times(most) => self.ratio().map(|ratio| ratio <= most),
            Target::Below(most) => Some(self.measured.number() < most.number()),
            Target::None => None,
        }
    }

    fn row(&self) -> [String; 6] {
        let target = match self.target {
            Target::Times(most) => format!("≤ {most}×"),
            Target::Below(most) => format!("< {most}"),
            Target::None => String::new(),
        };
        let verdict = self.is_met().map_or("", |met| if met { "met" } else { "MISSED" });
        [
            self.name.clone(),
            self.measured.to_string(),
            self.beside.map(|beside| beside.to_string()).unwrap_or_default(),
            self.ratio().map(|ratio| format!("{ratio:.2}×")).unwrap_or_default(),
            target,
            verdict.to_owned(),
        ]
    }
}

impl Amount {
    fn number(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::CorePercent(percent) => percent,
            #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
            Self::Bytes(bytes) => bytes as f64,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "{time:.2?}"),
            Self::CorePercent(percent) => write!(f, "{percent:.2} % of a core"),
            Self::Bytes(bytes) if *bytes < 1 << 20 => write!(f, "{:.1} kB", self.number() / 1000.0),
            Self::Bytes(_) => write!(f, "{:.1} MiB", self.number() / f64::from(1 << 20)),
        }
    }
}

/// Prints the table.
pub fn print(title: &str, figures: &[Figure]) {
    let mut table = Table::new();
    table.set_header(["what", "measured", "beside it", "ratio", "target", ""]);
    table.add_rows(figures.iter().map(Figure::row));
    println!("\n{title}\n{table}");
}

/// The middle one of several times.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
