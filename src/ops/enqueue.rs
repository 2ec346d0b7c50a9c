//! enqueue: a batch of rows takes the place of the oldest in a queue, in place: the dictionary of MoCo (He et al., CVPR
//! 2020, section 3.2), the support set of NNCLR (Dwibedi et al., ICCV 2021, section 3.2).

use super::table::{Case, Fill, OpSpec, Operand};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters};
use crate::graph::{Graph, TensorId};
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use serde_json::json;

/// Records that `queue`\[K,D\], an f32 state, takes `rows`\[N,D\], f32 or bf16, as they are.
///
/// The queue is a ring: row n goes to place ((step − 1) · N + n) mod K, where the step number, from 1, is the second
/// number of `schedule`\[2\] (the first is the learning rate); at step 0 the queue stays as it is. Where N > K only the last
/// K rows stay. Whatever reads the queue of the steps before must be recorded before this.
pub fn enqueue(graph: &mut Graph, queue: TensorId, rows: TensorId, schedule: TensorId) -> Result<()> {
    let shape = graph.ty(queue).dims("enqueue", "queue")?;
    graph.update(Enqueue { shape }, &[schedule, rows], &[queue])
}

/// schedule\[2\], rows\[N,D\] → queue\[K,D\], updated in place.
#[derive(Debug)]
struct Enqueue {
    shape: [usize; 2],
}

impl Enqueue {
    /// How many rows stay.
    fn kept(&self, rows: &TensorType) -> usize {
        rows.shape[0].min(self.shape[0])
    }
}

impl Op for Enqueue {
    fn name(&self) -> &'static str {
        "enqueue"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [schedule, rows] = inputs else {
            return Err(Error::op(self.name(), "takes schedule and rows"));
        };
        schedule.expect(self.name(), "schedule", &TensorType::f32([2]))?;
        let [n, _] = rows.dims(self.name(), "rows")?;
        let dtype = if rows.dtype == DType::Bf16 { DType::Bf16 } else { DType::F32 };
        rows.expect(self.name(), "rows", &TensorType::new([n, self.shape[1]], dtype))?;
        Ok(vec![TensorType::f32(self.shape)])
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let kept = TensorType::new([self.kept(&inputs[1]), self.shape[1]], inputs[1].dtype);
        Cost { flops: 0, bytes: moved(&inputs[..1], &[kept.with(DType::F32), kept]) }
    }

    fn cpu(&self, args: &Args) {
        let [k, d] = self.shape;
        let ([n, _], step) = (args.dims(1), args.f32(0)[1]);
        if step < 1.0 {
            return;
        }
        let before = (step as usize - 1) % k;
        let queue = args.out(0);
        for (row, values) in args.f32(1).chunks_exact(d).enumerate().skip(n.saturating_sub(k)) {
            queue[(before * n + row) % k * d..][..d].copy_from_slice(values);
        }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, _], [k, d]) = (on.dims(1), self.shape.map(|n| n as u32));
        let enqueue = Rows { n, k, d, schedule: on.input(0), rows: on.input(1), queue: on.output(0) };
        let entry = on.pick(1, "enqueue_f32", "enqueue_bf16");
        Ok(vec![Launch::new(entry, n.div_ceil(4) as usize, 128, enqueue)])
    }
}

kernel!(Rows ["enqueue_f32", "enqueue_bf16"]
    { n: u32, k: u32, d: u32, schedule: Address, rows: Address, queue: Address });

pub const SPEC: OpSpec = OpSpec {
    name: "enqueue",
    summary: "rows take the place of a queue's oldest, in place, at step schedule[1]",
    inputs: &[
        Operand::new("schedule", "[2]").full().constant(),
        Operand::new("rows", "[N,D]").constant(),
        Operand::new("queue", "[K,D]").full().constant(),
    ],
    outputs: &[Operand::new("new_queue", "[K,D]").full().constant()],
    defaults: || json!({}),
    record: |graph, _, t| {
        let queue = t.get("queue")?;
        enqueue(graph, queue, t.get("rows")?, t.get("schedule")?)?;
        Ok(vec![queue])
    },
    reference: |_, t| {
        let (rows, mut queue) = (t.at("rows"), t.at("queue").clone());
        let ([n, d], k) = ([rows.shape[0], rows.shape[1]], queue.shape[0]);
        let step = t.at("schedule").data[1] as usize;
        for i in if step == 0 { 0..0 } else { 0..n } {
            let before = (step - 1) * n;
            queue.data[(before + i) % k * d..][..d].copy_from_slice(rows.row(i));
        }
        vec![queue]
    },
    kernels: &[Rows::SIGNATURE],
    cases: || {
        let case = |name, step: fn(usize) -> Vec<f32>, n: usize, k: usize, d: usize| {
            Case::new(name, json!({}))
                .filled("schedule", TensorType::f32([2]), Fill::Given(step))
                .input("rows", [n, d])
                .input("queue", [k, d])
        };
        vec![
            case("first", |_| vec![0.1, 1.0], 5, 12, 7),
            case("wraps", |_| vec![0.1, 3.0], 5, 12, 8),
            case("odd", |_| vec![0.1, 9.0], 7, 13, 33),
            case("batch_1", |_| vec![0.1, 6.0], 1, 4, 3),
            case("stays", |_| vec![0.0, 0.0], 3, 5, 4),
            case("larger_than_the_queue", |_| vec![0.1, 2.0], 11, 4, 5),
            case("moco", |_| vec![0.1, 3.0], 256, 65536, 128).bench_only(),
        ]
    },
};
