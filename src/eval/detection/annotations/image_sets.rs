//! Pascal VOC's own split: lists of names in `ImageSets/Main`.

use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Numbers of the pictures to learn from, and of those to judge on.
type Split = [Vec<usize>; 2];

/// The pictures to learn from and those to judge on, by `numbers` of their names, with what a user should know: trainval
/// and test where the test pictures are annotated, else train and val. `None` if there are no such lists.
pub fn read(folder: &Path, numbers: &BTreeMap<String, usize>) -> Result<(Option<Split>, Vec<String>)> {
    let mut notes = Vec::new();
    if !folder.is_dir() {
        return Ok((None, notes));
    }
    let mut list = |name: &str| -> Result<Option<Vec<usize>>> {
        let file = folder.join(format!("{name}.txt"));
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(file, e)),
        };
        let names: BTreeSet<&str> = text.lines().filter_map(|l| l.split_whitespace().next()).collect();
        let found: Vec<usize> = names.iter().filter_map(|&name| numbers.get(name).copied()).collect();
        if found.len() < names.len() {
            let (missing, all) = (names.len() - found.len(), names.len());
            notes.push(format!("{missing} of the {all} pictures of {} are not annotated", file.display()));
        }
        Ok((!found.is_empty()).then_some(found))
    };
    let [train, val, trainval, test] = ["train", "val", "trainval", "test"].map(&mut list);
    let (train, val, trainval, test) = (train?, val?, trainval?, test?);
    let both = match (&train, &val) {
        (Some(train), Some(val)) => Some(("train and val", [&train[..], &val[..]].concat())),
        (Some(one), None) => Some(("train", one.clone())),
        (None, Some(one)) => Some(("val", one.clone())),
        (None, None) => None,
    };
    let chosen = match (trainval.map(|rows| ("trainval", rows)).or(both), test, train, val) {
        (Some(learn), Some(test), ..) => Some((learn, ("test", test))),
        (_, None, Some(train), Some(val)) => Some((("train", train), ("val", val))),
        _ => None,
    };
    let Some(((learn, mut train), (judge, test))) = chosen else {
        let what = "has no two lists, to learn from and to judge on, of train, val, trainval and test";
        notes.push(format!("{} {what}", folder.display()));
        return Ok((None, notes));
    };
    train.sort_unstable();
    train.dedup();
    let both = numbers.iter().find(|(_, i)| train.binary_search(i).is_ok() && test.contains(i));
    if let Some((name, _)) = both {
        let what =
            format!("`{name}` is listed in {learn} and in {judge}: it would be judged on what it learnt");
        return Err(Error::data(folder, what));
    }
    notes.push(format!("the split of {}: {learn} to learn from, {judge} to judge on", folder.display()));
    Ok((Some([train, test]), notes))
}
