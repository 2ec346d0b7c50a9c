//! Positions in pictures' own EXIF (JPEG, PNG, WebP).
//! Source: CIPA DC-008 (Exif 2.32), section 4.6.6, GPS attribute information.

use super::cells::Position;
use crate::data::Source;
use crate::data::folder::progress;
use exif::{Exif, In, Reader, Tag, Value};
use rayon::prelude::*;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// There is a position, and it cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The position of each picture of a source of files, on all cores.
pub(super) fn read_all(source: &dyn Source) -> Vec<Result<Option<Position>, Malformed>> {
    let bar = progress("reading positions", source.len());
    let read = |i: usize| {
        bar.inc(1);
        read(Path::new(&source.name(i)))
    };
    let positions = (0..source.len()).into_par_iter().map(read).collect();
    bar.finish_and_clear();
    positions
}

/// `None` if the picture has no EXIF or no position in it.
pub(super) fn read(path: &Path) -> Result<Option<Position>, Malformed> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    let Ok(exif) = Reader::new().read_from_container(&mut BufReader::new(file)) else { return Ok(None) };
    if exif.get_field(Tag::GPSLatitude, In::PRIMARY).is_none() {
        return Ok(None);
    }
    let latitude = degrees(&exif, Tag::GPSLatitude, Tag::GPSLatitudeRef, [b'N', b'S']).ok_or(Malformed)?;
    let longitude = degrees(&exif, Tag::GPSLongitude, Tag::GPSLongitudeRef, [b'E', b'W']).ok_or(Malformed)?;
    Position::new(latitude, longitude).map(Some).ok_or(Malformed)
}

/// Degrees, minutes and seconds, and the letter that is their sign: the first of `signs` is positive.
fn degrees(exif: &Exif, value: Tag, sign: Tag, signs: [u8; 2]) -> Option<f64> {
    let Value::Rational(parts) = &exif.get_field(value, In::PRIMARY)?.value else { return None };
    let [d, m, s] = parts[..] else { return None };
    let Value::Ascii(letters) = &exif.get_field(sign, In::PRIMARY)?.value else { return None };
    let letter = *letters.first()?.first()?;
    let degrees = d.to_f64() + m.to_f64() / 60.0 + s.to_f64() / 3600.0;
    match signs.iter().position(|&sign| sign == letter)? {
        0 => Some(degrees),
        _ => Some(-degrees),
    }
}
