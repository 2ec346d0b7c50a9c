//! The map: positions, cells, distances.
//!
//! Cells adapt to where pictures are, as in PlaNet (Weyand, Kostrikov, Philbin, *PlaNet – Photo Geolocation with
//! Convolutional Neural Networks*, ECCV 2016, section 3): the globe is divided, and every cell with too many pictures
//! again; cells with too few are dropped. PlaNet divides S2's six faces of a cube; here a quadtree halves longitude and
//! the sine of latitude (Lambert's cylindrical equal-area projection): all cells of a level have exactly the same area,
//! which S2's have not, and neither faces nor edges need tables. Towards the poles cells get long from north to south
//! and narrow, where hardly anyone takes pictures.

use serde::Serialize;
use std::ops::Range;

/// Degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Position {
    /// −90 to 90, north positive.
    pub latitude: f64,
    /// −180 to 180, east positive.
    pub longitude: f64,
}

/// A cell of the map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    pub south: f64,
    pub north: f64,
    pub west: f64,
    pub east: f64,
    /// Halfway in longitude and in area.
    pub centre: Position,
    /// How often the globe was divided: the cell is 4^−level of it.
    pub level: u32,
    /// Training pictures in it.
    pub count: usize,
    /// The codes of the positions in it.
    #[serde(skip)]
    codes: Range<u64>,
}

/// No cell is smaller: 4^−20 of the globe, about 20 m across.
const MAX_LEVEL: u32 = 20;

impl Position {
    /// `None` if off the globe, or not a number.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let valid = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        valid.then_some(Self { latitude, longitude })
    }

    /// The smallest cell of the quadtree around it, in Morton order: a cell of any level is a range of codes.
    fn code(self) -> u64 {
        let side = f64::from(1u32 << MAX_LEVEL);
        let column = |fraction: f64| (fraction * side).clamp(0.0, side - 1.0) as u64;
        // 180° east and west are one meridian.
        let x = column(((self.longitude + 180.0) / 360.0).fract());
        let y = column((self.latitude.to_radians().sin() + 1.0) / 2.0);
        (0..MAX_LEVEL)
            .fold(0, |code, bit| code | (x >> bit & 1) << (2 * bit) | (y >> bit & 1) << (2 * bit + 1))
    }
}

impl Cell {
    /// The cell of `level` that starts at code `first`.
    fn new(level: u32, first: u64, count: usize) -> Self {
        let (x, y) = (0..MAX_LEVEL).fold((0, 0), |(x, y), bit| {
            (x | (first >> (2 * bit) & 1) << bit, y | (first >> (2 * bit + 1) & 1) << bit)
        });
        let side = f64::from(1u32 << MAX_LEVEL);
        let step = f64::from(1u32 << (MAX_LEVEL - level));
        let longitude = |x: f64| x / side * 360.0 - 180.0;
        let latitude = |y: f64| (y / side * 2.0 - 1.0).asin().to_degrees();
        let (x, y) = (x as f64, y as f64);
        Self {
            south: latitude(y),
            north: latitude(y + step),
            west: longitude(x),
            east: longitude(x + step),
            centre: Position { latitude: latitude(y + step / 2.0), longitude: longitude(x + step / 2.0) },
            level,
            count,
            codes: first..first + (1 << (2 * (MAX_LEVEL - level))),
        }
    }
}

/// The cells that hold `positions`, none more than `max_photos` unless it is the smallest there is, without those that
/// hold fewer than `min_photos`; along the Morton curve.
pub(super) fn divide(
    positions: impl Iterator<Item = Position>,
    max_photos: usize,
    min_photos: usize,
) -> Vec<Cell> {
    let mut codes: Vec<u64> = positions.map(Position::code).collect();
    codes.sort_unstable();
    let mut cells = Vec::new();
    divide_cell(&codes, 0, 0, max_photos, min_photos.max(1), &mut cells);
    cells
}

fn divide_cell(codes: &[u64], level: u32, first: u64, max: usize, min: usize, cells: &mut Vec<Cell>) {
    if codes.len() < min {
        return;
    }
    if codes.len() <= max || level == MAX_LEVEL {
        cells.push(Cell::new(level, first, codes.len()));
        return;
    }
    let quarter = 1 << (2 * (MAX_LEVEL - level - 1));
    let mut rest = codes;
    for first in (0..4).map(|i| first + i * quarter) {
        let (inside, beyond) = rest.split_at(rest.partition_point(|&code| code < first + quarter));
        divide_cell(inside, level + 1, first, max, min, cells);
        rest = beyond;
    }
}

/// The index of the cell around `position`, of [`divide`]'s `cells`.
pub(super) fn find(cells: &[Cell], position: Position) -> Option<u32> {
    let code = position.code();
    let at = cells.partition_point(|cell| cell.codes.end <= code);
    cells.get(at).filter(|cell| cell.codes.contains(&code)).map(|_| at as u32)
}

/// The length of the shortest way over the globe (a sphere of the mean radius 6371.0088 km), by the haversine formula.
pub fn great_circle_km(a: Position, b: Position) -> f64 {
    let (north, east) = ((b.latitude - a.latitude).to_radians(), (b.longitude - a.longitude).to_radians());
    let cosines = a.latitude.to_radians().cos() * b.latitude.to_radians().cos();
    let h = (north / 2.0).sin().powi(2) + cosines * (east / 2.0).sin().powi(2);
    2.0 * 6371.0088 * h.sqrt().min(1.0).asin()
}

/// The median of the errors of (guess, truth) pairs; between the two in the middle if their number is even. `None`
/// without pairs.
pub fn median_error_km(pairs: impl Iterator<Item = (Position, Position)>) -> Option<f64> {
    let mut errors: Vec<f64> = pairs.map(|(guess, truth)| great_circle_km(guess, truth)).collect();
    errors.sort_unstable_by(f64::total_cmp);
    let middle = errors.len() / 2;
    let upper = *errors.get(middle)?;
    Some(if errors.len() % 2 == 1 { upper } else { (errors[middle - 1] + upper) / 2.0 })
}
