//! GPS positions, and the map cells they fall in.

use super::cells::{Cell, Position, divide, find};
use super::keys::Keys;
use super::rows::Sidecar;
use super::{Origin, exif};
use crate::data::{Dataset, Kind};
use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// How finely to divide the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceOptions {
    /// Divide cells with more training pictures than this.
    pub max_photos: usize,
    /// Drop cells with fewer.
    pub min_photos: usize,
}

impl Default for PlaceOptions {
    /// PlaNet's 10,000 and 50 are for 91 million pictures; these are for sets of ten thousand to a million.
    fn default() -> Self {
        Self { max_photos: 500, min_photos: 20 }
    }
}

/// Where a set's pictures were taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    /// By cell id.
    pub cells: Vec<Cell>,
    /// The cell of every picture of the whole source: `of[split.member(i)]`. `None`: no position, or a dropped cell.
    pub of: Vec<Option<u32>>,
    /// The position itself, by the same index.
    pub positions: Vec<Option<Position>>,
    pub origin: Origin,
}

impl Places {
    /// Reads `path`, a sidecar or a folder with one; by default that in the data folder, else the pictures' EXIF. The
    /// cells are made from the training pictures alone.
    ///
    /// # Errors
    /// If there are no positions, the sidecar is malformed, or no cell is left.
    pub fn read(path: Option<&Path>, set: &Dataset, options: &PlaceOptions) -> Result<Self> {
        let places = match (Sidecar::find(path, set, "gps")?, path) {
            (Some(sidecar), _) => Some(Self::from_sidecar(&sidecar, set, options)?),
            (None, Some(_)) => None,
            (None, None) => Self::from_exif(set, options),
        };
        let Some(places) = places else {
            let folder = path.unwrap_or(Path::new(&set.path));
            let what =
                "no gps.csv or gps.jsonl in it, nor positions in pictures' EXIF (see `rusa::data::sidecar`)";
            return Err(Error::data(folder, what));
        };
        if places.cells.is_empty() {
            let what = format!(
                "no map cell has {} or more training pictures; {} of {} lines name no picture of {}",
                options.min_photos, places.origin.unknown, places.origin.lines, set.path
            );
            return Err(Error::data(places.origin.from, what));
        }
        Ok(places)
    }

    /// Those in the data folder or the pictures' EXIF, if any.
    pub fn find(set: &Dataset, options: &PlaceOptions) -> Result<Option<Self>> {
        match Sidecar::find(None, set, "gps")? {
            Some(sidecar) => Self::from_sidecar(&sidecar, set, options).map(Some),
            None => Ok(Self::from_exif(set, options)),
        }
    }

    fn from_sidecar(sidecar: &Sidecar, set: &Dataset, options: &PlaceOptions) -> Result<Self> {
        let mut keys = Keys::of(set);
        let mut positions = vec![None; set.train.source().len()];
        let rows = sidecar.rows::<Row, Row, Row>()?;
        let mut origin =
            Origin { from: sidecar.path.display().to_string(), lines: rows.len(), ..Origin::default() };
        for (line, row) in rows {
            let position = Position::new(row.latitude, row.longitude).ok_or_else(|| {
                let (latitude, longitude) = (row.latitude, row.longitude);
                let what = format!("{latitude}, {longitude} is off the globe (latitude ±90, longitude ±180)");
                sidecar.at(line, what)
            })?;
            match keys.find(sidecar, line, row.file.as_deref(), row.index)? {
                Some(picture) => positions[picture] = Some(position),
                None => origin.unknown += 1,
            }
        }
        Ok(Self::new(positions, set, options, origin))
    }

    /// `None` if the pictures are no files, or none has a position.
    fn from_exif(set: &Dataset, options: &PlaceOptions) -> Option<Self> {
        let found = if set.kind == Kind::Folder { exif::read_all(&**set.train.source()) } else { Vec::new() };
        let mut origin = Origin { from: "EXIF".to_owned(), ..Origin::default() };
        origin.malformed = found.iter().filter(|result| result.is_err()).count();
        let positions: Vec<Option<Position>> =
            found.into_iter().map(|result| result.unwrap_or(None)).collect();
        origin.lines = positions.iter().flatten().count();
        (origin.lines > 0).then(|| Self::new(positions, set, options, origin))
    }

    fn new(
        positions: Vec<Option<Position>>,
        set: &Dataset,
        options: &PlaceOptions,
        mut origin: Origin,
    ) -> Self {
        let train = (0..set.train.len()).filter_map(|i| positions[set.train.member(i)]);
        let cells = divide(train, options.max_photos, options.min_photos);
        let of: Vec<Option<u32>> = positions.iter().map(|p| p.and_then(|p| find(&cells, p))).collect();
        origin.without = of.iter().filter(|cell| cell.is_none()).count();
        Self { cells, of, positions, origin }
    }
}

#[derive(Deserialize)]
struct Row {
    file: Option<String>,
    index: Option<u64>,
    latitude: f64,
    longitude: f64,
}
