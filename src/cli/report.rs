//! `rusa report`: draw a run's page again.

use super::run::{Trained, open_data};
use super::say;
use anyhow::{Context, Result};
use rusa::data::Options;
use rusa::device::Device;
use rusa::eval::{Embedder, Layer};
use rusa::report::{collect, render};
use rusa::train::RunFolder;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// Draw report.html of a finished run again, from its files and its data.
#[derive(clap::Args)]
pub struct Arguments {
    /// The run folder.
    run: PathBuf,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let folder = RunFolder::new(&arguments.run);
    let trained = Trained::open(folder.root())?;
    let config = trained.config.context("give a run folder")?;
    let options = Options { channels: Some(config.data.channels), max_bad: config.data.max_bad };
    let data = open_data(&config.data.path, &options)?;
    let (size, channels) = (config.data.size, config.data.channels);
    let mut embedder =
        Embedder::new(&config.encoder, None, &Layer::Features, &config.augment, size, channels, Device::Cpu)?;
    embedder.load(&trained.state)?;
    let page = collect(&config, &data, &folder, &embedder.embed(&data.test)?)?;
    rusa::files::write_atomically(&folder.report(), render(&page).as_bytes())?;
    say!("{}", folder.report().display());
    Ok(ExitCode::SUCCESS)
}

/// The last lines of a run: accuracy beside the baselines, the verdict, where to look.
pub fn say_summary(summary: &Value, folder: &RunFolder) -> Result<()> {
    let percent = |v: &Value| v.as_f64().map_or("      –".into(), |v| format!("{:6.2} %", v * 100.0));
    say!("{:<18}{:>10}{:>10}", "on held-out images", "kNN", "linear");
    let rows =
        [("trained", summary), ("untrained", &summary["untrained"]), ("raw pixels", &summary["raw_pixels"])];
    for (name, scores) in rows {
        say!("{name:<18}{:>10}{:>10}", percent(&scores["knn_top1"]), percent(&scores["linear_top1"]));
    }
    let collapse = &summary["collapse"];
    let number = |key: &str| collapse[key].as_f64().unwrap_or(f64::NAN);
    say!(
        "collapse: std of the embeddings {:.4} (1/√d = {:.4}), effective rank {:.1}",
        number("std"),
        number("std_ideal"),
        number("effective_rank"),
    );
    for verdict in summary["verdicts"].as_array().into_iter().flatten() {
        // A healthy one has no advice of its own.
        match (verdict["state"].as_str().unwrap_or_default(), verdict["advice"].as_str()) {
            (state, Some(advice)) => say!("  {state}: {advice}"),
            (state, None) => say!("  {state}"),
        }
    }
    say!("report: {}", folder.report().display());
    Ok(())
}
