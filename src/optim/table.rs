//! The updates of single parameters as rows of the table of ops: `rusa op run sgd`. Training updates all at once.

use super::{Optimizer, adamw::AdamW, ema::ema, lars::Lars, launches, sgd::Sgd};
use crate::graph::{Graph, TensorId};
use crate::ops::Op;
use crate::ops::checks::{finite, not_negative};
use crate::ops::table::{Case, Fill, OpSpec, Operand, Tensor64, Tensors, parse};
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde_json::{Value, json};

const SCHEDULE: Operand = Operand::new("schedule", "[2]").full().constant();
const MOMENTUM: Operand = Operand::new("momentum", "[1]").full().constant();
const GRAD: Operand = tensor("grad");

const SGD_SETTINGS: &[&str] = &["momentum", "weight_decay", "decay_all"];
const LARS_SETTINGS: &[&str] = &["momentum", "weight_decay", "eta", "clip"];
const ADAMW_SETTINGS: &[&str] = &["betas", "eps", "weight_decay", "decay_all"];

const fn tensor(name: &'static str) -> Operand {
    Operand::new(name, "[…]").full().constant()
}

/// The settings called `keys` at their defaults.
fn defaults(keys: &[&str]) -> Value {
    let mut settings = json!(Optimizer::default());
    if let Value::Object(settings) = &mut settings {
        settings.retain(|key, _| keys.contains(&key.as_str()));
    }
    settings
}

/// An optimiser that was given none but the settings called `keys`: the others its rule does not read.
fn settings(op: &'static str, keys: &[&str], params: &Value) -> Result<Optimizer> {
    let o: Optimizer = parse(op, params)?;
    if let Some(key) = params.as_object().and_then(|p| p.keys().find(|key| !keys.contains(&key.as_str()))) {
        let what = format!("parameters: unknown field `{key}`, expected one of {}", keys.join(", "));
        return Err(Error::op(op, what));
    }
    for (name, value) in [("momentum", o.momentum), ("weight_decay", o.weight_decay), ("eta", o.eta)] {
        finite(op, name, value)?;
    }
    not_negative(op, "eps", o.eps)?;
    match o.betas.iter().find(|b| !(0.0..1.0).contains(*b)) {
        Some(beta) => {
            Err(Error::op(op, format!("betas must be from 0 up to 1, without it, but one is {beta}")))
        }
        None => Ok(o),
    }
}

/// Records `op` on the schedule, the gradient and what is updated.
fn record(graph: &mut Graph, op: impl Op, t: &Tensors<TensorId>, updated: &[&str]) -> Result<Vec<TensorId>> {
    let updated = updated.iter().map(|name| t.get(name)).collect::<Result<Vec<_>>>()?;
    graph.update(op, &[t.get("schedule")?, t.get("grad")?], &updated)?;
    Ok(updated)
}

/// Calls `update(grad, updated)` on the numbers of each element. The named operands' new values.
fn each<const K: usize>(
    t: &Tensors<Tensor64>,
    grad: &str,
    names: [&str; K],
    update: impl Fn(f64, [&mut f64; K]),
) -> Vec<Tensor64> {
    let mut updated = names.map(|name| t.at(name).clone());
    for (i, &g) in t.at(grad).data.iter().enumerate() {
        update(g, updated.each_mut().map(|x| &mut x.data[i]));
    }
    updated.into()
}

/// Learning rate and step.
fn schedule(t: &Tensors<Tensor64>) -> (f64, f64) {
    let schedule = &t.at("schedule").data;
    (schedule[0], schedule[1])
}

fn case(name: &str, params: Value, shape: &[usize], states: &[&'static str]) -> Case {
    let case = Case::new(name, params)
        .filled("schedule", TensorType::f32([2]), Fill::Given(|_| vec![0.25, 3.0]))
        .input("grad", shape)
        .input("param", shape);
    // Second moments are never negative.
    states.iter().fold(case, |case, state| case.filled(state, TensorType::f32(shape), Fill::Positive))
}

pub const EMA: OpSpec = OpSpec {
    name: "ema",
    summary: "target ← m · target + (1 − m) · value, in place",
    inputs: &[MOMENTUM, tensor("value"), tensor("target")],
    outputs: &[tensor("new_target")],
    defaults: || json!({}),
    record: |graph, _, t| {
        let target = t.get("target")?;
        ema(graph, t.get("momentum")?, &[(target, t.get("value")?)])?;
        Ok(vec![target])
    },
    reference: |_, t| {
        let keep = t.at("momentum").data[0];
        each(t, "value", ["target"], |value, [target]| *target = keep * *target + (1.0 - keep) * value)
    },
    kernels: launches::EMA,
    cases: || {
        let case = |name, momentum: fn(usize) -> Vec<f32>, shape: &[usize]| {
            Case::new(name, json!({}))
                .filled("momentum", TensorType::f32([1]), Fill::Given(momentum))
                .input("value", shape)
                .input("target", shape)
        };
        vec![
            case("small", |_| vec![0.9], &[5, 7]),
            case("vector", |_| vec![0.996], &[33]),
            case("two_chunks", |_| vec![0.5], &[3, 5501]),
            case("kept", |_| vec![1.0], &[3, 2]),
            case("matrix", |_| vec![0.996], &[2048, 2048]).bench_only(),
        ]
    },
};

pub const SGD: OpSpec = OpSpec {
    name: "sgd",
    summary: "a step of SGD with momentum, in place; schedule holds learning rate and step",
    inputs: &[SCHEDULE, GRAD, tensor("param"), tensor("momentum")],
    outputs: &[tensor("new_param"), tensor("new_momentum")],
    defaults: || defaults(SGD_SETTINGS),
    record: |graph, params, t| {
        record(graph, Sgd(settings("sgd", SGD_SETTINGS, params)?), t, &["param", "momentum"])
    },
    reference: |params, t| {
        let o = settings("sgd", SGD_SETTINGS, params).expect("a case's parameters");
        let ((lr, _), decay) = (schedule(t), f64::from(o.decay(&t.at("param").shape)));
        each(t, "grad", ["param", "momentum"], |g, [p, v]| {
            *v = f64::from(o.momentum) * *v + g + decay * *p;
            *p -= lr * *v;
        })
    },
    kernels: launches::SGD,
    cases: || {
        vec![
            case("matrix", json!({"weight_decay": 0.1}), &[5, 7], &["momentum"]),
            case("vector", json!({"weight_decay": 0.1}), &[33], &["momentum"]),
            case("decay_all", json!({"weight_decay": 0.1, "decay_all": true}), &[33], &["momentum"]),
            case("two_chunks", json!({"momentum": 0.0}), &[3, 5501], &["momentum"]),
            case("large", json!({}), &[2048, 2048], &["momentum"]).bench_only(),
        ]
    },
};

pub const LARS: OpSpec = OpSpec {
    name: "lars",
    summary: "a step of LARS, in place; schedule holds learning rate and step",
    inputs: &[SCHEDULE, GRAD, tensor("param"), tensor("momentum")],
    outputs: &[tensor("new_param"), tensor("new_momentum")],
    defaults: || defaults(LARS_SETTINGS),
    record: |graph, params, t| {
        record(graph, Lars(settings("lars", LARS_SETTINGS, params)?), t, &["param", "momentum"])
    },
    reference: |params, t| {
        let o = settings("lars", LARS_SETTINGS, params).expect("a case's parameters");
        let (lr, _) = schedule(t);
        let norm = |name| t.at(name).data.iter().map(|x| x * x).sum::<f64>().sqrt();
        let (p_norm, g_norm, mut decay) = (norm("param"), norm("grad"), f64::from(o.weight_decay));
        let mut scale = f64::from(o.eta) * p_norm / (g_norm + decay * p_norm + 1e-8);
        if o.clip {
            scale = (scale / lr).min(1.0);
        }
        if t.at("param").shape.len() == 1 || p_norm == 0.0 || g_norm == 0.0 {
            (decay, scale) = (0.0, 1.0);
        }
        each(t, "grad", ["param", "momentum"], |g, [p, v]| {
            *v = f64::from(o.momentum) * *v + scale * (g + decay * *p);
            *p -= lr * *v;
        })
    },
    kernels: launches::LARS,
    cases: || {
        let mut zero = case("zero", json!({}), &[3, 2], &["momentum"]);
        zero.inputs[2].2 = Fill::Given(|n| vec![0.0; n]);
        vec![
            case("matrix", json!({"weight_decay": 0.1}), &[5, 7], &["momentum"]),
            case("clipped", json!({"eta": 1.0}), &[5, 7], &["momentum"]),
            case("unclipped", json!({"eta": 1.0, "clip": false}), &[6, 3, 3, 5], &["momentum"]),
            case("vector", json!({"weight_decay": 0.1}), &[33], &["momentum"]),
            case("two_chunks", json!({}), &[3, 5501], &["momentum"]),
            zero,
            case("large", json!({}), &[2048, 2048], &["momentum"]).bench_only(),
        ]
    },
};

pub const ADAMW: OpSpec = OpSpec {
    name: "adamw",
    summary: "a step of AdamW, in place; schedule holds learning rate and step",
    inputs: &[SCHEDULE, GRAD, tensor("param"), tensor("exp_avg"), tensor("exp_avg_sq")],
    outputs: &[tensor("new_param"), tensor("new_exp_avg"), tensor("new_exp_avg_sq")],
    defaults: || defaults(ADAMW_SETTINGS),
    record: |graph, params, t| {
        let adamw = AdamW { optimizer: settings("adamw", ADAMW_SETTINGS, params)?, decoupled: true };
        record(graph, adamw, t, &["param", "exp_avg", "exp_avg_sq"])
    },
    reference: |params, t| {
        let o = settings("adamw", ADAMW_SETTINGS, params).expect("a case's parameters");
        let ((lr, step), decay) = (schedule(t), f64::from(o.decay(&t.at("param").shape)));
        let ([b1, b2], eps) = (o.betas.map(f64::from), f64::from(o.eps));
        each(t, "grad", ["param", "exp_avg", "exp_avg_sq"], |g, [p, m, v]| {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            let (m_hat, v_hat) = (*m / (1.0 - b1.powf(step)), *v / (1.0 - b2.powf(step)));
            *p = *p - lr * decay * *p - lr * m_hat / (v_hat.sqrt() + eps);
        })
    },
    kernels: launches::ADAMW,
    cases: || {
        let states = &["exp_avg", "exp_avg_sq"];
        vec![
            case("matrix", json!({"weight_decay": 0.1}), &[5, 7], states),
            case("vector", json!({"weight_decay": 0.1}), &[33], states),
            case("decay_all", json!({"weight_decay": 0.1, "decay_all": true}), &[33], states),
            case("two_chunks", json!({"betas": [0.5, 0.9], "eps": 0.1}), &[3, 5501], states),
            case("large", json!({}), &[2048, 2048], states).bench_only(),
        ]
    },
};
