//! `rusa data`.

use super::say;
use anyhow::Result;
use rusa::data::{Options, inspect};
use std::process::ExitCode;

/// Look at a data set.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Count the images, classes, sizes and unreadable files of a data set.
    Inspect {
        /// `embedded`, or a folder of IDX files, of CIFAR batches or of class folders.
        path: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Share of unreadable files to put up with.
        #[arg(long, default_value_t = 1.0)]
        max_bad: f64,
        /// Decode every picture, which finds damage behind the headers.
        #[arg(long)]
        decode: bool,
    },
}

pub fn run(command: Command) -> Result<ExitCode> {
    let Command::Inspect { path, json, max_bad, decode } = command;
    let summary = inspect(&path, &Options { channels: None, max_bad }, decode)?;
    if json {
        say!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        say!("{summary}");
    }
    Ok(ExitCode::SUCCESS)
}
