//! Where nvcc is: `$NVCC`, `$CUDA_HOME`, `$CUDA_PATH`, `.toolchain`, `PATH`, `/usr/local/cuda`, in this order.
//! `scripts/fetch-cuda.sh` looks in the same places.

use std::env::split_paths;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `scripts/fetch-cuda.sh` puts it.
const FETCHED: &str = ".toolchain/cuda/nvidia/cu13/bin";

const FETCH: &str = "`make cuda` gets the rest";

/// The oldest release that knows sm_90a.
const OLDEST: (u32, u32) = (12, 0);

#[derive(Clone, Debug)]
pub struct Nvcc {
    pub path: PathBuf,
    /// As in `13.0.88`.
    pub version: String,
}

#[derive(Debug)]
pub enum Search {
    Found(Nvcc),
    /// Why none, and what to do about it.
    Nothing {
        why: String,
        mend: &'static str,
    },
}

/// Looks for an nvcc that runs. A `$NVCC` that does not is an error: somebody meant it.
pub fn search(root: &Path, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Search, String> {
    let set = |name: &str| env(name).filter(|v| !v.is_empty());
    let path: Vec<PathBuf> = set("PATH").map(|p| split_paths(&p).collect()).unwrap_or_default();
    let on_path = |name: &Path| path.iter().map(|d| d.join(name)).find(|f| f.is_file());

    let found = if let Some(nvcc) = set("NVCC") {
        let named = PathBuf::from(nvcc);
        let file = if named.components().count() == 1 { on_path(&named) } else { Some(root.join(&named)) };
        let file = file.ok_or_else(|| format!("$NVCC names {}, which is not on PATH", named.display()))?;
        Some(probe(&file).map_err(|why| format!("$NVCC: {why}"))?)
    } else {
        let homes =
            ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(set).map(|h| PathBuf::from(h).join("bin"));
        let rest = [root.join(FETCHED)].into_iter().chain(path.iter().cloned());
        let folders = homes.chain(rest).chain([PathBuf::from("/usr/local/cuda/bin")]);
        let mut refused = Vec::new();
        let found = folders
            .map(|folder| folder.join(if cfg!(windows) { "nvcc.exe" } else { "nvcc" }))
            .filter(|file| file.is_file())
            .find_map(|file| probe(&file).map_err(|why| refused.push(why)).ok());
        if found.is_none() && !refused.is_empty() {
            let why = format!("no CUDA compiler of use ({})", refused.join("; "));
            return Ok(Search::Nothing { why, mend: FETCH });
        }
        found
    };
    let Some(nvcc) = found else {
        return Ok(Search::Nothing { why: "no CUDA compiler (nvcc) found".into(), mend: FETCH });
    };
    // nvcc runs the host's C++ compiler as preprocessor, for device code too.
    if cfg!(unix) && set("NVCC_CCBIN").is_none() && on_path(Path::new("g++")).is_none() {
        let why = format!("{} finds no C++ compiler to preprocess with", nvcc.path.display());
        return Ok(Search::Nothing { why, mend: "install g++ to get the rest" });
    }
    Ok(Search::Found(nvcc))
}

fn probe(file: &Path) -> Result<Nvcc, String> {
    let output = Command::new(file)
        .arg("--version")
        .output()
        .map_err(|e| format!("{} does not run: {e}", file.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = parse_version(&text)
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("{} does not answer --version like an nvcc", file.display()))?;
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        let (major, minor) = OLDEST;
        return Err(format!("{} is {version}, older than {major}.{minor}", file.display()));
    }
    Ok(Nvcc { path: file.into(), version: version.into() })
}

/// `13.0.88` from `… release 13.0, V13.0.88`.
fn parse_version(text: &str) -> Option<&str> {
    let after = text.split_once("release ")?.1.split_once(", V")?.1;
    let version = after.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version() {
        let text = "Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0/compiler";
        assert_eq!(parse_version(text), Some("13.0.88"));
        assert_eq!(parse_version("gcc (Debian 12.2.0) release x"), None);
        assert_eq!(parse_version("release 13.0, V"), None);
    }

    #[test]
    fn nothing_anywhere_is_an_answer_and_a_wrong_name_an_error() -> Result<(), Box<dyn std::error::Error>> {
        let empty = tempfile::tempdir()?;
        let nothing = search(empty.path(), &|_| None)?;
        // A machine with /usr/local/cuda has none of its own PATH here, so no g++ either: still nothing.
        assert!(matches!(nothing, Search::Nothing { .. }), "{nothing:?}");
        let wrong = |name: &str| (name == "NVCC").then(|| "/no/such/nvcc".into());
        let error = search(empty.path(), &wrong).err().unwrap_or_default();
        assert!(error.contains("$NVCC") && error.contains("/no/such/nvcc"), "{error}");
        Ok(())
    }
}
