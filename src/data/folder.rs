//! Folders of pictures, laid out as torchvision's ImageFolder has them: the first level is the class, by name, with
//! pictures at any depth below.

use super::bad::BadFiles;
use super::decode::{self, Header};
use super::image::Image;
use super::source::Source;
use crate::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

const KINDS: [&str; 8] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif"];
/// Work on so many files shows a progress bar.
const LONG_SCAN: usize = 20_000;

/// A picture file before it has been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: PathBuf,
    /// Name of the class folder; empty in a folder without classes.
    pub class: String,
}

/// What lies in one folder of pictures.
#[derive(Debug, Default)]
pub struct Listing {
    /// In ImageFolder's order: by class, then folder, then name.
    pub files: Vec<File>,
    /// Class folders with no picture in them; they are no classes.
    pub empty: Vec<String>,
    /// Pictures beside the class folders; ImageFolder does not see them.
    pub beside: usize,
}

impl Listing {
    /// The classes, sorted; none in a folder without class folders.
    pub fn classes(&self) -> Vec<String> {
        let mut classes: Vec<String> = self.files.iter().map(|file| file.class.clone()).collect();
        classes.sort();
        classes.dedup();
        classes.retain(|class| !class.is_empty());
        classes
    }
}

/// Lists the pictures under `root` by their file names, following links. Hidden files and folders are left out.
pub fn list(root: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    for folder in subfolders(root)? {
        let class = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = pictures(&folder, usize::MAX)?;
        if files.is_empty() {
            listing.empty.push(class);
        } else {
            listing.files.extend(files.into_iter().map(|path| File { path, class: class.clone() }));
        }
    }
    let beside = pictures(root, 1)?;
    if listing.files.is_empty() {
        listing.files.extend(beside.into_iter().map(|path| File { path, class: String::new() }));
    } else {
        listing.beside = beside.len();
    }
    Ok(listing)
}

/// The folders in `root`, by name, without hidden ones.
pub fn subfolders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    walk(root, 1, |path, is_folder| {
        if is_folder {
            folders.push(path.to_owned());
        }
    })?;
    folders.sort();
    Ok(folders)
}

/// Picture files under `root` down to `depth`, by (folder, name).
fn pictures(root: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(root, depth, |path, is_folder| {
        if !is_folder && is_picture(path) {
            files.push(path.to_owned());
        }
    })?;
    let bytes = |s: Option<&OsStr>| s.unwrap_or_default().as_encoded_bytes().to_vec();
    files.sort_by_cached_key(|path| (bytes(path.parent().map(Path::as_os_str)), bytes(path.file_name())));
    Ok(files)
}

/// Calls `visit` with each folder and file under `root` that is not hidden, links followed, but not in circles. A link
/// to nowhere counts as a file.
///
/// # Errors
/// If a folder cannot be read.
fn walk(root: &Path, depth: usize, mut visit: impl FnMut(&Path, bool)) -> Result<()> {
    let base = root.canonicalize().map_err(|e| Error::io(root, e))?;
    // A link to above `root` would bring everything in once more; walkdir stops only at the second round.
    let leads_up = |entry: &DirEntry| {
        entry.path_is_symlink() && entry.path().canonicalize().is_ok_and(|target| base.starts_with(target))
    };
    let walk = WalkDir::new(root).min_depth(1).max_depth(depth).follow_links(true).into_iter();
    for entry in walk.filter_entry(|e| e.depth() == 0 || !(is_hidden(e.path()) || leads_up(e))) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => visit(entry.path(), true),
            Ok(entry) if entry.file_type().is_file() => visit(entry.path(), false),
            Ok(_) => (),
            Err(err) => {
                let path = err.path().unwrap_or(root).to_owned();
                if err.loop_ancestor().is_none() && !path.is_symlink() {
                    return Err(Error::io(path, err.into()));
                }
                if err.loop_ancestor().is_none() && !is_hidden(&path) {
                    visit(&path, false);
                }
            }
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    KINDS.iter().any(|kind| ending.eq_ignore_ascii_case(kind))
}

/// Looks at every file's header, on all cores; the unreadable go to `bad` and are `None` here.
///
/// # Errors
/// If `bad` has enough of them.
pub fn scan(files: &[File], bad: &BadFiles) -> Result<Vec<Option<Header>>> {
    let bar = progress("looking at files", files.len());
    let headers: Vec<Result<Header>> = files
        .par_iter()
        .map(|file| {
            bar.inc(1);
            decode::inspect(&file.path)
        })
        .collect();
    bar.finish_and_clear();
    // Reported in order, once all are known: the message is the same whatever the threads did.
    let mut verdict = Ok(());
    let headers = headers
        .into_iter()
        .zip(files)
        .map(|(header, file)| {
            header.map_err(|err| verdict = bad.report(&file.path.display().to_string(), &err)).ok()
        })
        .collect();
    verdict.map(|()| headers)
}

/// A bar on stderr if there is much to do; `indicatif` hides it where that is not a terminal.
pub(super) fn progress(what: &'static str, len: usize) -> ProgressBar {
    if len < LONG_SCAN {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style).with_message(what)
}

/// Pictures decoded when they are asked for.
pub struct Folder {
    files: Vec<(PathBuf, u32, Header)>,
}

impl Folder {
    /// (path, class, header) of each picture.
    pub fn new(files: Vec<(PathBuf, u32, Header)>) -> Self {
        Self { files }
    }
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn label(&self, i: usize) -> i64 {
        self.files[i].1.into()
    }

    fn name(&self, i: usize) -> String {
        self.files[i].0.display().to_string()
    }

    fn size(&self, i: usize) -> [usize; 2] {
        let header = self.files[i].2;
        [header.height as usize, header.width as usize]
    }

    fn read(&self, i: usize, into: &mut Image) -> Result<()> {
        decode::read(&self.files[i].0, into)
    }
}
