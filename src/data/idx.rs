//! IDX, the format of MNIST and its kin: two zero bytes, an element type (8: u8), the number of dimensions, each
//! dimension as a big-endian u32, then the elements. Gzip or not, told by content, since browsers unpack `.gz` unasked.
//! Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "File formats".

use super::source::Memory;
use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// Deflate cannot expand further than this, so neither can a claim that is true.
const MAX_INFLATION: usize = 1032;

/// One tensor of u8, as an IDX file holds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Idx {
    pub dims: Vec<usize>,
    pub data: Vec<u8>,
}

/// The files of one split: images, and labels if they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub images: PathBuf,
    pub labels: Option<PathBuf>,
}

/// Parses an IDX file of u8; `path` is for messages. Memory grows with the data that is there, whatever the header says.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Idx> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let longest = bytes.len().saturating_mul(MAX_INFLATION);
        parse_stream(path, MultiGzDecoder::new(bytes), longest)
    } else {
        parse_stream(path, Cursor::new(bytes), bytes.len())
    }
}

/// `longest`: more bytes than this the stream cannot give.
fn parse_stream(path: &Path, mut stream: impl Read, longest: usize) -> Result<Idx> {
    let bad = |what: String| Error::data(path, what);
    let mut word = || -> Result<[u8; 4]> {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).map_err(|e| bad(format!("IDX header cut short ({e})")))?;
        Ok(bytes)
    };
    let magic = word()?;
    let [0, 0, kind, rank] = magic else {
        return Err(bad(format!("not an IDX file: starts with {magic:02x?}, not with two zero bytes")));
    };
    if kind != 8 {
        return Err(bad(format!("IDX element type {kind:#04x} is not supported, only 0x08 (u8)")));
    }
    if !(1..=4).contains(&rank) {
        return Err(bad(format!("IDX file of {rank} dimensions; expected 1 to 4")));
    }
    let dims = (0..rank).map(|_| Ok(u32::from_be_bytes(word()?) as usize)).collect::<Result<Vec<_>>>()?;
    let len = dims
        .iter()
        .try_fold(1usize, |len, &dim| len.checked_mul(dim))
        .filter(|&len| len <= longest)
        .ok_or_else(|| bad(format!("IDX header claims {dims:?} bytes, far more than the file holds")))?;

    let mut data = Vec::new();
    // Not `reserve`: on a false claim the allocation may fail, and that should be an error, not an abort.
    data.try_reserve_exact(len).map_err(|e| bad(format!("cannot hold {len} bytes in memory: {e}")))?;
    stream.by_ref().take(len as u64).read_to_end(&mut data).map_err(|e| Error::io(path, e))?;
    if data.len() < len {
        return Err(bad(format!("cut short: {} of the {len} bytes of {dims:?} are there", data.len())));
    }
    match stream.read(&mut [0]) {
        Ok(0) => Ok(Idx { dims, data }),
        Ok(_) => Err(bad(format!("goes on after the {len} bytes of {dims:?} that its header claims"))),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// Images [N, H, W] or [N, H, W, C] (C 1 or 3) and labels [N], if any, as one source.
pub fn assemble(images: (&Path, Idx), labels: Option<(&Path, Idx)>) -> Result<Memory> {
    let (path, images) = images;
    let (count, shape) = match images.dims[..] {
        [n, h, w] => (n, [h, w, 1]),
        [n, h, w, c @ (1 | 3)] => (n, [h, w, c]),
        _ => {
            return Err(Error::data(
                path,
                format!("shape {:?} is not that of pictures, [N, H, W]", images.dims),
            ));
        }
    };
    if count == 0 || shape.contains(&0) {
        return Err(Error::data(path, format!("no pictures: shape {:?}", images.dims)));
    }
    let labels = match labels {
        Some((_, labels)) if labels.dims == [count] => labels.data,
        Some((labels_path, labels)) => {
            let what =
                format!("labels of shape {:?} for the {count} pictures of {}", labels.dims, path.display());
            return Err(Error::data(labels_path, what));
        }
        None => Vec::new(),
    };
    Ok(Memory::new(path.display().to_string(), shape, images.data, labels))
}

/// Reads one split.
pub fn read(files: &Files) -> Result<Memory> {
    let load = |path: &Path| parse(path, &fs::read(path).map_err(|e| Error::io(path, e))?);
    let labels = files.labels.as_deref().map(|path| load(path).map(|idx| (path, idx))).transpose()?;
    assemble((&files.images, load(&files.images)?), labels)
}

/// The (train, test) files among `files` of a folder, by MNIST's names: `train-images-idx3-ubyte`, `t10k-…` (or
/// `test-…`), `-labels-idx1-ubyte`, with `.` for the last-but-one `-` and `.gz` allowed, and a prefix (EMNIST).
///
/// # Errors
/// If several sets of files lie in the folder.
pub fn detect(files: &[PathBuf]) -> Result<(Option<Files>, Option<Files>)> {
    Ok((detect_split(files, &["train"])?, detect_split(files, &["t10k", "test"])?))
}

fn detect_split(files: &[PathBuf], words: &[&str]) -> Result<Option<Files>> {
    let mut found: Vec<(String, &PathBuf)> = files
        .iter()
        .filter_map(|path| Some((stem(path, "images", "idx3")?, path)))
        .filter(|(stem, _)| words.iter().any(|word| stem.contains(word)))
        .collect();
    // The unpacked file before its .gz, when both are there.
    found.sort();
    found.dedup_by(|b, a| a.0 == b.0);
    match &found[..] {
        [] => Ok(None),
        [(name, images)] => {
            let labels =
                files.iter().filter(|path| stem(path, "labels", "idx1").as_ref() == Some(name)).min();
            Ok(Some(Files { images: images.to_path_buf(), labels: labels.cloned() }))
        }
        [(_, a), (_, b), ..] => {
            let what = format!("two sets lie in one folder: this and {}; give each its own", b.display());
            Err(Error::data(a, what))
        }
    }
}

/// `train` for `train-images-idx3-ubyte.gz`, given `images` and `idx3`; `None` for other files.
fn stem(path: &Path, what: &str, idx: &str) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let name = name.strip_suffix("-ubyte")?.strip_suffix(idx)?.strip_suffix(['-', '.'])?;
    Some(name.strip_suffix(what)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn try_parse(bytes: &[u8]) -> Result<Idx> {
        parse(Path::new("f"), bytes)
    }

    #[test]
    fn plain_and_gzip() {
        let bytes = [&[0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[1, 2, 3, 4, 5, 6]].concat();
        let idx = try_parse(&bytes).unwrap();
        assert_eq!((&idx.dims[..], &idx.data[..]), (&[2, 3][..], &[1, 2, 3, 4, 5, 6][..]));
        assert_eq!(try_parse(&gzip(&bytes)).unwrap(), idx);
        assert!(try_parse(&[&bytes[..], &[7]].concat()).unwrap_err().to_string().contains("goes on"));
    }

    #[test]
    fn a_huge_claim_is_an_error_before_it_is_an_allocation() {
        let claim = [&[0, 0, 8, 3][..], &[0xff; 12], &[1, 2, 3]].concat();
        for bytes in [claim.clone(), gzip(&claim)] {
            assert!(try_parse(&bytes).unwrap_err().to_string().contains("claims"));
        }
    }

    #[test]
    fn other_element_types_are_named() {
        let text = try_parse(&[0, 0, 0x0d, 1, 0, 0, 0, 0]).unwrap_err().to_string();
        assert!(text.contains("0x0d"), "{text}");
    }

    #[test]
    fn labels_must_fit() {
        let idx = |dims: &[usize]| Idx { dims: dims.to_vec(), data: vec![0; dims.iter().product()] };
        let images = Path::new("images");
        let make = |a: &[usize], b: &[usize]| assemble((images, idx(a)), Some((Path::new("labels"), idx(b))));
        assert!(make(&[4, 2, 2], &[4]).is_ok());
        assert!(make(&[4, 2, 2, 3], &[4]).is_ok());
        for (a, b) in [
            (&[4, 2, 2][..], &[3][..]),
            (&[4, 2], &[4]),
            (&[0, 2, 2], &[0]),
            (&[4, 0, 2], &[4]),
            (&[4, 2, 2, 2], &[4]),
        ] {
            assert!(make(a, b).is_err(), "{a:?} {b:?}");
        }
    }

    #[test]
    fn names() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let all = paths(&[
            "t10k-images.idx3-ubyte",
            "t10k-labels.idx1-ubyte",
            "train-images-idx3-ubyte",
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "readme.txt",
        ]);
        let (train, test) = detect(&all).unwrap();
        let train = train.unwrap();
        assert_eq!((train.images, train.labels), (all[2].clone(), Some(all[4].clone())));
        assert_eq!(test.unwrap().labels, Some(all[1].clone()));
        assert_eq!(detect(&all[5..]).unwrap(), (None, None));
        let two = paths(&["emnist-letters-train-images-idx3-ubyte", "emnist-digits-train-images-idx3-ubyte"]);
        assert!(detect(&two).unwrap_err().to_string().contains("two sets"));
        assert_eq!(detect(&two[..1]).unwrap().0.unwrap().labels, None);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = try_parse(&bytes);
            let _ = try_parse(&gzip(&bytes));
        }

        #[test]
        fn any_header(rank in 0u8..6, dims in proptest::collection::vec(any::<u32>(), 5), body in 0usize..64) {
            let mut bytes = vec![0, 0, 8, rank];
            dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
            bytes.extend(vec![9; body]);
            let _ = try_parse(&bytes);
            let _ = try_parse(&gzip(&bytes));
        }

        #[test]
        fn cut_anywhere(n in 1u32..5, h in 1u32..5, w in 1u32..5, cut in 0.0f64..1.0) {
            let mut bytes = vec![0, 0, 8, 3];
            [n, h, w].iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
            bytes.extend(vec![7; (n * h * w) as usize]);
            let zipped = gzip(&bytes);
            prop_assert!(try_parse(&bytes).is_ok() && try_parse(&zipped).is_ok());
            prop_assert!(try_parse(&bytes[..(bytes.len() as f64 * cut) as usize]).is_err());
            prop_assert!(try_parse(&zipped[..(zipped.len() as f64 * cut) as usize]).is_err());
        }
    }
}
