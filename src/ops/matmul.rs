//! matmul: c = scale · op(a) op(b), op the identity or the transpose. linear's three products, with a gradient to both.
//!
//! aᵀ b sums over the rows of both, a covariance: it is f32 even where a and b are bf16. The other two are activations.

use super::linear::{product_nn, product_nt, product_tn, product_tn_workspace};
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::widen::round;
use super::{Args, Cost, Op, checks, moved};
use crate::device::launch::{Launch, Operands};
use crate::graph::{Vjp, Write};
use crate::linalg::{Mat, gemm};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// a, b → c = scale · op(a) op(b). Both transposed is an error: that is (b a)ᵀ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatMul {
    /// Whether op(a) = aᵀ.
    pub transpose_a: bool,
    /// Whether op(b) = bᵀ.
    pub transpose_b: bool,
    pub scale: f32,
}

impl Default for MatMul {
    fn default() -> Self {
        Self { transpose_a: false, transpose_b: false, scale: 1.0 }
    }
}

impl MatMul {
    /// scale · a b.
    pub const fn nn(scale: f32) -> Self {
        Self { transpose_a: false, transpose_b: false, scale }
    }

    /// scale · a bᵀ.
    pub const fn nt(scale: f32) -> Self {
        Self { transpose_a: false, transpose_b: true, scale }
    }

    /// scale · aᵀ b.
    pub const fn tn(scale: f32) -> Self {
        Self { transpose_a: true, transpose_b: false, scale }
    }

    /// Rows and columns of op(a) and op(b).
    fn sides(&self, a: [usize; 2], b: [usize; 2]) -> ([usize; 2], [usize; 2]) {
        let turned = |[rows, columns]: [usize; 2], turn| if turn { [columns, rows] } else { [rows, columns] };
        (turned(a, self.transpose_a), turned(b, self.transpose_b))
    }

    /// The product on the CPU.
    pub(super) fn multiply(&self, a: Mat, b: Mat, out: &mut [f32], accumulate: bool) {
        let a = if self.transpose_a { a.t() } else { a };
        let b = if self.transpose_b { b.t() } else { b };
        gemm(out, b.cols, a, b, self.scale, accumulate, true);
    }

    /// The product's launches: inputs 0 and 1 of `on` into its output 0.
    pub(super) fn product(&self, on: &Operands) -> Vec<Launch> {
        match (self.transpose_a, self.transpose_b) {
            (true, _) => product_tn(on, self.scale),
            (false, true) => product_nt(on, self.scale),
            (false, false) => product_nn(on, self.scale),
        }
    }

    /// Bytes that [`Self::product`] wants.
    pub(super) fn product_workspace(&self, inputs: &[TensorType]) -> usize {
        if self.transpose_a { product_tn_workspace(inputs) } else { 0 }
    }

    /// How the gradient of an input is made of two of dc, a and b.
    fn gradient(self, input: usize) -> (Self, [Operand3; 2]) {
        use Operand3::{A, B, Dc};
        let scale = self.scale;
        match (self.transpose_a, self.transpose_b, input) {
            (false, false, 0) => (Self::nt(scale), [Dc, B]),
            (false, false, _) => (Self::tn(scale), [A, Dc]),
            (false, true, 0) => (Self::nn(scale), [Dc, B]),
            (false, true, _) => (Self::tn(scale), [Dc, A]),
            (true, _, 0) => (Self::nt(scale), [B, Dc]),
            (true, _, _) => (Self::nn(scale), [A, Dc]),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operand3 {
    Dc,
    A,
    B,
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        let [a, b] = inputs else {
            return Err(Error::op(name, "takes a and b"));
        };
        checks::finite(name, "scale", self.scale)?;
        if self.transpose_a && self.transpose_b {
            return Err(Error::op(name, "does not transpose both: aᵀ bᵀ is the transpose of b a"));
        }
        let ([m, k], [k_b, n]) = self.sides(a.dims(name, "a")?, b.dims(name, "b")?);
        if k != k_b {
            let what = format!(
                "a is {a} and b {b}; op(a) has {k} columns and op(b) {k_b} rows, which must be equal"
            );
            return Err(Error::op(name, what));
        }
        b.expect(name, "b", &b.with(a.dtype))?;
        let dtype = if self.transpose_a { DType::F32 } else { a.dtype };
        Ok(vec![TensorType::new([m, n], dtype)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let terms = inputs[0].elements() / outputs[0].shape[0];
        Cost { flops: (2 * terms * outputs[0].elements()) as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        self.multiply(matrix(args, 0), matrix(args, 1), args.out(0), args.accumulates(0));
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        self.product_workspace(inputs)
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        Ok(self.product(on))
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dc = vjp.grad(0)?;
        for input in 0..2 {
            if vjp.wants(input) {
                let (product, factors) = self.gradient(input);
                let tensors = factors.map(|factor| match factor {
                    Operand3::Dc => dc,
                    Operand3::A => vjp.input(0),
                    Operand3::B => vjp.input(1),
                });
                let dtype = vjp.ty(vjp.input(input)).dtype;
                vjp.emit(Backward { product, dtype }, &tensors, &[input])?;
            }
        }
        Ok(())
    }
}

fn matrix<'a>(args: &Args<'a>, i: usize) -> Mat<'a> {
    let [rows, columns] = args.dims(i);
    Mat::new(args.f32(i), rows, columns)
}

/// A product that is the gradient of an input of type `dtype`. In bf16 one factor may be f32, the gradient of aᵀ b: it
/// is rounded to bf16 first; or the result f32, of aᵀ b where an activation is wanted: it is rounded last.
#[derive(Debug)]
struct Backward {
    product: MatMul,
    dtype: DType,
}

impl Backward {
    /// Bytes of a bf16 copy of each input that is f32 where bf16 is wanted.
    fn copies(&self, inputs: &[TensorType]) -> [usize; 2] {
        [0, 1].map(|i| {
            let rounds = self.dtype == DType::Bf16 && inputs[i].dtype == DType::F32;
            if rounds { (2 * inputs[i].elements()).next_multiple_of(256) } else { 0 }
        })
    }

    /// Bytes of the f32 product where the gradient is bf16.
    fn sum(&self, inputs: &[TensorType]) -> usize {
        if self.product.transpose_a && self.dtype == DType::Bf16 {
            (4 * inputs[0].shape[1] * inputs[1].shape[1]).next_multiple_of(256)
        } else {
            0
        }
    }
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        "matmul/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let types = [0, 1].map(|i| inputs[i].with(self.dtype));
        Ok(vec![self.product.infer(&types)?[0].with(self.dtype)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        self.product.cost(inputs, outputs)
    }

    fn cpu(&self, args: &Args) {
        self.product.cpu(args);
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        let copies: usize = self.copies(inputs).iter().sum();
        copies + self.sum(inputs) + self.product.product_workspace(inputs)
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let types = [on.ty(0).clone(), on.ty(1).clone()];
        let (mut place, mut launches) = (on.workspace, Vec::new());
        let mut inputs = Vec::new();
        for (i, bytes) in self.copies(&types).into_iter().enumerate() {
            if bytes > 0 {
                launches.push(round(&types[i], on.input(i), place, 0));
                inputs.push((place, types[i].with(DType::Bf16)));
                place = place.plus(bytes);
            } else {
                inputs.push(on.inputs[i].clone());
            }
        }
        let sum = self.sum(&types);
        let (outputs, writes, rounds_last);
        if sum > 0 {
            outputs = vec![(place, on.outputs[0].1.with(DType::F32))];
            writes = vec![Write::Overwrite];
            rounds_last = Some(round(&outputs[0].1, place, on.output(0), on.accumulate(0)));
            place = place.plus(sum);
        } else {
            (outputs, writes, rounds_last) = (on.outputs.to_vec(), on.writes.to_vec(), None);
        }
        let within = Operands {
            inputs: &inputs,
            outputs: &outputs,
            writes: &writes,
            workspace: place,
            upload: on.upload,
        };
        launches.extend(self.product.product(&within));
        launches.extend(rounds_last);
        Ok(launches)
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "matmul",
    summary: "scale · op(a) op(b), either transposed",
    inputs: &[Operand::new("a", "[M,K]"), Operand::new("b", "[K,N]")],
    outputs: &[Operand::new("c", "[M,N]")],
    defaults: || json!(MatMul::default()),
    record: |graph, params, t| graph.apply(parse::<MatMul>("matmul", params)?, &[t.get("a")?, t.get("b")?]),
    reference: |params, t| {
        let matmul = parse::<MatMul>("matmul", params).expect("a case's parameters");
        let (a, b) = (t.at("a"), t.at("b"));
        let ([m, terms], [_, n]) = matmul.sides([a.shape[0], a.shape[1]], [b.shape[0], b.shape[1]]);
        let mut c = Tensor64::zeros([m, n]);
        for i in 0..m {
            for j in 0..n {
                let of_a = |k: usize| if matmul.transpose_a { a.row(k)[i] } else { a.row(i)[k] };
                let of_b = |k: usize| if matmul.transpose_b { b.row(j)[k] } else { b.row(k)[j] };
                c.data[i * n + j] =
                    f64::from(matmul.scale) * (0..terms).map(|k| of_a(k) * of_b(k)).sum::<f64>();
            }
        }
        vec![c]
    },
    kernels: &[],
    cases: || {
        let case =
            |name, params, a: [usize; 2], b: [usize; 2]| Case::new(name, params).input("a", a).input("b", b);
        let (t_a, t_b) =
            (json!({"transpose_a": true, "scale": 0.37}), json!({"transpose_b": true, "scale": -1.7}));
        vec![
            case("plain", json!({"scale": 0.6}), [5, 7], [7, 3]),
            case("plain_chunks", json!({}), [37, 16], [16, 24]),
            case("nt", t_b.clone(), [5, 7], [9, 7]),
            case("nt_chunks", t_b, [70, 40], [24, 40]),
            case("tn", t_a.clone(), [5, 7], [5, 3]),
            case("tn_chunks", t_a.clone(), [33, 16], [33, 72]),
            case("tn_batch_1", t_a.clone(), [1, 5], [1, 6]),
            case("tn_in_parts", t_a, [600, 8], [600, 16]),
            case("projector", json!({"transpose_a": true}), [512, 512], [512, 512]).bench_only(),
        ]
    },
};
