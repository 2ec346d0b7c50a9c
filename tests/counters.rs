//! What the PTX machine counts of the kernels on shapes that fill them: bytes as costed, whole sectors, no bank conflicts.

// `!(a <= b)` is meant: NaN must fail.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use rusa::device::launch::Launch;
use rusa::device::{Device, Lowered, Placement, Program, VmBackend};
use rusa::graph::{Graph, Kind, Precision, Write};
use rusa::kernels::{KERNELS, entries, find};
use rusa::ops::table::{Tensors, find as find_op};
use rusa::rng::{Philox, Purpose};
use rusa::tensor::{DType, TensorType};
use rusa::vm::Page;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::process::Command;

/// What was counted of a node.
struct Counted {
    node: String,
    /// What its cost says, what its workspace takes, and what lies where it adds to.
    bytes: u64,
    workspace: u64,
    added_to: u64,
    /// Of each launch.
    pages: Vec<(&'static str, Page)>,
}

/// An op, its parameters, its inputs.
type Case<'a> = (&'a str, Json, Vec<(&'a str, &'a [usize])>);

/// Profiles an op's nodes on these inputs, forwards and backwards.
fn profile((op, params, inputs): &Case) -> Vec<Counted> {
    if Device::parse("vm").map_err(|why| eprintln!("SKIPPED counters: {why}")).is_err() {
        return Vec::new();
    }
    let spec = find_op(op).unwrap();
    let mut graph = Graph::with_precision(Precision::Bf16);
    let mut operands = BTreeMap::new();
    for (name, shape) in inputs {
        let operand = spec.inputs.iter().find(|o| o.name == *name).unwrap();
        let reduced = operand.dtype == DType::F32 && !operand.full;
        let ty = TensorType::new(*shape, if reduced { DType::Bf16 } else { operand.dtype });
        let id = match operand.differentiable {
            true => graph.differentiable_input(name, ty).unwrap(),
            false => graph.input(name, ty).unwrap(),
        };
        operands.insert(name.to_string(), id);
    }
    let y = (spec.record)(&mut graph, params, &Tensors::new(spec.name, operands)).unwrap()[0];
    if spec.outputs[0].differentiable {
        let upstream = graph.input("upstream", graph.ty(y).clone()).unwrap();
        graph.differentiate(&[(y, upstream)]).unwrap();
    }
    let mut program = Lowered::new(graph, VmBackend::new(0), Placement::Apart).unwrap();
    for input in program.graph().of_kind(Kind::Input) {
        let (ty, mut rng) = (program.graph().ty(input).clone(), Philox::new(1, Purpose::Test, 0, 7));
        let n = ty.elements();
        match ty.dtype {
            // Rows of a table, here of any.
            DType::U32 => {
                let index: Vec<u32> = (0..n).map(|i| i as u32 / 2).collect();
                program.write(input, bytemuck::cast_slice(&index)).unwrap();
            }
            DType::I64 => {
                let values: Vec<i64> = (0..n).map(|_| i64::from(rng.below(4))).collect();
                program.write(input, bytemuck::cast_slice(&values)).unwrap();
            }
            _ => {
                let values: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
                program.write_f32(input, &values).unwrap();
            }
        }
    }
    program.run_all().unwrap();
    let graph = program.graph().clone();
    let launches = program.launches().to_vec();
    let mut counted = Vec::new();
    for ((node, launches), cost) in graph.nodes().iter().zip(launches).zip(program.plan().costs.clone()) {
        let types: Vec<_> = node.inputs.iter().map(|&t| graph.ty(t).clone()).collect();
        let pages = launches.iter().map(|launch| (launch.entry, page(&mut program, launch))).collect();
        let workspace = node.op.workspace(&types) as u64;
        let added = node.outputs.iter().zip(&node.writes).filter(|(_, write)| **write == Write::Accumulate);
        let added_to = added.map(|(&t, _)| graph.ty(t).bytes() as u64).sum();
        counted.push(Counted { node: node.op.name().into(), bytes: cost.bytes, workspace, added_to, pages });
    }
    counted
}

fn page(program: &mut Lowered<VmBackend>, launch: &Launch) -> Page {
    program.backend_mut().profile(launch).unwrap_or_else(|e| panic!("{e}"))
}

/// Of all launches of a node together.
fn moved(pages: &[(&str, Page)]) -> u64 {
    pages.iter().map(|(_, page)| 32 * page.global.sectors).sum()
}

#[test]
fn memory_bound_kernels_move_what_they_cost() {
    let image: [usize; 4] = [16, 16, 16, 64];
    let channels: [usize; 1] = [64];
    let pair: [usize; 2] = [512, 256];
    let cases: [Case; 16] = [
        ("relu", json!({}), vec![("x", &image)]),
        ("add", json!({}), vec![("a", &image), ("b", &image)]),
        ("batch_norm", json!({"relu": true}), vec![("x", &image), ("gamma", &channels), ("beta", &channels)]),
        (
            "batch_norm",
            json!({"relu": true}),
            vec![("x", &image), ("gamma", &channels), ("beta", &channels), ("residual", &image)],
        ),
        ("global_avg_pool", json!({}), vec![("x", &image)]),
        ("l2_normalize", json!({}), vec![("x", &[1024, 256])]),
        ("soft_cross_entropy", json!({}), vec![("logits", &[64, 1024]), ("targets", &[64, 1024])]),
        ("softmax", json!({}), vec![("x", &[64, 1024])]),
        ("column_mean", json!({}), vec![("x", &[512, 1024])]),
        ("gather", json!({}), vec![("x", &[256, 128]), ("index", &[512])]),
        ("mse_loss", json!({}), vec![("a", &pair), ("b", &pair)]),
        ("center", json!({}), vec![("x", &pair)]),
        ("rows", json!({"from": 128, "to": 256}), vec![("x", &pair)]),
        ("concat_views", json!({"views": 4}), vec![("x", &pair)]),
        ("concat", json!({}), vec![("a", &pair), ("b", &pair)]),
        ("rotate", json!({}), vec![("x", &image), ("turns", &[16])]),
    ];
    let mut off = Vec::new();
    for case in &cases {
        off.extend(profile(case).iter().filter_map(off_its_cost));
    }
    assert!(off.is_empty(), "{}", off.join("\n"));
}

/// What a node moves that is more than 5 % off what it costs.
fn off_its_cost(Counted { node, bytes, workspace, added_to, pages }: &Counted) -> Option<String> {
    // Partial sums are written once and read once.
    let (moved, expected) = (moved(pages), bytes + 2 * workspace + added_to);
    let off = moved as f64 / expected as f64 - 1.0;
    (!(off.abs() <= 0.05))
        .then(|| format!("{node}: {moved} bytes moved, {expected} expected, {:+.1} %", 100.0 * off))
}

/// Losses that are made of several ops: all of them but products and sums of scalars.
#[test]
fn memory_bound_parts_of_losses_move_what_they_cost() {
    let (views, mut off): ([usize; 2], _) = ([512, 256], Vec::new());
    for (op, parts) in [
        ("vicreg", &["widen", "mse_loss", "center", "matrix_penalty"][..]),
        ("barlow_twins", &["widen", "standardize", "matrix_penalty"][..]),
    ] {
        let counted = profile(&(op, json!({}), vec![("a", &views), ("b", &views)]));
        for part in parts {
            let of_part: Vec<_> =
                counted.iter().filter(|c| c.node.split('/').next() == Some(*part)).collect();
            assert!(counted.is_empty() || of_part.len() >= 2, "{op} has {} {part}", of_part.len());
            off.extend(of_part.into_iter().filter_map(off_its_cost));
        }
    }
    assert!(off.is_empty(), "{}", off.join("\n"));
}

#[test]
fn products_read_whole_sectors_without_bank_conflicts() {
    let square: [usize; 2] = [128, 128];
    let cases: [Case; 7] = [
        ("conv2d", json!({"padding": 1}), vec![("x", &[4, 8, 8, 64]), ("w", &[128, 3, 3, 64])]),
        ("conv2d", json!({"padding": 1, "stride": 2}), vec![("x", &[4, 8, 8, 64]), ("w", &[64, 3, 3, 64])]),
        ("linear", json!({}), vec![("x", &square), ("w", &square)]),
        ("matmul", json!({}), vec![("a", &square), ("b", &square)]),
        ("matmul", json!({"transpose_b": true}), vec![("a", &square), ("b", &square)]),
        ("matmul", json!({"transpose_a": true}), vec![("a", &square), ("b", &square)]),
        ("nt_xent", json!({}), vec![("z", &[256, 128])]),
    ];
    for case in &cases {
        let mut on_tensor_cores = 0;
        for Counted { node, pages, .. } in profile(case) {
            for (entry, page) in pages.iter().filter(|(entry, _)| entry.contains("__mma")) {
                on_tensor_cores += 1;
                assert!(page.tensor_core_flops > 0, "{node}: {entry} leaves tensor cores alone");
                assert_eq!(page.shared.bank_conflicts, 0, "{node}: {entry}");
                assert!(
                    page.global.coalescing >= 0.95,
                    "{node}: {entry} coalesces {}",
                    page.global.coalescing
                );
            }
        }
        assert!(
            KERNELS.is_empty() || on_tensor_cores >= 2,
            "{}: {on_tensor_cores} launches on tensor cores",
            case.0
        );
    }
}

#[test]
fn sinkhorn_walks_without_bank_conflicts() {
    let case: Case = ("sinkhorn", json!({}), vec![("scores", &[64, 512]), ("queue_scores", &[128, 512])]);
    for Counted { pages, .. } in profile(&case) {
        // Three iterations: columns, their end, rows; the last rows are the assignments.
        assert_eq!(pages.len(), 9);
        for (entry, page) in pages {
            assert_eq!(page.shared.bank_conflicts, 0, "{entry}");
            assert!(page.global.coalescing >= 0.95, "{entry} coalesces {}", page.global.coalescing);
        }
    }
}

#[test]
fn no_kernel_spills() {
    for (_, entry) in entries() {
        for figures in entry.figures {
            assert_eq!(figures.spills(), 0, "{} on {}", entry.name, figures.arch);
        }
    }
}

/// The instructions that make an implicit GEMM fast: tensor cores, matrices from shared memory, copies past registers.
#[test]
fn machine_code_of_convolutions_uses_tensor_cores_and_async_copies() {
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/.toolchain/cuda/nvidia/cu13/bin/cuobjdump");
    let tool = if std::path::Path::new(tool).exists() { tool } else { "cuobjdump" };
    let Ok((kernel, _)) = find("conv2d_fwd_bf16__mma_128x128") else { return };
    for cubin in kernel.cubins {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.cubin");
        std::fs::write(&path, cubin.code).unwrap();
        let Ok(dump) = Command::new(tool).arg("--dump-sass").arg(&path).output() else {
            eprintln!("SKIPPED machine code of {}: there is no cuobjdump", cubin.arch);
            return;
        };
        let text = String::from_utf8_lossy(&dump.stdout);
        for function in text.split("Function : ").skip(1).filter(|f| f.contains("__mma_")) {
            let name = function.lines().next().unwrap_or_default();
            for instruction in ["HMMA", "LDSM", "LDGSTS"] {
                assert!(function.contains(instruction), "{name} on {} has no {instruction}", cubin.arch);
            }
        }
    }
}
