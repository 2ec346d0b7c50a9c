//! What `build.rs` does: find nvcc, compile the kernels, judge their spills, hand them to `src/kernels.rs`.
//!
//! `tests/toolchain.rs` includes these modules too: that is where their tests run.

pub mod cache;
pub mod compile;
pub mod emit;
pub mod find;
pub mod hash;
pub mod ptx;
pub mod ptxas;
pub mod source;

use compile::{Kernel, Settings};
use find::{Nvcc, Search};
use std::env;
use std::path::{Path, PathBuf};

/// What `RUSA_CUDA_ARCHS` is when nobody says: A100, L4 and RTX 40, H100 and H200.
const ARCHS: &str = "sm_80,sm_89,sm_90a";

/// Variables that change what comes out. Not `PATH`: every new shell or editor would rebuild the crate.
const WATCHED: &[&str] = &[
    "NVCC",
    "CUDA_HOME",
    "CUDA_PATH",
    "NVCC_CCBIN",
    "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS",
    "RUSA_CUDA_ARCHS",
    "RUSA_REQUIRE_NVCC",
];

/// The whole build script. An error is what the user reads.
pub fn run() -> Result<(), String> {
    // fetch-cuda.sh touches itself: cargo would rerun us at every build if we watched a folder that is not there.
    for path in ["build.rs", "build", "kernels", "scripts/fetch-cuda.sh"] {
        println!("cargo:rerun-if-changed={path}");
    }
    for name in WATCHED {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let required = env::var("RUSA_REQUIRE_NVCC").is_ok_and(|v| !v.is_empty() && v != "0");
    let archs = env::var("RUSA_CUDA_ARCHS").unwrap_or_default();
    let archs = source::parse_archs(if archs.trim().is_empty() { ARCHS } else { &archs })?;

    let nvcc = match find::search(&root, &|name| env::var_os(name))? {
        Search::Found(nvcc) => nvcc,
        Search::Nothing { why, mend } if required => {
            return Err(format!("RUSA_REQUIRE_NVCC is set, but {why}; {mend}"));
        }
        Search::Nothing { why, mend } => {
            println!("cargo:warning={why}: building the CPU engine alone; {mend}");
            return emit::write(&out, None, &[]);
        }
    };
    println!("cargo:rerun-if-changed={}", nvcc.path.display());

    let jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let kernels = compile(&root, &cache_folder(&out), &nvcc, archs, jobs)?;
    report(&kernels, required)?;
    emit::write(&out, Some(&nvcc), &kernels)
}

fn compile(
    root: &Path,
    cache: &Path,
    nvcc: &Nvcc,
    archs: Vec<source::Arch>,
    jobs: usize,
) -> Result<Vec<Kernel>, String> {
    let environment = ["NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"]
        .map(|name| format!("{name}={}", env::var(name).unwrap_or_default()))
        .join("\n");
    let settings =
        Settings { root: root.into(), cache: cache.into(), nvcc: nvcc.clone(), environment, archs, jobs };
    compile::all(&settings)
}

/// `<target>/cuda-cache`: outlives `cargo clean -p rusa` and is shared by the profiles.
fn cache_folder(out: &Path) -> PathBuf {
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    out.ancestors().nth(4).unwrap_or(out).join("cuda-cache")
}

/// Passes nvcc's warnings on, and lets no spill through unseen.
fn report(kernels: &[Kernel], required: bool) -> Result<(), String> {
    for line in kernels.iter().flat_map(|k| k.warnings.lines()).filter(|l| !l.trim().is_empty()) {
        println!("cargo:warning={line}");
    }
    let spills = compile::forbidden_spills(kernels);
    if required && !spills.is_empty() {
        return Err(format!(
            "registers spill to local memory; mend the kernel, or write `// spills: allowed` and why above it\n  {}",
            spills.join("\n  ")
        ));
    }
    for line in spills {
        println!("cargo:warning={line}");
    }
    Ok(())
}
