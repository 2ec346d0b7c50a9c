//! Finding out what lies at a path, and opening it.

use super::bad::BadFiles;
use super::folder::{self, Folder, Listing};
use super::source::{Memory, Source, Split, hold_out, partition};
use super::{Dataset, EMBEDDED, Kind, Options, cifar, embedded, idx, numbered};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where torchvision and the sets' own archives put their files below the folder a user names.
const NESTED: [&str; 5] =
    ["cifar-10-batches-bin", "cifar-100-binary", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw"];
/// Names of a folder of held-out pictures, beside `train`; the first that has classes is taken.
const TEST_FOLDERS: [&str; 4] = ["test", "val", "valid", "validation"];

/// Opens the set at `path`: [`EMBEDDED`], or a folder of IDX files, of CIFAR binaries or of class folders, told by
/// what is in it. Without a test split of its own, one picture in ten is held out, the same ones in every run.
///
/// # Errors
/// Names what was looked for if nothing fits; malformed files; more than `data.max_bad` unreadable pictures.
pub fn open(path: &str, options: &Options) -> Result<Dataset> {
    if !matches!(options.channels, None | Some(1 | 3)) {
        return Err(Error::config("data.channels", "must be 1 (gray) or 3 (RGB)"));
    }
    if !(0.0..=1.0).contains(&options.max_bad) {
        return Err(Error::config(
            "data.max_bad",
            format!("{} is not a fraction from 0 to 1", options.max_bad),
        ));
    }
    let set = if path == EMBEDDED { open_embedded(options)? } else { open_path(path, options)? };
    for note in &set.notes {
        tracing::info!("{path}: {note}");
    }
    Ok(set)
}

fn open_embedded(options: &Options) -> Result<Dataset> {
    let classes = embedded::CLASSES.map(str::to_owned).to_vec();
    let memory = (embedded::read()?, None);
    Ok(in_memory(EMBEDDED, Kind::Embedded, memory, Some(classes), Some(embedded::HELD_OUT), options))
}

fn open_path(path: &str, options: &Options) -> Result<Dataset> {
    let root = Path::new(path);
    if !fs::metadata(root).map_err(|e| Error::io(root, e))?.is_dir() {
        return Err(Error::data(root, "is a file; give the folder that holds the data set, or `embedded`"));
    }
    for folder in std::iter::once(root.to_owned()).chain(NESTED.map(|sub| root.join(sub))) {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        let (train, test) = match idx::detect(&files)? {
            (None, test) => (test, None),
            both => both,
        };
        if let Some(train) = train {
            let memory = (idx::read(&train)?, test.as_ref().map(idx::read).transpose()?);
            return Ok(in_memory(path, Kind::Idx, memory, None, None, options));
        }
        if let Some(files) = cifar::detect(&files) {
            let kind = match files.variant {
                cifar::Variant::Cifar10 => Kind::Cifar10,
                cifar::Variant::Cifar100 => Kind::Cifar100,
            };
            let read = |paths: &[PathBuf]| cifar::read(files.variant, paths);
            let memory = (read(&files.train)?, files.test.clone().map(|path| read(&[path])).transpose()?);
            return Ok(in_memory(path, kind, memory, Some(cifar::class_names(&files)), None, options));
        }
    }
    open_folder(path, options)
}

/// `held`: how many pictures to hold out if there is no test split; one in ten if not given.
fn in_memory(
    path: &str,
    kind: Kind,
    (train, test): (Memory, Option<Memory>),
    classes: Option<Vec<String>>,
    held: Option<usize>,
    options: &Options,
) -> Dataset {
    let mut notes = Vec::new();
    let labelled = train.labelled();
    let test = test.filter(|test| {
        let usable = test.labelled() || !labelled;
        if !usable {
            notes.push("the test pictures have no labels and are left out".to_owned());
        }
        usable
    });
    let count = train.count_classes().max(test.as_ref().map_or(0, Memory::count_classes));
    let classes = if labelled { classes.unwrap_or_else(|| numbered(count)) } else { Vec::new() };
    let channels = options.channels.unwrap_or(train.channels());
    let total = train.len() + test.as_ref().map_or(0, |test| test.len());
    let bad = Arc::new(BadFiles::new(path, total, options.max_bad));
    let split = |source, members| Split::new(source, members, channels, bad.clone());
    let held_out = test.is_none();
    let train: Arc<dyn Source> = Arc::new(train);
    let (train, test) = match test {
        Some(test) => (split(train, None), split(Arc::new(test), None)),
        None => {
            let held = held.unwrap_or(tenth(train.len()));
            let (rest, held) = partition(&hold_out(train.len(), held));
            (split(train.clone(), Some(rest)), split(train, Some(held)))
        }
    };
    finish(Dataset {
        path: path.to_owned(),
        kind,
        classes,
        labelled,
        channels,
        train,
        test,
        held_out,
        bad,
        notes,
    })
}

fn open_folder(path: &str, options: &Options) -> Result<Dataset> {
    let root = Path::new(path);
    let mut notes = Vec::new();
    let (train, test) = list_splits(root, &mut notes)?;
    if train.files.is_empty() {
        return Err(nothing_found(root));
    }
    if train.beside > 0 {
        notes.push(format!("{} pictures beside the class folders are left out", train.beside));
    }
    if !train.empty.is_empty() {
        notes.push(format!("no classes, since no pictures are in them: {}", train.empty.join(", ")));
    }
    let mut classes = train.classes();
    let labelled = !classes.is_empty();
    let held_out = test.is_none();
    let test = test.unwrap_or_default();
    let unseen: Vec<String> = test.classes().into_iter().filter(|class| !classes.contains(class)).collect();
    if labelled && !unseen.is_empty() {
        notes.push(format!("classes without training pictures: {}", unseen.join(", ")));
        classes.extend(unseen);
        classes.sort();
    }

    // Who is held out is settled before anyone knows which files are bad, so that a file that breaks moves no other.
    let held = if held_out {
        hold_out(train.files.len(), tenth(train.files.len()))
    } else {
        [vec![false; train.files.len()], vec![true; test.files.len()]].concat()
    };
    let files = [train.files, test.files].concat();
    let bad = Arc::new(BadFiles::new(path, files.len(), options.max_bad));
    let headers = folder::scan(&files, &bad)?;
    let mut kept = Vec::with_capacity(files.len());
    let mut kept_held = Vec::with_capacity(files.len());
    for ((file, header), held) in files.into_iter().zip(headers).zip(held) {
        if let Some(header) = header {
            let label = classes.binary_search(&file.class).unwrap_or(0);
            kept.push((file.path, label as u32, header));
            kept_held.push(held);
        }
    }
    let (rest, held) = partition(&kept_held);
    if rest.is_empty() {
        return Err(Error::data(root, "not one picture to train on can be read"));
    }
    if bad.count() > 0 {
        notes.push(format!("{} unreadable files are left out", bad.count()));
    }
    let colour = kept.iter().any(|(_, _, header)| header.colour);
    let channels = options.channels.unwrap_or(if colour { 3 } else { 1 });
    let source: Arc<dyn Source> = Arc::new(Folder::new(kept));
    let split = |members| Split::new(source.clone(), Some(members), channels, bad.clone());
    let (train, test) = (split(rest), split(held));
    Ok(finish(Dataset {
        path: path.to_owned(),
        kind: Kind::Folder,
        classes,
        labelled,
        channels,
        train,
        test,
        held_out,
        bad,
        notes,
    }))
}

/// The listings of the training pictures and of the set's own test pictures, if it has any to evaluate on.
fn list_splits(root: &Path, notes: &mut Vec<String>) -> Result<(Listing, Option<Listing>)> {
    let folders = folder::subfolders(root)?;
    let find = |name: &str| folders.iter().find(|path| path.file_name().is_some_and(|n| n == name));
    let tests: Vec<&PathBuf> = TEST_FOLDERS.iter().filter_map(|name| find(name)).collect();
    // `train` may also be a class: the vehicle.
    let Some(train) = find("train").filter(|_| !tests.is_empty() || folders.len() == 1) else {
        return Ok((folder::list(root)?, None));
    };
    let train = folder::list(train)?;
    let labelled = !train.classes().is_empty();
    for path in tests {
        let test = folder::list(path)?;
        if !test.files.is_empty() && (!labelled || !test.classes().is_empty()) {
            return Ok((train, Some(test)));
        }
        notes.push(format!("{} has no class folders with pictures and is left out", path.display()));
    }
    Ok((train, None))
}

/// What every set gets, however it is stored.
fn finish(mut set: Dataset) -> Dataset {
    if !set.labelled {
        set.classes = vec!["unlabelled".to_owned()];
        set.notes.push("no labels: fit to pretrain on, not to evaluate on".to_owned());
    }
    if set.held_out {
        set.notes
            .push(format!("{} pictures are held out for evaluation, the same in every run", set.test.len()));
    }
    set
}

/// One in ten, but someone if there are two.
fn tenth(count: usize) -> usize {
    ((count + 5) / 10).max(usize::from(count > 1))
}

fn nothing_found(root: &Path) -> Error {
    let mut what = "no data set found. Looked for".to_owned();
    for line in [
        "IDX files: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-… (.gz or not)",
        "CIFAR-10 binaries: data_batch_1.bin …, test_batch.bin; CIFAR-100 binaries: train.bin, test.bin",
        "class folders: CLASS/…/picture.{png,jpg,jpeg,webp,bmp,gif}, or those below train/ and test/ (or val/)",
        "pictures in the folder itself, without classes",
    ] {
        what += "\n  - ";
        what += line;
    }
    let names = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    what += "\nIn it: ";
    what += &if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.iter().take(10).cloned().collect::<Vec<_>>().join(", ")
    };
    if names.len() > 10 {
        what += &format!(" and {} more", names.len() - 10);
    }
    Error::data(root, what)
}
