//! The table of ops as the README has it: `rusa op list --markdown`. A test holds the README against it.

use super::table::{OPS, OpSpec, Operand};
use crate::tensor::DType;
use std::fmt::Write;

/// A row an op: tensors, what it computes, and in which types each device does.
pub fn table() -> String {
    let mut text = String::from(
        "| op | inputs → outputs | what it computes | cpu | vm | cuda |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let mut ops: Vec<&OpSpec> = OPS.iter().collect();
    ops.sort_by_key(|op| op.name);
    for op in ops {
        let (inputs, outputs, kernels) = (operands(op.inputs), operands(op.outputs), types(op));
        let _ = writeln!(
            text,
            "| `{}` | `{inputs}` → `{outputs}` | {} | f32 | {kernels} | {kernels} |",
            op.name, op.summary
        );
    }
    text
}

fn operands(operands: &[Operand]) -> String {
    let one = |o: &Operand| {
        let dtype = if o.dtype == DType::F32 { String::new() } else { format!(" {}", o.dtype) };
        let text = format!("{}{}{dtype}", o.name, o.layout);
        if o.optional { format!("({text})") } else { text }
    };
    operands.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The types there are kernels for, by the entries' names. Other ops' kernels, of which some ops are made, have both.
fn types(op: &OpSpec) -> String {
    if op.kernels.is_empty() {
        return "f32, bf16".into();
    }
    let entries: Vec<&str> = op.kernels.iter().flat_map(|s| s.entries).copied().collect();
    let of = |dtype: &&str| entries.iter().any(|e| e.split("__").next().is_some_and(|e| e.ends_with(*dtype)));
    ["f32", "bf16"].into_iter().filter(of).collect::<Vec<&str>>().join(", ")
}
