//! The kernels a build carries against the Rust that launches them.

use rusa::device::launch::Holds;
use rusa::kernels::{KERNELS, entries, find};
use rusa::ops::table::signatures;
use rusa::vm::Machine;
use rusa::vm::ptx::Type;
use std::collections::BTreeSet;

/// Kernels to study, which no op launches.
const STUDIES: [&str; 3] = ["saxpy_", "reduce_", "matmul_"];

#[test]
fn parameter_structs_agree_with_the_ptx() {
    let mut machine = Machine::new();
    for kernel in KERNELS {
        let module = machine.load(kernel.ptx).unwrap_or_else(|e| panic!("{}: {e}", kernel.file));
        for entry in kernel.entries.iter().filter(|e| !STUDIES.iter().any(|s| e.name.starts_with(s))) {
            let signature = signatures().find(|s| s.entries.contains(&entry.name));
            let Some(signature) = signature else { panic!("no parameter struct names `{}`", entry.name) };
            let program = module.program(entry.name).unwrap_or_else(|e| panic!("{}: {e}", entry.name));
            let ptx: Vec<_> = program.params.iter().map(|p| (p.offset, p.bytes, p.ty == Type::F32)).collect();
            let rust: Vec<_> =
                signature.fields.iter().map(|f| (f.offset, f.bytes, f.holds == Holds::F32)).collect();
            assert_eq!(
                rust, ptx,
                "{}: offsets, bytes, whether floating-point, {:?}",
                entry.name, signature.fields
            );
        }
    }
}

#[test]
fn every_entry_that_rust_names_is_there_once() {
    let mut seen = BTreeSet::new();
    for name in signatures().flat_map(|s| s.entries) {
        assert!(seen.insert(name), "`{name}` has two parameter structs");
        if !KERNELS.is_empty() {
            find(name).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

#[test]
fn names_tell_op_pass_and_type() {
    for (kernel, entry) in entries() {
        let op = kernel.file.trim_start_matches("kernels/").trim_end_matches(".cu");
        let (base, _) = entry.name.split_once("__").unwrap_or((entry.name, ""));
        let typed = base.ends_with("_f32") || base.ends_with("_bf16");
        // A file of one technique is named after the op and the technique.
        let op = op.rsplit_once('_').map_or(op, |(stem, _)| if base.starts_with(op) { op } else { stem });
        assert!(base.starts_with(op) && typed, "{}: `{}`", kernel.file, entry.name);
        let at = kernel.source.lines().nth(entry.line - 1).unwrap_or_default();
        assert!(
            at.contains(entry.name),
            "{}:{}: `{}` is spelled whole there",
            kernel.file,
            entry.line,
            entry.name
        );
    }
}

#[test]
fn the_readme_has_the_table_of_ops() {
    let readme = include_str!("../README.md");
    let table = rusa::ops::markdown::table();
    assert!(readme.contains(&table), "README.md is to hold what `rusa op list --markdown` prints:\n{table}");
}
