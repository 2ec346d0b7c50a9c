//! `rusa vm`: kernels on the PTX machine.

use super::say;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rusa::files::write_atomically;
use rusa::vm::{Argument, Machine, Page, Roofline, Shape};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run CUDA kernels without a GPU: on a machine, written in software, that executes PTX.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Run one kernel of a .ptx file.
    ///
    /// Buffers are tensors of a safetensors file: each becomes device memory, `--arg buf:NAME` passes its address, and
    /// `--out` writes all of them as the kernel left them.
    ///
    /// Example: rusa vm run saxpy.ptx --entry saxpy --grid 4 --block 256 --buffers in.safetensors --out out.safetensors
    /// --arg i32:1024 --arg f32:2.0 --arg buf:x --arg buf:y --check
    ///
    /// Exit status: 0 if the kernel ran and nothing was found; 1 if something was.
    Run(Run),
}

#[derive(clap::Args)]
pub struct Run {
    /// What `nvcc -ptx` wrote; with -lineinfo, findings name source lines.
    ptx: PathBuf,
    /// Name of the kernel.
    #[arg(long)]
    entry: String,
    /// Blocks: x, x,y or x,y,z.
    #[arg(long, value_parser = triple, default_value = "1")]
    grid: [u32; 3],
    /// Threads a block: x, x,y or x,y,z.
    #[arg(long, value_parser = triple, default_value = "1")]
    block: [u32; 3],
    /// Bytes of dynamic shared memory.
    #[arg(long, default_value_t = 0)]
    shared: u32,
    /// Tensors to put into device memory.
    #[arg(long)]
    buffers: Option<PathBuf>,
    /// Kernel arguments in order: u32:5, i32:-1, u64:7, u8:1, u16:2, f32:0.5, f64:2.5, buf:NAME, or a struct of
    /// them, as in struct:buf:NAME,f32:0.5.
    #[arg(long = "arg", allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// Write the buffers here when the kernel has run.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Look for what compute-sanitizer finds, and more: out of bounds, races, missing waits, divergent barriers, …
    #[arg(long)]
    check: bool,
    /// Count what a profiler counts: instructions, divergence, coalescing, bank conflicts, the costliest lines.
    #[arg(long)]
    profile: bool,
    /// Also write the profile as JSON.
    #[arg(long, value_name = "FILE", requires = "profile")]
    profile_json: Option<PathBuf>,
    /// What the device can do, in TB/s and TFLOP/s: tells which of the two bounds the kernel. An H200's by default.
    #[arg(long, value_name = "TB/s,TFLOP/s", default_value = "4.8,67", value_parser = roofline)]
    roofline: Roofline,
    /// Seed of what the hardware leaves open: when async copies arrive.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(run) => run_kernel(&run),
    }
}

/// A tensor in device memory.
struct Buffer {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
    address: u64,
}

fn run_kernel(run: &Run) -> Result<ExitCode> {
    let ptx = std::fs::read(&run.ptx).with_context(|| run.ptx.display().to_string())?;
    let ptx = String::from_utf8_lossy(&ptx);
    let mut machine = Machine::new();
    let module = machine.load(&ptx).with_context(|| run.ptx.display().to_string())?;
    let program = module.program(&run.entry).with_context(|| run.ptx.display().to_string())?;
    let buffers = match &run.buffers {
        Some(path) => load_buffers(&mut machine, path)?,
        None => BTreeMap::new(),
    };
    let arguments = run.arguments.iter().map(|text| argument(text, &buffers)).collect::<Result<Vec<_>>>()?;
    let shape = Shape {
        grid: run.grid,
        block: run.block,
        dynamic_shared: run.shared,
        check: run.check,
        profile: run.profile,
        seed: run.seed,
        ..Shape::default()
    };
    let bar = ProgressBar::new(shape.blocks());
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} blocks, {eta} left")?);
    let outcome = machine.run(&program, &shape, &arguments, &|blocks| bar.set_position(blocks))?;
    bar.finish_and_clear();
    std::io::stdout().write_all(&outcome.printed)?;
    for finding in &outcome.findings {
        say!("{finding}");
    }
    if run.profile {
        let page = Page::new(&program, &outcome.counters, Some(run.roofline));
        write!(std::io::stdout(), "{page}")?;
        if let Some(path) = &run.profile_json {
            write_atomically(path, serde_json::to_string_pretty(&page)?.as_bytes())?;
        }
    }
    if let Some(path) = &run.out {
        save_buffers(&machine, &buffers, path)?;
    }
    if outcome.findings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = if outcome.findings.iter().any(|f| f.fatal) { "; the launch ended early" } else { "" };
    eprintln!("{} kinds of trouble in `{}`{ended}", outcome.findings.len(), run.entry);
    Ok(ExitCode::FAILURE)
}

fn load_buffers(machine: &mut Machine, path: &Path) -> Result<BTreeMap<String, Buffer>> {
    let data = std::fs::read(path).with_context(|| path.display().to_string())?;
    let tensors =
        SafeTensors::deserialize(&data).with_context(|| format!("{}: not safetensors", path.display()))?;
    let mut buffers = BTreeMap::new();
    // In order of their names, so that addresses are the same each time.
    let mut all = tensors.tensors();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, view) in all {
        let bytes = view.data();
        let address = machine.allocate(&name, bytes.len() as u64)?;
        machine.write(address, bytes)?;
        let buffer =
            Buffer { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: bytes.len(), address };
        buffers.insert(name, buffer);
    }
    Ok(buffers)
}

fn save_buffers(machine: &Machine, buffers: &BTreeMap<String, Buffer>, path: &Path) -> Result<()> {
    let mut contents = BTreeMap::new();
    for (name, buffer) in buffers {
        let mut bytes = vec![0; buffer.bytes];
        machine.read(buffer.address, &mut bytes)?;
        contents.insert(name, bytes);
    }
    let views = contents
        .iter()
        .map(|(name, bytes)| {
            let buffer = &buffers[*name];
            Ok((name.as_str(), TensorView::new(buffer.dtype, buffer.shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let file = safetensors::serialize(views, None)?;
    write_atomically(path, &file)?;
    Ok(())
}

/// `3`, `3,2` or `3,2,1`.
fn triple(text: &str) -> Result<[u32; 3]> {
    let parts = text.split(',').map(|part| part.trim().parse::<u32>()).collect::<Result<Vec<_>, _>>();
    match parts.as_deref() {
        Ok([x]) => Ok([*x, 1, 1]),
        Ok([x, y]) => Ok([*x, *y, 1]),
        Ok([x, y, z]) => Ok([*x, *y, *z]),
        _ => bail!("`{text}` is not x, x,y or x,y,z"),
    }
}

/// `4.8,67`.
fn roofline(text: &str) -> Result<Roofline> {
    let parts = text.split_once(',').map(|(bytes, flops)| (bytes.parse::<f64>(), flops.parse::<f64>()));
    match parts {
        Some((Ok(bytes), Ok(flops))) if bytes > 0.0 && flops > 0.0 => {
            Ok(Roofline { bytes_per_second: bytes * 1e12, flops_per_second: flops * 1e12 })
        }
        _ => bail!("`{text}` is not TB/s,TFLOP/s, as in 4.8,67"),
    }
}

fn argument(text: &str, buffers: &BTreeMap<String, Buffer>) -> Result<Argument> {
    let Some((kind, value)) = text.split_once(':') else {
        bail!("--arg {text}: say its type, as in i32:5 or buf:x");
    };
    let bad = || format!("--arg {text}: `{value}` is no {kind}");
    Ok(match kind {
        "u8" => Argument::U8(value.parse().with_context(bad)?),
        "u16" => Argument::U16(value.parse().with_context(bad)?),
        "struct" => {
            let fields = value.split(',').map(|field| argument(field.trim(), buffers));
            Argument::Struct(fields.collect::<Result<_>>()?)
        }
        "u32" => Argument::U32(value.parse().with_context(bad)?),
        "i32" => Argument::I32(value.parse().with_context(bad)?),
        "u64" => Argument::U64(value.parse().with_context(bad)?),
        "f32" => Argument::F32(value.parse().with_context(bad)?),
        "f64" => Argument::F64(value.parse().with_context(bad)?),
        "buf" => match buffers.get(value) {
            Some(buffer) => Argument::Pointer(buffer.address),
            None => {
                let known: Vec<&str> = buffers.keys().map(String::as_str).collect();
                bail!("--arg {text}: --buffers has no `{value}`; it has: {}", known.join(", "));
            }
        },
        _ => bail!("--arg {text}: the type is one of u8, u16, u32, i32, u64, f32, f64, buf, struct"),
    })
}
