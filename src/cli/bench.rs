//! `rusa bench`.

use super::say;
use super::step::StepArguments;
use anyhow::{Result, bail};
use rusa::bench::{Ceilings, read_cases, time_nodes, time_op, time_step, time_vm};
use rusa::device::Device;
use rusa::files::write_atomically;
use rusa::graph::Precision;
use rusa::ops::table::{OPS, find};
use rusa::ssl::METHODS;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Time this machine, single ops, or whole training steps.
#[derive(clap::Subcommand)]
pub enum Command {
    /// The machine's two ceilings: a large copy and a large matrix product, on all cores.
    Copy {
        /// auto, cpu or cuda.
        #[arg(long, default_value = "auto")]
        device: String,
        #[command(flatten)]
        common: Common,
    },
    /// Each pass of an op (or of all) on its benchmark shapes, beside the roofline.
    Op {
        /// Its name, as `rusa op list` shows it; all if not given.
        op: Option<String>,
        /// auto, cpu or cuda.
        #[arg(long, default_value = "auto")]
        device: String,
        /// f32, or bf16 on GPUs.
        #[arg(long, default_value = "f32")]
        precision: String,
        /// Time these shapes instead: a JSON list of {"op", "name", "params", "inputs": {NAME: SHAPE}}.
        #[arg(long, value_name = "FILE")]
        cases: Option<PathBuf>,
        /// The device's ceilings, as `rusa bench copy --json` writes them; measured if not given.
        #[arg(long, value_name = "FILE")]
        ceilings: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// A whole step: forward, loss, backward, optimiser, on given views.
    Step {
        #[command(flatten)]
        step: StepArguments,
        /// The device's ceilings, as `rusa bench copy --json` writes them; measured if not given.
        #[arg(long, value_name = "FILE")]
        ceilings: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// The PTX machine on one core: lane-instructions a second, without checks and with.
    Vm {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
pub struct Common {
    /// Seconds to measure each thing for.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Also write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Common {
    fn write(&self, value: &Value) -> Result<()> {
        if let Some(path) = &self.json {
            write_atomically(path, format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())?;
        }
        Ok(())
    }
}

pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Vm { common } => {
            let timings = time_vm(common.seconds)?;
            say!("{:<30}{:>10}{:>22}{:>18}", "kernel", "checks", "lane-instructions/s", "mma FLOP/s");
            for t in &timings {
                let check = if t.check { "on" } else { "off" };
                let (lanes, flops) =
                    (t.lane_instructions_per_second / 1e6, t.tensor_core_flops_per_second / 1e9);
                say!("{:<30}{check:>10}{lanes:>20.0} M{flops:>16.2} G", t.kernel);
            }
            common.write(&json!({ "cores": 1, "timings": timings }))?;
        }
        Command::Copy { device, common } => {
            let device = timed_device(&device)?;
            let (precision, product) = match device {
                Device::Cpu => (Precision::F32, "f32, 1024³"),
                _ => (Precision::Bf16, "bf16, 8192³, rusa's own kernel"),
            };
            let c = Ceilings::of(device, precision)?;
            say!("copy   {:8.1} GB/s (read + written)", c.bytes_per_second / 1e9);
            say!("matmul {:8.1} GFLOP/s ({product})", c.flops_per_second / 1e9);
            common.write(&json!({
                "device": device.to_string(), "matmul": product,
                "gigabytes_per_second": c.bytes_per_second / 1e9, "gflops_per_second": c.flops_per_second / 1e9,
                "threads": rayon::current_num_threads(),
            }))?;
        }
        Command::Op { op, device, precision, cases, ceilings, common } => {
            let how = (timed_device(&device)?, Precision::parse(&precision)?);
            how.0.check(how.1)?;
            let only = op.as_deref().map(find).transpose()?;
            let cases: Vec<_> = match &cases {
                Some(path) => read_cases(path)?,
                None => OPS
                    .iter()
                    .flat_map(|spec| (spec.cases)().into_iter().map(move |case| (spec, case)))
                    .filter(|(_, case)| case.bench_only)
                    .collect(),
            };
            let ceilings =
                ceilings.map_or_else(|| Ceilings::of(how.0, how.1), |path| Ceilings::read(&path))?;
            say!("{:<52} {:>9} {:>9} {:>8} {:>9}", "id", "ms", "GFLOP/s", "GB/s", "roofline");
            let mut all = Vec::new();
            for (spec, case) in cases.iter().filter(|(spec, _)| only.is_none_or(|o| o.name == spec.name)) {
                for t in time_op(spec, case, how, ceilings, common.seconds / 4.0)? {
                    say!(
                        "{:<52} {:>9.3} {:>9.1} {:>8.1} {:>7.0} %",
                        t.id,
                        t.milliseconds,
                        t.gflops_per_second,
                        t.gigabytes_per_second,
                        t.share_of_roofline * 100.0,
                    );
                    all.push(t);
                }
            }
            common.write(&json!({"ceilings": ceilings, "timings": all}))?;
        }
        Command::Step { step, ceilings, common } if step.method == "all" => {
            let how = (timed_device(&step.config_of("simclr")?.device)?, Precision::F32);
            let ceilings =
                ceilings.map_or_else(|| Ceilings::of(how.0, how.1), |path| Ceilings::read(&path))?;
            say!(
                "{:<18} {:>6} {:>10} {:>10} {:>10} {:>10}",
                "method",
                "views",
                "images/s",
                "ms",
                "x simclr",
                "GFLOP"
            );
            let mut all = serde_json::Map::new();
            let simclr = step.config_of("simclr")?;
            for method in METHODS {
                // SimCLR beside each: a machine that speeds up or slows down over minutes makes no ratio.
                let beside = time_step(&simclr, ceilings, common.seconds)?;
                let t = time_step(&step.config_of(method.name)?, ceilings, common.seconds)?;
                let against = t.milliseconds / beside.milliseconds;
                say!(
                    "{:<18} {:>6} {:>10.1} {:>10.2} {:>10.2} {:>10.2}",
                    method.name,
                    t.views_per_image,
                    t.images_per_second,
                    t.milliseconds,
                    against,
                    t.flops as f64 / 1e9,
                );
                let mut value = serde_json::to_value(&t)?;
                value["simclr_beside_milliseconds"] = beside.milliseconds.into();
                all.insert(method.name.into(), value);
            }
            common.write(&json!({"ceilings": ceilings, "methods": all}))?;
        }
        Command::Step { step, ceilings, common } => {
            let config = step.config()?;
            let how = (timed_device(&config.device)?, Precision::parse(&config.precision)?);
            let ceilings =
                ceilings.map_or_else(|| Ceilings::of(how.0, how.1), |path| Ceilings::read(&path))?;
            let timing = time_step(&config, ceilings, common.seconds)?;
            let nodes = time_nodes(&config)?;
            say!(
                "{:.1} images/s ({} views each), {:.2} ms a step, {:.1} GFLOP/s, {:.0} % of the roofline, {} threads",
                timing.images_per_second,
                timing.views_per_image,
                timing.milliseconds,
                timing.gflops_per_second,
                100.0 * timing.share_of_roofline,
                timing.threads,
            );
            for node in &nodes {
                say!("  {:<28} {:>9.2} ms", node.op, node.milliseconds);
            }
            let mut value = serde_json::to_value(&timing)?;
            value["nodes"] = serde_json::to_value(&nodes)?;
            value["peak_rss_bytes"] = peak_rss_bytes().into();
            common.write(&value)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A device whose times mean something.
fn timed_device(text: &str) -> Result<Device> {
    let device = Device::parse(text)?;
    if device == Device::Vm {
        bail!(
            "the PTX machine's times say nothing of a GPU's; `rusa vm run --profile` counts what a kernel does"
        );
    }
    Ok(device)
}

/// The most memory this process ever held, where the system tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
