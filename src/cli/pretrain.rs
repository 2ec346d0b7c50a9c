//! `rusa pretrain`.

use super::progress::{Progress, catch_interrupts};
use super::run::open_data;
use super::say;
use anyhow::{Context, Result, bail};
use rusa::config::{Config, Facts, PRESETS, Request, differences};
use rusa::device::Device;
use rusa::graph::Precision;
use rusa::ssl::METHODS;
use rusa::train::{End, RunFolder, Watcher, conclude, pretrain};
use std::path::PathBuf;
use std::process::ExitCode;
use toml::{Table, Value};

/// Pretrain an encoder on images, without labels.
///
/// Writes a run folder: config.toml, metrics.jsonl, checkpoint.safetensors, encoder.safetensors (torchvision's names),
/// summary.json and report.html. Ctrl-C saves and stops; --resume goes on bit for bit.
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Arguments {
    /// `embedded`, or a folder of IDX files, of CIFAR batches, or of class folders with pictures.
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// How to learn; `list` explains each.
    #[arg(long)]
    method: Option<String>,
    /// resnet10, resnet18, resnet34 or resnet50; 64 wide unless --set encoder.width=… says otherwise.
    #[arg(long)]
    encoder: Option<String>,
    #[arg(long)]
    epochs: Option<i64>,
    /// Source images a step; each is seen in two views.
    #[arg(long)]
    batch: Option<i64>,
    /// auto, cpu, cuda (cuda:1, …), or vm: the PTX machine, which runs the CUDA kernels without a GPU, slowly, and checks them.
    #[arg(long)]
    device: Option<String>,
    /// f32, or bf16 for activations on GPUs (and vm).
    #[arg(long)]
    precision: Option<String>,
    /// Decides weights, order and views.
    #[arg(long)]
    seed: Option<i64>,
    /// Where to put the run.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Published settings by name; chosen by the data if not given.
    #[arg(long)]
    preset: Option<String>,
    /// A config.toml to start from, as a run folder holds one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with the run in DIR (or begin it, if there is none).
    #[arg(long)]
    resume: bool,
    /// Stop after this step of the run, counted from its beginning, and save; --resume goes on from there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Replace a run that is already in DIR.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Any other setting, as in encoder.width=16, optimizer.lr=0.1, data.size=64.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

fn after_help() -> String {
    let mut text = String::from("Methods:\n");
    for method in METHODS {
        text += &format!("  {:<18} {}\n", method.name, method.summary);
    }
    text += "\nPresets:\n";
    for preset in PRESETS {
        text += &format!("  {:<27} {}\n", preset.name, preset.summary());
    }
    text
}

impl Arguments {
    fn flags(&self) -> Table {
        let mut flags = Table::new();
        let mut put = |section: Option<&str>, key: &str, value: Option<Value>| {
            if let Some(value) = value {
                let table = match section {
                    Some(section) => {
                        let entry = flags.entry(section).or_insert_with(|| Value::Table(Table::new()));
                        entry.as_table_mut().expect("only tables are put here")
                    }
                    None => &mut flags,
                };
                table.insert(key.into(), value);
            }
        };
        let text = |v: &Option<String>| v.clone().map(Value::String);
        put(Some("data"), "path", text(&self.data));
        put(Some("encoder"), "name", text(&self.encoder));
        put(None, "method", text(&self.method));
        put(None, "epochs", self.epochs.map(Value::Integer));
        put(None, "batch", self.batch.map(Value::Integer));
        put(None, "device", text(&self.device));
        put(None, "precision", text(&self.precision));
        put(None, "seed", self.seed.map(Value::Integer));
        flags
    }

    fn request(&self, folder: &RunFolder) -> Result<Request> {
        let resumed = self.resume && folder.config().exists();
        let file = match (&self.config, resumed) {
            (Some(path), _) => Some(path.clone()),
            (None, true) => Some(folder.config()),
            (None, false) => None,
        };
        let file = match file {
            Some(path) => {
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                text.parse::<Table>().with_context(|| path.display().to_string())?
            }
            None => Table::new(),
        };
        Ok(Request { preset: self.preset.clone(), file, flags: self.flags(), sets: self.sets.clone() })
    }
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.method.as_deref() == Some("list") {
        for m in METHODS {
            say!(
                "{}: {}\n    {}\n    avoids the trivial solution: {}\n    docs/methods/{}.md",
                m.name,
                m.summary,
                m.paper,
                m.avoids_collapse,
                m.name,
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let out =
        arguments.out.as_ref().context("say where to put the run: --out DIR, as in --out runs/first")?;
    let folder = RunFolder::new(out);
    if folder.holds_a_run() && !arguments.resume && !arguments.overwrite {
        let dir = out.display();
        bail!(
            "{dir} already holds a run: --resume goes on with it, --overwrite replaces it, or choose another --out"
        );
    }
    let request = arguments.request(&folder)?;
    let (path, options) = request.data()?;
    let data = open_data(&path, &options)?;
    let config = request.resolve(Facts::of(&data))?;
    Device::parse(&config.device)?.check(Precision::parse(&config.precision)?)?;
    if folder.holds_a_run() && arguments.resume && folder.config().exists() {
        let changed = differences(&Config::read(&folder.config())?, &config)?;
        if !changed.is_empty() {
            bail!("a resumed run keeps its settings, but these differ:\n  {}", changed.join("\n  "));
        }
    }
    if arguments.overwrite {
        folder.clear()?;
    }
    folder.write_config(&config)?;

    catch_interrupts()?;
    let mut progress = Progress::new(arguments.steps);
    progress.message(&format!(
        "{} on {} ({} images, {} held out), {} width {}, views of {}×{}×{}, {} epochs of {} steps of {} images",
        config.method,
        config.data.path,
        data.train.len(),
        data.test.len(),
        config.encoder.name,
        config.encoder.width,
        config.data.size,
        config.data.size,
        config.data.channels,
        config.epochs,
        data.train.len() / config.batch,
        config.batch,
    ));
    if pretrain(&config, &data, &folder, &mut progress)? == End::Interrupted {
        return Ok(if progress.reached_limit() { ExitCode::SUCCESS } else { ExitCode::from(130) });
    }
    let summary = conclude(&config, &data, &folder, &mut progress)?;
    super::report::say_summary(&summary, &folder)?;
    Ok(ExitCode::SUCCESS)
}
