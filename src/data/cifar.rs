//! CIFAR-10 and CIFAR-100, binary version: records of label byte(s) and 3072 bytes, a red, a green and a blue plane of
//! 32 × 32. CIFAR-100 has two label bytes, coarse then fine; the fine one counts.
//! Source: Krizhevsky, <https://www.cs.toronto.edu/~kriz/cifar.html>, "Binary version".

use super::source::Memory;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// Which of the two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Cifar10,
    Cifar100,
}

impl Variant {
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }
}

/// What of CIFAR lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub variant: Variant,
    pub train: Vec<PathBuf>,
    pub test: Option<PathBuf>,
    names: Option<PathBuf>,
}

/// CIFAR's files among those of a folder, told by their names; training batches in the order of their numbers.
pub fn detect(files: &[PathBuf]) -> Option<Files> {
    let name = |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
    let find = |wanted: &str| files.iter().find(|path| name(path) == wanted).cloned();
    let batch = |path: &PathBuf| -> Option<u32> {
        name(path).strip_prefix("data_batch_")?.strip_suffix(".bin")?.parse().ok()
    };
    let mut batches: Vec<(u32, PathBuf)> =
        files.iter().filter_map(|p| Some((batch(p)?, p.clone()))).collect();
    batches.sort();
    if !batches.is_empty() {
        let train = batches.into_iter().map(|(_, path)| path).collect();
        let (test, names) = (find("test_batch.bin"), find("batches.meta.txt"));
        return Some(Files { variant: Variant::Cifar10, train, test, names });
    }
    let (test, names) = (find("test.bin"), find("fine_label_names.txt"));
    Some(Files { variant: Variant::Cifar100, train: vec![find("train.bin")?], test, names })
}

/// Reads one split: the records of all `paths`, in order.
pub fn read(variant: Variant, paths: &[PathBuf]) -> Result<Memory> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in paths {
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        parse(variant, path, &bytes, &mut pixels, &mut labels)?;
    }
    let name = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).display().to_string();
    Ok(Memory::new(name, [SIDE, SIDE, 3], pixels, labels))
}

/// Appends the pictures of one file to `pixels` [N, 32, 32, 3] and `labels` [N].
pub fn parse(
    variant: Variant,
    path: &Path,
    bytes: &[u8],
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u8>,
) -> Result<()> {
    let head = variant.label_bytes();
    let record = head + 3 * PLANE;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let what = format!("{} bytes are not a whole number of {variant:?} records of {record}", bytes.len());
        return Err(Error::data(path, what));
    }
    let count = bytes.len() / record;
    labels.reserve(count);
    pixels.reserve(count * 3 * PLANE);
    for (i, record) in bytes.chunks_exact(record).enumerate() {
        let (label, planes) = record.split_at(head);
        let label = label[head - 1];
        if usize::from(label) >= variant.classes() {
            let what =
                format!("record {i}: label {label}, but {variant:?} has {} classes", variant.classes());
            return Err(Error::data(path, what));
        }
        labels.push(label);
        pixels.extend((0..PLANE).flat_map(|p| [planes[p], planes[PLANE + p], planes[2 * PLANE + p]]));
    }
    Ok(())
}

/// Class names from the set's text file, or their numbers if it is missing or does not fit.
pub fn class_names(files: &Files) -> Vec<String> {
    let count = files.variant.classes();
    let text = files.names.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == count { names } else { super::numbered(count) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(variant: Variant, label: u8) -> Vec<u8> {
        let mut bytes = if variant == Variant::Cifar10 { vec![label] } else { vec![19, label] };
        bytes.extend((0..3 * PLANE).map(|i| (i / PLANE * 80 + i % 73) as u8));
        bytes
    }

    fn try_parse(variant: Variant, bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        parse(variant, Path::new("f"), bytes, &mut pixels, &mut labels)?;
        Ok((pixels, labels))
    }

    #[test]
    fn planes_become_pixels() {
        for (variant, top) in [(Variant::Cifar10, 9), (Variant::Cifar100, 99)] {
            let bytes = [record(variant, 3), record(variant, top)].concat();
            let (pixels, labels) = try_parse(variant, &bytes).unwrap();
            assert_eq!(labels, [3, top]);
            assert_eq!(pixels.len(), 2 * 3 * PLANE);
            for i in 0..2 * PLANE {
                let expect: Vec<u8> = (0..3).map(|c| (c * 80 + (c * PLANE + i % PLANE) % 73) as u8).collect();
                assert_eq!(pixels[3 * i..3 * i + 3], expect, "pixel {i}");
            }
            assert!(try_parse(variant, &record(variant, top + 1)).unwrap_err().to_string().contains("label"));
        }
    }

    #[test]
    fn files_by_name() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let ten = detect(&paths(&["data_batch_10.bin", "data_batch_2.bin", "test_batch.bin", "x"])).unwrap();
        assert_eq!(ten.variant, Variant::Cifar10);
        assert_eq!(ten.train, paths(&["data_batch_2.bin", "data_batch_10.bin"]));
        let hundred = detect(&paths(&["train.bin", "test.bin"])).unwrap();
        assert_eq!((hundred.variant, hundred.test), (Variant::Cifar100, Some("test.bin".into())));
        assert_eq!(detect(&paths(&["test.bin", "data_batch_x.bin"])), None);
    }

    proptest! {
        #[test]
        fn only_whole_records(len in 0usize..10_000, byte in any::<u8>()) {
            let bytes = vec![byte; len];
            for (variant, size, top) in [(Variant::Cifar10, 3073, 10), (Variant::Cifar100, 3074, 100)] {
                let fine = len > 0 && len % size == 0 && byte < top;
                prop_assert_eq!(try_parse(variant, &bytes).is_ok(), fine);
            }
        }
    }
}
