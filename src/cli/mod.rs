//! The command line: one file a command.

mod augment;
mod bench;
mod compare;
mod data;
mod detect;
mod diagnose;
mod doctor;
mod embed;
mod eval;
mod kernels;
mod op;
mod plan;
mod pretrain;
mod progress;
mod report;
mod run;
mod step;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Pretrain image encoders by self-supervision, as fast as the hardware allows.
///
/// Start with `rusa pretrain --data embedded --out runs/first`: it trains a small ResNet on 8,000 real photographs of
/// clothing, judges it on 2,000 others, and writes a report you can open in a browser.
#[derive(Parser)]
#[command(name = "rusa", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pretrain(pretrain::Arguments),
    Eval(eval::Arguments),
    Detect(detect::Arguments),
    Embed(embed::Arguments),
    Diagnose(diagnose::Arguments),
    Compare(compare::Arguments),
    Report(report::Arguments),
    Plan(plan::Arguments),
    Augment(augment::Arguments),
    #[command(subcommand)]
    Op(op::Command),
    #[command(subcommand)]
    Kernels(kernels::Command),
    #[command(subcommand)]
    Data(data::Command),
    #[command(subcommand)]
    Bench(bench::Command),
    #[command(subcommand)]
    Vm(vm::Command),
    Doctor(doctor::Arguments),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("RUSA_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).init();
    let result = match Cli::parse().command {
        Command::Pretrain(a) => pretrain::run(a),
        Command::Eval(a) => eval::run(a),
        Command::Detect(a) => detect::run(a),
        Command::Embed(a) => embed::run(a),
        Command::Diagnose(a) => diagnose::run(a),
        Command::Compare(a) => compare::run(a),
        Command::Report(a) => report::run(a),
        Command::Plan(a) => plan::run(a),
        Command::Augment(a) => augment::run(a),
        Command::Op(a) => op::run(a),
        Command::Kernels(a) => kernels::run(a),
        Command::Data(a) => data::run(a),
        Command::Bench(a) => bench::run(a),
        Command::Vm(a) => vm::run(a),
        Command::Doctor(a) => doctor::run(a),
    };
    match result {
        Ok(code) => code,
        // A reader that has seen enough (`rusa op list | head`) is no error.
        Err(e)
            if e.downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Like `println!`, but a closed pipe is an error to hand up instead of a panic.
macro_rules! say {
    ($($t:tt)*) => {{
        use std::io::Write;
        writeln!(std::io::stdout().lock(), $($t)*)?
    }};
}
pub(crate) use say;
