//! Sidecars described, for `rusa data inspect`.

use super::{Cell, Origin, Places, Position, Tags};
use serde::Serialize;
use std::fmt;

/// The text lists no more tags than this.
const SHOWN: usize = 10;
const MAP: [usize; 2] = [16, 72];

/// What hashtags there are.
#[derive(Clone, Debug, Serialize)]
pub struct TagSummary {
    pub tags: usize,
    /// Most frequent first: (tag, training pictures).
    pub by_tag: Vec<(String, usize)>,
    pub origin: Origin,
}

/// What places there are.
#[derive(Clone, Debug, Serialize)]
pub struct PlaceSummary {
    pub cells: Vec<Cell>,
    #[serde(skip)]
    positions: Vec<Position>,
    pub origin: Origin,
}

impl From<Tags> for TagSummary {
    fn from(tags: Tags) -> Self {
        let count = tags.names.len();
        Self { tags: count, by_tag: tags.names.into_iter().zip(tags.counts).collect(), origin: tags.origin }
    }
}

impl From<Places> for PlaceSummary {
    fn from(places: Places) -> Self {
        let positions = places.positions.into_iter().flatten().collect();
        Self { cells: places.cells, positions, origin: places.origin }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} lines, {} pictures without", self.from, self.lines, self.without)?;
        if self.unknown > 0 {
            write!(f, ", {} lines for pictures not in the set", self.unknown)?;
        }
        if self.malformed > 0 {
            write!(f, ", {} malformed positions", self.malformed)?;
        }
        Ok(())
    }
}

impl fmt::Display for TagSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} hashtags ({})", self.tags, self.origin)?;
        self.by_tag.iter().take(SHOWN).try_for_each(|(tag, count)| writeln!(f, "  {count:>9}  #{tag}"))
    }
}

impl fmt::Display for PlaceSummary {
    /// With a map: of each square of 11.25° by 5°, how many pictures, as a power of ten.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} map cells ({})", self.cells.len(), self.origin)?;
        let [height, width] = MAP;
        let mut squares = vec![0usize; height * width];
        for position in &self.positions {
            let row = (90.0 - position.latitude) / 180.0 * height as f64;
            let column = (position.longitude + 180.0) / 360.0 * width as f64;
            squares[(row as usize).min(height - 1) * width + (column as usize).min(width - 1)] += 1;
        }
        for row in squares.chunks(width) {
            let digit = |&count: &usize| match count {
                0 => '·',
                count => char::from(b'0' + count.ilog10().min(9) as u8),
            };
            writeln!(f, "  {}", row.iter().map(digit).collect::<String>())?;
        }
        writeln!(f, "  digit d: 10^d pictures or more")
    }
}
