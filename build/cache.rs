//! nvcc's results under `<target>/cuda-cache`, named by all that went into them.

use super::compile::Settings;
use super::hash::Hash;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Raise it when what is stored under a key changes.
const FORMAT: &str = "1";

/// How long the cache keeps what no build asks for.
const KEEP: Duration = Duration::from_secs(14 * 24 * 3600);

pub struct Made {
    pub code: Vec<u8>,
    /// All that nvcc said.
    pub report: String,
}

/// A key that holds the compiler and its flags; the caller adds the input.
pub fn key(settings: &Settings, args: &[&str]) -> Hash {
    Hash::new(FORMAT).field(&settings.nvcc.version).field(&settings.environment).field(args.join("\n"))
}

/// Takes `<key>.<kind>` and what nvcc said from the cache, or runs nvcc and puts them there.
pub fn cached(
    settings: &Settings,
    key: &str,
    kind: &str,
    args: &[&str],
    input: &Path,
) -> Result<Made, String> {
    let named = |name: String| settings.cache.join(name);
    let (made, said) = (named(format!("{key}.{kind}")), named(format!("{key}.log")));
    if let (Ok(code), Ok(report)) = (fs::read(&made), fs::read_to_string(&said)) {
        touch(&made);
        touch(&said);
        return Ok(Made { code, report });
    }
    let new = named(format!("{key}.{}.new", std::process::id()));
    let output = Command::new(&settings.nvcc.path)
        .args(args)
        .arg("-o")
        .arg(&new)
        .arg(input)
        .current_dir(&settings.root)
        .output()
        .map_err(|e| at(&settings.nvcc.path, e))?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        let printed = String::from_utf8_lossy(&output.stdout);
        return Err(format!("nvcc failed on {} ({}):\n{printed}{report}", input.display(), output.status));
    }
    let code = fs::read(&new).map_err(|e| at(&new, e))?;
    // The report first: the code's own name, given last and at once, says that both are whole.
    fs::write(&said, &report).map_err(|e| at(&said, e))?;
    fs::rename(&new, &made).map_err(|e| at(&made, e))?;
    Ok(Made { code, report })
}

/// Marks a file as in use. Best effort: failing that it is made anew some day.
fn touch(file: &Path) {
    let _ = fs::File::options().append(true).open(file).and_then(|f| f.set_modified(SystemTime::now()));
}

/// Best effort too: the cache is right with or without it.
pub fn forget_old(cache: &Path) {
    for item in fs::read_dir(cache).into_iter().flatten().flatten() {
        let age = item.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if age.is_some_and(|age| age > KEEP) {
            let _ = fs::remove_file(item.path());
        }
    }
}

pub fn at(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
