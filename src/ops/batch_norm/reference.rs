//! batch_norm in f64.

use super::BatchNorm;
use crate::ops::table::{Tensor64, Tensors, parse};
use serde_json::Value;

pub fn reference(params: &Value, t: &Tensors<Tensor64>) -> Vec<Tensor64> {
    let bn: BatchNorm = parse("batch_norm", params).expect("a case's parameters");
    let (x, gamma, beta) = (t.at("x"), t.at("gamma"), t.at("beta"));
    let c = gamma.data.len();
    let m = (x.data.len() / c) as f64;
    let (mut mean, mut var) = (Tensor64::zeros([c]), Tensor64::zeros([c]));
    if bn.training {
        x.data.iter().enumerate().for_each(|(i, v)| mean.data[i % c] += v / m);
        x.data.iter().enumerate().for_each(|(i, v)| var.data[i % c] += (v - mean.data[i % c]).powi(2) / m);
    } else {
        mean = t.at("running_mean").clone();
        var = t.at("running_var").clone();
    }
    let (mut y, residual) = (x.clone(), t.optional("residual"));
    for (i, v) in y.data.iter_mut().enumerate() {
        let ch = i % c;
        let unit = (*v - mean.data[ch]) / (var.data[ch] + f64::from(bn.eps)).sqrt();
        *v = gamma.data[ch] * unit + beta.data[ch] + residual.as_ref().map_or(0.0, |r| r.data[i]);
        if bn.relu {
            *v = v.max(0.0);
        }
    }
    if bn.training { vec![y, mean, var] } else { vec![y] }
}
