//! [`Method::chance`](super::Method::chance) against the loss that the recorded step gives where all answers are equal.

use super::{Known, METHODS, StepSpec};
use crate::augment::Policy;
use crate::device::{CpuProgram, Program};
use crate::graph::Precision;
use crate::nn::{Encoder, Projector, Stem};
use crate::optim::Optimizer;

/// With every weight 0 an encoder gives all images the same, and all answers the same score.
#[test]
fn is_the_loss_of_an_encoder_that_knows_nothing() {
    let encoder = Encoder { name: "resnet10".into(), width: 4, stem: Stem::Small };
    let projector = Projector { hidden: 12, out: 6, ..Projector::default() };
    let mut known = Vec::new();
    for method in METHODS {
        let own = match method.name {
            "moco-v2" | "nnclr" => "queue = 20\ntemperature = 0.3",
            "moco-v3" => "temperature = 0.3",
            "swav" => "prototypes = 5\nlocal_crops = 1",
            "dino" => "prototypes = 9\nlocal_crops = 1",
            "deepcluster-v2" => "prototypes = [3, 5]",
            "jigsaw" => "permutations = 12\nhidden = 8",
            "pirl" => "permutations = 12\nnegatives = 1000\nlambda = 0.3",
            "relative-position" => "hidden = 8",
            _ => "",
        };
        let loss = method.settings(&own.parse().unwrap()).unwrap();
        let (batch, data) = (8, Known { images: 40, classes: 7 });
        let Some(chance) = method.chance(&loss, batch, data).unwrap() else { continue };
        known.push(method.name);
        let spec = StepSpec {
            method,
            encoder: &encoder,
            projector: &projector,
            loss: &loss,
            optimizer: &Optimizer::default(),
            augment: &Policy::default(),
            batch,
            size: 12,
            channels: 1,
            precision: Precision::F32,
            epoch: 0,
            data,
            images: None,
        };
        let step = spec.record().unwrap();
        // Memory begins as zeros: weights, states, views and labels are.
        let mut program = CpuProgram::new(step.graph);
        program.run(0..step.update_from).unwrap();
        let found = f64::from(program.read_f32(step.loss).unwrap()[0]);
        assert!((found - chance).abs() < 1e-5 * chance, "{}: {found} is not {chance}", method.name);
    }
    let with = [
        "simclr",
        "moco-v2",
        "moco-v3",
        "nnclr",
        "pirl",
        "swav",
        "deepcluster-v2",
        "dino",
        "rotation",
        "relative-position",
        "jigsaw",
    ];
    assert_eq!(known, with);
}

#[test]
fn one_answer_is_no_choice() {
    let swav = super::find("swav").unwrap();
    let loss = swav.settings(&"prototypes = 1".parse().unwrap()).unwrap();
    assert_eq!(swav.chance(&loss, 8, Known::default()).unwrap(), None);
}
