//! DINO: a student's soft classes on every crop follow a teacher's, centred and sharpened, on the global ones.

use super::inputs::{GLOBAL, MultiCrop};
use super::settings::{fill, positive, share};
use super::swav::prototype_weights;
use super::{BASE, Family, Method, Ramp, Recorded};
use crate::Error;
use crate::graph::Init;
use crate::ops::column_mean::ColumnMean;
use crate::ops::concat::Concat;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::linear::linear;
use crate::ops::soft_cross_entropy::SoftCrossEntropy;
use crate::ops::softmax::Softmax;
use crate::ops::unit_rows::unit_rows;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Soft classes.
    prototypes: usize,
    /// The student's, and the teacher's, which is lower: sharpening.
    temperature: f32,
    teacher_temperature: f32,
    momentum: f32,
    momentum_end: f32,
    /// Of the centre, the average of the teacher's outputs.
    center_momentum: f32,
    /// Epochs in which the last layer stays as it was drawn.
    freeze: usize,
    /// Small crops besides the two views, their pixels (half a view's if 0), and the share of the area they cover.
    local_crops: usize,
    local_size: usize,
    local_scale: [f32; 2],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prototypes: 1024,
            temperature: 0.1,
            teacher_temperature: 0.04,
            momentum: 0.99,
            momentum_end: 1.0,
            center_momentum: 0.9,
            freeze: 1,
            local_crops: 0,
            local_size: 0,
            local_scale: [0.08, 0.5],
        }
    }
}

pub const METHOD: Method = Method {
    name: "dino",
    family: Family::Distillation,
    summary: "distillation: a student's soft classes follow those of its moving average, centred and sharpened",
    paper: "Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021, algorithm 1",
    avoids_collapse: "the teacher's centre keeps one class from winning, its low temperature keeps all from being equal",
    if_stuck: "All classes are equal: lower teacher_temperature, or raise center_momentum.",
    if_dead: "A few classes win: raise teacher_temperature, lower center_momentum, or use fewer prototypes.",
    settings: fill::<Settings>,
    inputs: |spec| {
        let s: Settings = spec.settings()?;
        MultiCrop::views(spec, s.local_crops, s.local_size, s.local_scale)
    },
    phase: |loss, epoch| {
        let s: Settings = super::settings::read(loss)?;
        Ok(usize::from(epoch < s.freeze))
    },
    record: |r| {
        let s: Settings = r.settings()?;
        positive("temperature", s.temperature)?;
        positive("teacher_temperature", s.teacher_temperature)?;
        share("momentum", s.momentum)?;
        share("momentum_end", s.momentum_end)?;
        share("center_momentum", s.center_momentum)?;
        if s.prototypes == 0 {
            return Err(Error::config("loss.prototypes", "must be at least 1"));
        }
        let frozen = r.spec.epoch < s.freeze;
        let views = r.view_count();
        let mut images = Vec::new();
        for view in 0..views {
            images.push(r.views(view..view + 1)?);
        }
        let (mut embeddings, mut student, mut teacher) = (Vec::new(), Vec::new(), Vec::new());
        let mut weights = None;
        for &view in &images {
            let features = r.encode(view)?;
            let z = r.project(features)?;
            let unit = r.graph.apply1(L2Normalize::default(), &[z])?;
            let [_, d] = r.graph.ty(unit).dims("dino", "z")?;
            let weights = match weights {
                Some(weights) => weights,
                None => *weights.insert(prototype_weights(r, s.prototypes, d, frozen)?),
            };
            student.push(linear(r.graph, unit, weights, None)?);
            embeddings.push(z);
        }
        for &view in &images[..GLOBAL] {
            teacher.push(r.teacher(|r| {
                let features = r.encode(view)?;
                let z = r.project(features)?;
                let unit = r.graph.apply1(L2Normalize::default(), &[z])?;
                let [_, d] = r.graph.ty(unit).dims("dino", "z")?;
                let weights = prototype_weights(r, s.prototypes, d, true)?;
                linear(r.graph, unit, weights, None)
            })?);
        }
        let center = r.state("center", [s.prototypes], Init::Zeros)?;
        let mut terms = Vec::new();
        let weight = 1.0 / (GLOBAL * (views - 1)) as f32;
        for (target, &logits) in teacher.iter().enumerate() {
            let softmax = Softmax { temperature: s.teacher_temperature };
            let p = r.graph.apply1(softmax, &[logits, center])?;
            for view in (0..views).filter(|&v| v != target) {
                let ce = SoftCrossEntropy { temperature: s.temperature };
                terms.push((weight, r.graph.apply1(ce, &[student[view], p])?));
            }
        }
        let loss = r.sum(&terms)?;
        r.follow(Ramp::cosine(s.momentum, s.momentum_end))?;
        if !frozen {
            // An average of unit rows is shorter than they are.
            let lost = || Error::Graph("dino's teacher has no prototypes".into());
            let prototypes = r.graph.find("teacher.prototypes.weight").ok_or_else(lost)?;
            r.after(move |graph, _| unit_rows(graph, prototypes));
        }
        let both = r.graph.apply1(Concat, &teacher)?;
        let mean = r.graph.apply1(ColumnMean, &[both])?;
        let keep = r.scheduled("center_momentum", Ramp::constant(s.center_momentum))?;
        r.average(keep, vec![(center, mean)]);
        embeddings.truncate(GLOBAL);
        Ok(Recorded { loss, embeddings })
    },
    chance: |s, _, _| Ok(super::among(super::settings::read::<Settings>(s)?.prototypes)),
    ..BASE
};
