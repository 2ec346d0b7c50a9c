//! `rusa op`: the ops, one by one.

use super::say;
use anyhow::{Context, Result, bail};
use rusa::device::Device;
use rusa::graph::Precision;
use rusa::ops::checks::not_finite;
use rusa::ops::run::{How, run as run_op};
use rusa::ops::table::{OPS, Operand};
use rusa::tensor::{read_tensors, write_tensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// List the ops, or run one on your own tensors.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Each op with its inputs, outputs, layouts, and parameters with their defaults.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// As the README's table, with a column a device.
        #[arg(long, conflicts_with = "json")]
        markdown: bool,
    },
    /// Run one op on the tensors of a safetensors file.
    ///
    /// Labels and indices out of range are errors. NaN or infinity among the outputs is told on stderr, by output and
    /// place; where every input was finite the exit status is 1 as well. The file is written in either case.
    ///
    /// Example: rusa op run nt_xent --params '{"temperature":0.2}' --inputs z.safetensors --outputs out.safetensors
    Run {
        /// Its name, as `rusa op list` shows it.
        op: String,
        /// Parameters, as a JSON object; missing ones take their defaults.
        #[arg(long, default_value = "{}")]
        params: String,
        /// File with the inputs under their names.
        #[arg(long)]
        inputs: PathBuf,
        /// File to write the outputs to.
        #[arg(long)]
        outputs: PathBuf,
        /// auto, cpu, cuda (cuda:1, …), or vm: the PTX machine, which runs the CUDA kernels without a GPU and checks them.
        #[arg(long, default_value = "auto")]
        device: String,
        /// f32, or bf16: activations (and what meets them) rounded to bf16. Files hold f32 all the same.
        #[arg(long, default_value = "f32")]
        dtype: String,
        /// Also differentiate: takes d_<output> among the inputs, gives d_<input> among the outputs.
        #[arg(long)]
        backward: bool,
    },
}

pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List { markdown: true, .. } => say!("{}", rusa::ops::markdown::table().trim_end()),
        Command::List { json: true, .. } => say!("{}", serde_json::to_string_pretty(&describe())?),
        Command::List { .. } => list()?,
        Command::Run { op, params, inputs, outputs, device, dtype, backward } => {
            let how = How { device: Device::parse(&device)?, precision: Precision::parse(&dtype)?, backward };
            let params: Value = serde_json::from_str(&params).context("--params is not JSON")?;
            let (tensors, _) = read_tensors(&inputs)?;
            let results = run_op(&op, &params, &tensors, how)?;
            write_tensors(&outputs, &results, &BTreeMap::new())?;
            for (name, tensor) in &results {
                say!("{name}: {}", tensor.ty());
            }
            match (not_finite(&results), not_finite(&tensors)) {
                (None, _) => {}
                (Some(bad), Some(given)) => eprintln!("warning: {op}: output {bad}; of the inputs, {given}"),
                (Some(bad), None) => {
                    let file = outputs.display();
                    bail!("{op}: output {bad}, though every input is finite; {file} holds it all the same")
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list() -> Result<()> {
    let tensors = |operands: &[Operand]| {
        let one = |o: &Operand| {
            let (name, layout) = (o.name, o.layout);
            let dtype =
                if o.dtype == rusa::tensor::DType::F32 { String::new() } else { format!(" {}", o.dtype) };
            if o.optional { format!("[{name}{layout}{dtype}]") } else { format!("{name}{layout}{dtype}") }
        };
        operands.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    for spec in OPS {
        say!("{}: {}", spec.name, spec.summary);
        say!("    {} → {}", tensors(spec.inputs), tensors(spec.outputs));
        if let Value::Object(params) = (spec.defaults)()
            && !params.is_empty()
        {
            let params: Vec<_> = params.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            say!("    {}", params.join(", "));
        }
    }
    Ok(())
}

fn describe() -> Value {
    let operand = |o: &Operand| {
        json!({
            "name": o.name, "layout": o.layout, "dtype": o.dtype, "optional": o.optional,
            "differentiable": o.differentiable,
        })
    };
    let ops = OPS.iter().map(|spec| {
        json!({
            "name": spec.name,
            "summary": spec.summary,
            "inputs": spec.inputs.iter().map(operand).collect::<Vec<_>>(),
            "outputs": spec.outputs.iter().map(operand).collect::<Vec<_>>(),
            "params": (spec.defaults)(),
        })
    });
    Value::Array(ops.collect())
}
