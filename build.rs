//! Compiles `kernels/*.cu` where there is an nvcc; see `build/mod.rs`. Never touches the network or a GPU.

#[path = "build/mod.rs"]
mod build;

use std::process::ExitCode;

fn main() -> ExitCode {
    match build::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}
