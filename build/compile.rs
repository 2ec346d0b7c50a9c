//! `kernels/*.cu` to PTX, and that PTX to machine code: what the PTX machine tests is what the chip's code is made of.

use super::cache::{self, Made, at, cached, key};
use super::find::Nvcc;
use super::ptx::{self, Launch};
use super::ptxas::{self, Figures};
use super::source::{self, Arch};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Settings {
    pub root: PathBuf,
    pub cache: PathBuf,
    pub nvcc: Nvcc,
    /// Variables that nvcc itself reads.
    pub environment: String,
    pub archs: Vec<Arch>,
    pub jobs: usize,
}

/// One `.cu` file, compiled.
pub struct Kernel {
    /// As in `kernels/saxpy.cu`.
    pub file: String,
    pub source: String,
    /// As in `compute_80`.
    pub target: String,
    pub ptx: String,
    pub cubins: Vec<(String, Vec<u8>)>,
    pub entries: Vec<Entry>,
    pub warnings: String,
}

pub struct Entry {
    pub name: String,
    pub line: usize,
    pub launch: Option<Launch>,
    pub spills_allowed: bool,
    /// By architecture, in the order of `cubins`.
    pub figures: Vec<(String, Figures)>,
}

/// Compiles everything, or says for every file that failed what nvcc said.
pub fn all(settings: &Settings) -> Result<Vec<Kernel>, String> {
    fs::create_dir_all(&settings.cache).map_err(|e| at(&settings.cache, e))?;
    let includes = includes(&settings.root.join("kernels/include"))?;
    let files = list(&settings.root.join("kernels"), "cu")?;
    let mut kernels =
        all_or_errors(parallel(settings.jobs, &files, |file| to_ptx(settings, file, &includes)))?;

    let pairs: Vec<(usize, &Arch)> = (0..kernels.len())
        .flat_map(|k| settings.archs.iter().map(move |arch| (k, arch)))
        .filter(|(k, arch)| {
            Arch::parse(&kernels[*k].target.replacen("compute", "sm", 1)).is_some_and(|t| arch.takes(&t))
        })
        .collect();
    let made = parallel(settings.jobs, &pairs, |(k, arch)| to_machine_code(settings, &kernels[*k], arch));
    for (&(k, arch), made) in pairs.iter().zip(all_or_errors(made)?) {
        let figures = ptxas::parse(&made.report);
        for entry in &mut kernels[k].entries {
            let its = figures
                .get(&entry.name)
                .ok_or_else(|| format!("ptxas reported nothing on {}", entry.name))?;
            entry.figures.push((arch.to_string(), *its));
        }
        let warnings = made.report.lines().filter(|l| l.contains("warning")).map(|l| format!("{l}\n"));
        kernels[k].warnings.extend(warnings);
        kernels[k].cubins.push((arch.to_string(), made.code));
    }
    unique_names(&kernels)?;
    cache::forget_old(&settings.cache);
    Ok(kernels)
}

/// A line for every entry that spills without leave.
pub fn forbidden_spills(kernels: &[Kernel]) -> Vec<String> {
    let mut lines = Vec::new();
    for kernel in kernels {
        for entry in kernel.entries.iter().filter(|e| !e.spills_allowed) {
            for (arch, f) in entry.figures.iter().filter(|(_, f)| f.spill_stores + f.spill_loads > 0) {
                lines.push(format!(
                    "{}:{}: {} spills on {arch}: {} bytes stored, {} loaded, with {} registers",
                    kernel.file, entry.line, entry.name, f.spill_stores, f.spill_loads, f.registers
                ));
            }
        }
    }
    lines
}

fn to_ptx(settings: &Settings, path: &Path, includes: &[(String, Vec<u8>)]) -> Result<Kernel, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let file = format!("kernels/{name}");
    let source = fs::read_to_string(path).map_err(|e| at(path, e))?;
    let target = source::wanted_arch(&source).map_err(|e| format!("{file}: {e}"))?.compute();
    let arch = format!("-arch={target}");
    let args = [
        "-ptx",
        &arch,
        "-O3",
        "-lineinfo",
        "-std=c++17",
        "-I",
        "kernels/include",
        "-allow-unsupported-compiler",
    ];

    let root = settings.root.to_string_lossy();
    let mut hash = key(settings, &args).field(root.as_bytes()).field(&file).field(&source);
    for (name, content) in includes {
        hash = hash.field(name).field(content);
    }
    let made = cached(settings, &hash.hex(), "ptx", &args, Path::new(&file))?;
    // nvcc writes whole paths; without this checkout's they mean the same on every machine.
    let text = String::from_utf8_lossy(&made.code);
    let here = format!("\"{root}/");
    let ptx = text.lines().map(|l| if l.contains(".file") { l.replace(&here, "\"") } else { l.into() });
    let ptx = ptx.collect::<Vec<_>>().join("\n") + "\n";

    let found = ptx::entries(&ptx);
    if found.is_empty() {
        return Err(format!("{file}: no `extern \"C\" __global__` entry"));
    }
    let entry = |e: ptx::EntryPoint| {
        let line = source::line_of(&source, &e.name)
            .ok_or_else(|| format!("{file}: entry {} is not spelled whole (is it extern \"C\"?)", e.name))?;
        let spills_allowed = source::allows_spills(&source, line);
        Ok(Entry { line, spills_allowed, name: e.name, launch: e.launch, figures: Vec::new() })
    };
    let entries = found.into_iter().map(entry).collect::<Result<_, String>>()?;
    Ok(Kernel { file, source, target, ptx, cubins: Vec::new(), entries, warnings: made.report })
}

fn to_machine_code(settings: &Settings, kernel: &Kernel, arch: &Arch) -> Result<Made, String> {
    let arch = format!("-arch={arch}");
    let args = ["-cubin", &arch, "-O3", "-lineinfo", "-Xptxas", "-v"];
    let key = key(settings, &args).field(&kernel.ptx).hex();
    let input = settings.cache.join(format!("{key}.{}.ptx", std::process::id()));
    fs::write(&input, &kernel.ptx).map_err(|e| at(&input, e))?;
    let made = cached(settings, &key, "cubin", &args, &input);
    // A copy left behind does no harm.
    let _ = fs::remove_file(&input);
    made.map_err(|e| format!("{} for {}: {e}", kernel.file, &arch[6..]))
}

/// Runs `work` over `items` on so many threads; results in the items' order.
fn parallel<T: Sync, R: Send>(jobs: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some((i, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, items.get(i)?)))
        {
            done.push((i, work(item)));
        }
        done
    };
    let results: BTreeMap<usize, R> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.clamp(1, items.len().max(1))).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    results.into_values().collect()
}

fn all_or_errors<T>(results: Vec<Result<T, String>>) -> Result<Vec<T>, String> {
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    if bad.is_empty() {
        return Ok(good.into_iter().flatten().collect());
    }
    Err(bad.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("\n"))
}

/// A launch names its entry and no file, so two entries cannot share a name.
fn unique_names(kernels: &[Kernel]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for (kernel, entry) in kernels.iter().flat_map(|k| k.entries.iter().map(move |e| (k, e))) {
        if let Some(other) = seen.insert(&entry.name, &kernel.file) {
            return Err(format!("entry {} is in {other} and in {}", entry.name, kernel.file));
        }
    }
    Ok(())
}

fn list(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder).map_err(|e| at(folder, e))? {
        let path = item.map_err(|e| at(folder, e))?.path();
        if path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn includes(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let read = |path: PathBuf| {
        Ok((
            path.file_name().unwrap_or_default().to_string_lossy().into(),
            fs::read(&path).map_err(|e| at(&path, e))?,
        ))
    };
    list(folder, "cuh")?.into_iter().map(read).collect()
}
