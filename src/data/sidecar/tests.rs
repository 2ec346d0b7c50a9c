//! Sidecars written, read back, and refused.

use super::cells::{divide, find};
use super::exif::{Malformed, read};
use super::*;
use crate::data::{Dataset, Options, open};
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

/// Pictures a/0.png … a/3.png, all to train on, and the files given.
fn folder(files: &[(&str, &str)]) -> (TempDir, Dataset) {
    let root = tempfile::tempdir().unwrap();
    for part in ["train/a", "test/a"] {
        fs::create_dir_all(root.path().join(part)).unwrap();
        for i in 0..4 {
            image::RgbImage::new(2, 2).save(root.path().join(format!("{part}/{i}.png"))).unwrap();
        }
    }
    for (name, text) in files {
        fs::write(root.path().join(name), text).unwrap();
    }
    let set = open(root.path().to_str().unwrap(), &Options::default()).unwrap();
    (root, set)
}

const ALL_TAGS: TagOptions = TagOptions { min_count: 1, max_tags: 100 };
const ALL_PLACES: PlaceOptions = PlaceOptions { max_photos: 1, min_photos: 1 };

#[test]
fn csv_and_jsonl_give_the_same_tags() {
    let csv = "file,tags\ntrain/a/0.png,#Shoes  ootd\n./train/a/1.png,shoes;#E\u{301}t\u{e9};shoes\ntrain/a/2.png,\nno.png,x\n";
    let json = concat!(
        "{\"file\": \"train/a/0.png\", \"tags\": [\"#Shoes\", \"ootd\"]}\n\n",
        "{\"file\": \"train\\\\a\\\\1.png\", \"tags\": [\"shoes\", \"\u{e9}t\u{e9}\"]}\n",
        "{\"file\": \"train/a/2.png\", \"tags\": []}\n{\"file\": \"no.png\", \"tags\": [\"x\"]}\n",
    );
    for (name, text) in [("hashtags.csv", csv), ("hashtags.jsonl", json)] {
        let (_root, set) = folder(&[(name, text)]);
        let tags = Tags::read(None, &set, &ALL_TAGS).unwrap();
        assert_eq!(tags.names, ["shoes", "ootd", "\u{e9}t\u{e9}"]);
        assert_eq!(tags.counts, [2, 1, 1]);
        let of: Vec<&[u32]> = (0..4).map(|i| &*tags.of[set.train.member(i)]).collect();
        assert_eq!(of, [&[0, 1][..], &[0, 2], &[], &[]]);
        assert_eq!((tags.origin.lines, tags.origin.unknown, tags.origin.without), (4, 1, 6));
        let most = Tags::read(None, &set, &TagOptions { min_count: 1, max_tags: 1 }).unwrap();
        let often = Tags::read(None, &set, &TagOptions { min_count: 2, max_tags: 9 }).unwrap();
        assert_eq!(
            (&most.names[..], &often.names[..]),
            (&["shoes".to_owned()][..], &["shoes".to_owned()][..])
        );
    }
}

#[test]
fn errors_name_file_and_line() {
    let gps = |line: &str| format!("file,latitude,longitude\ntrain/a/0.png,1,2\n{line}\n");
    for (line, wanted) in [
        ("train/a/1.png,90.5,0", "gps.csv: line 3: 90.5, 0 is off the globe"),
        ("train/a/1.png,NaN,0", "gps.csv: line 3: NaN, 0 is off the globe"),
        ("train/a/1.png,0,-181", "gps.csv: line 3: 0, -181 is off the globe"),
        ("train/a/0.png,1,2", "gps.csv: line 3: the same picture as line 2"),
        ("train/a/1.png,1", "gps.csv: line 3: 2 columns where the header has 3"),
        ("train/a/1.png,north,2", "gps.csv: line 3: "),
        (",1,2", "gps.csv: line 3: "),
    ] {
        let (_root, set) = folder(&[("gps.csv", &gps(line))]);
        let error = Places::read(None, &set, &ALL_PLACES).unwrap_err().to_string();
        assert!(error.contains(wanted), "{line}: {error}");
    }
    let embedded = open("embedded", &Options::default()).unwrap();
    for (name, text, wanted) in [
        ("hashtags.csv", "index,tags\n10000,a\n", "line 2: index 10000, but the set has 10000 pictures"),
        ("hashtags.csv", "file,tags\na.png,a\n", "line 2: no `index`"),
        ("hashtags.csv", "index,words\n1,a\n", "line 2: missing field `tags`"),
        ("hashtags.jsonl", "{\"index\": 1, \"tags\": [\"a\"]}\n{\"index\"\n", "line 2: "),
        ("hashtags.csv", "index,tags\n1,a\n", "no tag is on 2 or more"),
    ] {
        let (root, _) = folder(&[(name, text)]);
        let options = TagOptions { min_count: 2, max_tags: 9 };
        let error = Tags::read(Some(root.path()), &embedded, &options).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(wanted), "{text}: {error}");
    }
    let (root, set) = folder(&[]);
    assert!(Tags::read(None, &set, &ALL_TAGS).unwrap_err().to_string().contains("no hashtags.csv"));
    assert!(Places::read(None, &set, &ALL_PLACES).unwrap_err().to_string().contains("no gps.csv"));
    assert!(
        Tags::find(&set, &ALL_TAGS).unwrap().is_none() && Places::find(&set, &ALL_PLACES).unwrap().is_none()
    );
    fs::write(root.path().join("gps.csv"), "").unwrap();
    fs::write(root.path().join("gps.jsonl"), "").unwrap();
    assert!(Places::find(&set, &ALL_PLACES).unwrap_err().to_string().contains("stands beside"));
}

#[test]
fn the_embedded_set_has_tags_and_places() {
    let set = open("embedded", &Options::default()).unwrap();
    let tags = Tags::read(None, &set, &TagOptions::default()).unwrap();
    let places = Places::read(None, &set, &PlaceOptions::default()).unwrap();
    assert_eq!((tags.of.len(), places.of.len()), (10_000, 10_000));
    assert_eq!((tags.origin.lines, places.origin.lines), (9_187, 9_502));
    assert!(tags.names.iter().any(|name| name == "ootd"));
    assert!(places.cells.iter().all(|cell| (20..=500).contains(&cell.count)));
}

#[test]
fn distances_between_known_points() {
    let at = |latitude, longitude| Position::new(latitude, longitude).unwrap();
    let half = std::f64::consts::PI * 6371.0088;
    for (a, b, km) in [
        (at(90.0, 0.0), at(-90.0, 50.0), half),
        (at(0.0, 0.0), at(0.0, 90.0), half / 2.0),
        (at(0.0, 179.5), at(0.0, -179.5), half / 180.0),
    ] {
        assert!((great_circle_km(a, b) - km).abs() <= 1e-6);
    }
    let pairs = [at(0.0, 1.0), at(0.0, 3.0)].map(|b| (at(0.0, 0.0), b));
    assert!((median_error_km(pairs.into_iter()).unwrap() - half / 90.0).abs() <= 1e-6);
    assert_eq!(median_error_km(std::iter::empty()), None);
}

proptest! {
    #[test]
    fn cells_hold_what_they_count(
        points in prop::collection::vec((-90.0..=90.0f64, -180.0..=180.0f64), 1..200), max in 1usize..20, min in 1usize..5,
    ) {
        let points: Vec<Position> = points.iter().map(|&(a, b)| Position::new(a, b).unwrap()).collect();
        let cells = divide(points.iter().copied(), max, min);
        let mut counts = vec![0; cells.len()];
        for &p in &points {
            if let Some(at) = find(&cells, p) {
                let cell = &cells[at as usize];
                counts[at as usize] += 1;
                prop_assert!(cell.south - 1e-6 <= p.latitude && p.latitude <= cell.north + 1e-6);
                prop_assert!(cell.west <= p.longitude && p.longitude <= cell.east || p.longitude == 180.0);
            }
        }
        for (cell, count) in cells.iter().zip(counts) {
            prop_assert_eq!(cell.count, count);
            prop_assert!(min <= count && count <= max.max(min) && find(&cells, cell.centre).is_some());
        }
        prop_assert!(min > 1 || cells.iter().map(|cell| cell.count).sum::<usize>() == points.len());
    }
}

/// A JPEG of nothing but EXIF: 33° 52' 12" S and 151° 12' 36" E over `denominator`.
fn jpeg(denominator: u32) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    let entry = |tiff: &mut Vec<u8>, tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        tiff.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        tiff.extend([count.to_le_bytes(), value].concat());
    };
    tiff.extend([1, 0]);
    entry(&mut tiff, 0x8825, 4, 1, 26u32.to_le_bytes());
    tiff.extend([0, 0, 0, 0, 4, 0]);
    entry(&mut tiff, 1, 2, 2, *b"S\0\0\0");
    entry(&mut tiff, 2, 5, 3, 80u32.to_le_bytes());
    entry(&mut tiff, 3, 2, 2, *b"E\0\0\0");
    entry(&mut tiff, 4, 5, 3, 104u32.to_le_bytes());
    tiff.extend([0; 4]);
    for number in [33u32, 52, 12, 151, 12, 36] {
        tiff.extend([number.to_le_bytes(), denominator.to_le_bytes()].concat());
    }
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe1];
    jpeg.extend((tiff.len() as u16 + 8).to_be_bytes());
    [jpeg, b"Exif\0\0".to_vec(), tiff, vec![0xff, 0xd9]].concat()
}

#[test]
fn exif_gives_the_position() {
    let (root, _) = folder(&[]);
    let path = root.path().join("train/a/0.jpg");
    fs::write(&path, jpeg(1)).unwrap();
    let position = read(&path).unwrap().unwrap();
    assert!((position.latitude + 33.87).abs() <= 1e-9 && (position.longitude - 151.21).abs() <= 1e-9);
    fs::write(&path, jpeg(0)).unwrap();
    assert_eq!(read(&path), Err(Malformed));
    assert_eq!(read(&root.path().join("train/a/1.png")), Ok(None));
}
