//! What kernels are launched with: each entry's first launch among the cases of the ops.

use super::ops::record;
use crate::device::{DryBackend, Lowered, Placement, Program};
use crate::graph::Precision;
use crate::ops::Cost;
use crate::ops::table::OPS;
use std::collections::BTreeMap;

/// A launch of an entry, on shapes that its op is timed on, or else tested on.
#[derive(Clone, Debug)]
pub struct Use {
    /// `op/case`.
    pub case: String,
    /// The node that launches it, as in `conv2d/bwd_weight`.
    pub node: &'static str,
    /// Kernels that share the node's cost.
    pub launches: usize,
    /// Of the whole node.
    pub cost: Cost,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared_bytes: u32,
}

/// By entry. What no op's case launches is not in it: kernels for study, lower rungs, optimisers.
pub fn uses() -> BTreeMap<&'static str, Use> {
    let mut uses = BTreeMap::new();
    for spec in OPS {
        let mut cases = (spec.cases)();
        cases.sort_by_key(|case| !case.bench_only);
        for (case, precision) in cases.iter().flat_map(|c| [(c, Precision::Bf16), (c, Precision::F32)]) {
            // A case may be of one type alone.
            let lowered = record(spec, case, precision)
                .and_then(|graph| Lowered::new(graph, DryBackend::default(), Placement::Arena));
            let Ok(lowered) = lowered else { continue };
            let nodes = lowered.graph().nodes().iter().zip(lowered.launches()).zip(&lowered.plan().costs);
            for ((node, launches), cost) in nodes {
                for launch in launches {
                    uses.entry(launch.entry).or_insert_with(|| Use {
                        case: format!("{}/{}", spec.name, case.name),
                        node: node.op.name(),
                        launches: launches.len(),
                        cost: *cost,
                        grid: launch.grid,
                        block: launch.block,
                        dynamic_shared_bytes: launch.shared,
                    });
                }
            }
        }
    }
    uses
}
