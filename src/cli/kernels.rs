//! `rusa kernels`: what the compiler made of the CUDA kernels.

use super::say;
use anyhow::{Context, Result, bail};
use rusa::bench::uses;
use rusa::kernels::{self, COMPILER, Entry, Figures, Kernel, LaunchBounds, NO_KERNELS};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};

/// List the CUDA kernels with what they cost a thread and a block, or look into one.
///
/// The figures are the assembler's (ptxas), for each architecture this build has machine code for. More registers or
/// shared memory than a multiprocessor shares out evenly mean fewer warps to hide latency with; spills mean that a
/// thread ran out of registers and goes to memory instead. No GPU is needed to look.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Each entry and architecture: registers, shared memory, spills, launch bounds, source.
    ///
    /// REGS are 32-bit registers a thread: a multiprocessor has 65,536. SHARED is static shared memory a block, in
    /// bytes; DYNAMIC what the host adds at launch, on the shapes its op is timed on (- where no op launches it). SPILLS are bytes a thread stores and loads for want of registers, and should be 0. LAUNCH is the largest
    /// block the source promises to launch (with = : the only one), and after a comma how many blocks a multiprocessor
    /// must be able to hold.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// One entry: its file's opening comment, its figures, and its source, PTX or machine code.
    ///
    /// Examples: rusa kernels show saxpy_f32
    ///           rusa kernels show matmul_bf16__mma --sass --arch sm_90a
    ///           rusa kernels show saxpy_f32 --ptx > saxpy.ptx
    #[command(verbatim_doc_comment)]
    Show {
        /// Its name, as `rusa kernels list` shows it.
        entry: String,
        /// Only the PTX of the whole file, as text that loads.
        #[arg(long, conflicts_with = "sass")]
        ptx: bool,
        /// Only the machine code, disassembled by the CUDA toolkit's cuobjdump.
        #[arg(long)]
        sass: bool,
        /// The architecture to disassemble; the first if not given.
        #[arg(long, requires = "sass", value_name = "sm_NN")]
        arch: Option<String>,
    },
}

pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List { json: true } => say!("{}", serde_json::to_string_pretty(&describe())?),
        Command::List { json: false } => list()?,
        Command::Show { entry, ptx, sass, arch } => {
            let (kernel, entry) = kernels::find(&entry)?;
            if ptx {
                say!("{}", kernel.ptx.trim_end());
            } else if sass {
                say!("{}", disassemble(kernel, entry, arch.as_deref())?.trim_end());
            } else {
                show(kernel, entry)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line of the list: an architecture's figures, or none where the file is not for any that was asked for.
fn rows() -> Vec<(&'static Kernel, &'static Entry, Option<&'static Figures>)> {
    let rows = kernels::entries().flat_map(|(kernel, entry)| {
        let all = entry.figures.iter().map(move |f| (kernel, entry, Some(f)));
        all.chain(entry.figures.is_empty().then_some((kernel, entry, None)))
    });
    rows.collect()
}

fn list() -> Result<()> {
    let Some(compiler) = COMPILER else {
        say!("{NO_KERNELS}");
        return Ok(());
    };
    table(&rows())?;
    say!();
    say!("compiled by nvcc {}", compiler.version);
    Ok(())
}

fn table(rows: &[(&Kernel, &Entry, Option<&Figures>)]) -> Result<()> {
    let width = rows.iter().map(|r| r.1.name.len()).max().unwrap_or(0).max(5);
    let (regs, shared, dynamic, spills) = ("regs", "shared", "dynamic", "spills");
    say!(
        "{:<width$}  {:<10} {regs:>5} {shared:>7} {dynamic:>7} {spills:>7}  {:<14} source",
        "entry",
        "arch",
        "launch"
    );
    let uses = uses();
    for (kernel, entry, figures) in rows {
        let number = |read: fn(&Figures) -> u32| figures.map_or("-".into(), |f| read(f).to_string());
        say!(
            "{:<width$}  {:<10} {:>5} {:>7} {:>7} {:>7}  {:<14} {}:{}",
            entry.name,
            figures.map_or(kernel.target, |f| f.arch),
            number(|f| f.registers),
            number(|f| f.shared_bytes),
            uses.get(entry.name).map_or("-".into(), |u| u.dynamic_shared_bytes.to_string()),
            number(Figures::spills),
            entry.launch.map_or("-".into(), bounds),
            kernel.file,
            entry.line,
        );
    }
    Ok(())
}

fn bounds(launch: LaunchBounds) -> String {
    let [x, y, z] = launch.threads;
    let threads = match (y, z) {
        (1, 1) => x.to_string(),
        (_, 1) => format!("{x}x{y}"),
        _ => format!("{x}x{y}x{z}"),
    };
    let exact = if launch.exact { "=" } else { "" };
    let blocks = if launch.min_blocks > 0 { format!(", {}", launch.min_blocks) } else { String::new() };
    format!("{exact}{threads}{blocks}")
}

fn describe() -> Value {
    let uses = uses();
    let rows = rows().into_iter().map(|(kernel, entry, figures)| {
        json!({
            "entry": entry.name,
            "arch": figures.map_or(kernel.target, |f| f.arch),
            "registers": figures.map(|f| f.registers),
            "shared_bytes": figures.map(|f| f.shared_bytes),
            "spills": figures.map(Figures::spills),
            "stack_bytes": figures.map(|f| f.stack_bytes),
            "launch": entry.launch.map(|l| {
                json!({ "threads": l.threads, "exact": l.exact, "min_blocks": l.min_blocks })
            }),
            "cost": uses.get(entry.name).map(|u| {
                json!({
                    "case": u.case, "node": u.node, "launches": u.launches, "flops": u.cost.flops,
                    "bytes": u.cost.bytes, "grid": u.grid, "block": u.block,
                    "dynamic_shared_bytes": u.dynamic_shared_bytes,
                })
            }),
            "source": format!("{}:{}", kernel.file, entry.line),
        })
    });
    Value::Array(rows.collect())
}

fn show(kernel: &'static Kernel, entry: &'static Entry) -> Result<()> {
    say!("{}", kernel.header());
    say!();
    let rows: Vec<_> = rows().into_iter().filter(|r| r.1.name == entry.name).collect();
    table(&rows)?;
    for (_, _, figures) in &rows {
        if let Some(f) = figures.filter(|f| f.stack_bytes > 0) {
            let (stack, stores, loads) = (f.stack_bytes, f.spill_stores, f.spill_loads);
            say!(
                "{}: {stack} bytes of local memory a thread, {stores} spilled and {loads} loaded back",
                f.arch
            );
        }
    }
    if entry.spills_allowed {
        say!("its source allows it to spill");
    }
    say!();
    say!("{}", kernel.source_of(entry));
    Ok(())
}

fn disassemble(kernel: &Kernel, entry: &Entry, arch: Option<&str>) -> Result<String> {
    let made: Vec<_> = kernel.cubins.iter().map(|c| c.arch).collect();
    let Some(arch) = arch.or(made.first().copied()) else {
        bail!("{} is for {}, and RUSA_CUDA_ARCHS asked for no such machine code", entry.name, kernel.target);
    };
    let Some(cubin) = kernel.cubin(arch) else {
        bail!("this build has no machine code of {} for {arch}, only for {}", entry.name, made.join(", "));
    };
    let Some(tool) = find_tool("cuobjdump") else {
        bail!("cuobjdump is not here, and it takes that to show machine code; `make cuda` fetches it");
    };
    let file = tempfile::Builder::new().suffix(".cubin").tempfile().context("no temporary file")?;
    std::fs::write(file.path(), cubin.code).context("cannot write the temporary file")?;
    let output = Process::new(&tool)
        .args(["-sass", "-fun", entry.name])
        .arg(file.path())
        .env("PATH", path_with(&tool)?)
        .output()
        .with_context(|| format!("{} does not run", tool.display()))?;
    if !output.status.success() {
        bail!("{}: {}", tool.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Beside the nvcc of this build, in this folder's toolchain, or on PATH.
fn find_tool(name: &str) -> Option<PathBuf> {
    let beside = COMPILER.and_then(|c| Path::new(c.path).parent()).map(Path::to_path_buf);
    let fetched = PathBuf::from(".toolchain/cuda/nvidia/cu13/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = std::env::split_paths(&path).collect();
    beside.into_iter().chain([fetched]).chain(path).map(|d| d.join(name)).find(|f| f.is_file())
}

/// cuobjdump calls nvdisasm, which lies beside it and maybe not on PATH.
fn path_with(tool: &Path) -> Result<std::ffi::OsString> {
    let own = tool.parent().map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))?)
}
