//! Which picture a line is about.

use super::rows::Sidecar;
use crate::Result;
use crate::data::{Dataset, Kind};
use std::collections::HashMap;
use std::path::Path;

/// The pictures of a set by what sidecars call them.
pub(super) struct Keys {
    /// By path relative to the data folder; `None` for sets whose pictures are no files.
    files: Option<HashMap<String, u32>>,
    /// The line that named each picture; 0 for none yet.
    lines: Vec<u64>,
}

impl Keys {
    pub fn of(set: &Dataset) -> Self {
        let source = set.train.source();
        let relative = |i: usize| {
            let name = source.name(i);
            let path = Path::new(&name);
            slashes(&path.strip_prefix(&set.path).unwrap_or(path).to_string_lossy())
        };
        let by_file = set.kind == Kind::Folder;
        let files = by_file.then(|| (0..source.len()).map(|i| (relative(i), i as u32)).collect());
        Self { files, lines: vec![0; source.len()] }
    }

    /// The picture that a line names; `None` if it is not in the set.
    ///
    /// # Errors
    /// If the line names it in a way that does not fit the set, or an earlier line named the same picture.
    pub fn find(
        &mut self,
        sidecar: &Sidecar,
        line: u64,
        file: Option<&str>,
        index: Option<u64>,
    ) -> Result<Option<usize>> {
        let count = self.lines.len();
        let picture = match (&self.files, file, index) {
            (Some(files), Some(file), _) => match files.get(&slashes(file)) {
                Some(&i) => i as usize,
                None => return Ok(None),
            },
            (Some(_), None, _) => {
                return Err(sidecar.at(line, "no `file`: the picture's path relative to the data folder"));
            }
            (None, _, Some(index)) if index >= count as u64 => {
                let what = format!("index {index}, but the set has {count} pictures (0 to {})", count - 1);
                return Err(sidecar.at(line, what));
            }
            (None, _, Some(index)) => index as usize,
            (None, _, None) => {
                return Err(
                    sidecar.at(line, "no `index`: this set's pictures are no files but numbered from 0")
                );
            }
        };
        let earlier = std::mem::replace(&mut self.lines[picture], line);
        if earlier > 0 {
            return Err(sidecar.at(line, format!("the same picture as line {earlier}: join or remove one")));
        }
        Ok(Some(picture))
    }
}

fn slashes(path: &str) -> String {
    let path = path.replace('\\', "/");
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}
