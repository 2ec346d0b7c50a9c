use super::*;
use crate::data::{BadFiles, Memory};
use crate::device::Device;
use crate::eval::Labels;
use crate::eval::start::ENCODER;
use crate::nn::{Encoder, Stem};
use crate::rng::{Philox, Purpose};
use std::sync::Arc;

/// Two classes of 8×8 pictures under noise: a bright upper or a bright lower half.
fn halves(n: usize, seed: u64) -> Split {
    let mut rng = Philox::new(seed, Purpose::Test, 0, 8);
    let mut pixel = |i: usize| {
        let (image, row) = (i / 64, i % 64 / 8);
        let bright = (row < 4) == (image % 2 == 0);
        (if bright { 150.0 } else { 90.0 } + 25.0 * rng.normal()).clamp(0.0, 255.0) as u8
    };
    let pixels = (0..n * 64).map(&mut pixel).collect();
    let labels = (0..n).map(|i| (i % 2) as u8).collect();
    let memory = Memory::new("halves", [8, 8, 1], pixels, labels);
    Split::new(Arc::new(memory), None, 1, Arc::new(BadFiles::new("halves", n, 0.0)))
}

fn encoder() -> Encoder {
    Encoder { name: "resnet10".into(), width: 2, stem: Stem::Small }
}

fn network<'a>(encoder: &'a Encoder, policy: &'a Policy) -> Network<'a> {
    Network { encoder, policy, size: 8, channels: 1, classes: 2, device: Device::Cpu }
}

fn options(steps: usize) -> FinetuneOptions {
    FinetuneOptions { batch: 8, steps: [steps, steps], ..FinetuneOptions::default() }
}

#[test]
fn it_learns_repeats_and_starts_from_what_it_is_given() {
    let (encoder, policy) = (encoder(), Policy::default());
    let (train, test) = (halves(24, 1), halves(60, 2));
    let rows: Vec<usize> = (0..24).collect();
    let mut tuner = Finetuner::new(network(&encoder, &policy), rows.len(), &options(60)).unwrap();
    let mut steps = 0;
    let scratch = tuner.run(None, (&train, &rows), &test, 3, &mut || steps += 1).unwrap();
    assert_eq!((steps, scratch.samples), (60, 60));
    assert!(scratch.top1 > 0.9, "{scratch:?}");
    // Nothing is left over from the run before: weights, running statistics and momentum all start anew.
    let trained = tuner.train.program.state_dict().unwrap();
    assert_eq!(tuner.run(None, (&train, &rows), &test, 3, &mut || {}).unwrap(), scratch);
    assert_eq!(tuner.train.program.state_dict().unwrap(), trained);

    // With rates of 0 the encoder stays as given, but for its running statistics; the head stays fresh.
    let still = FinetuneOptions { encoder_lr: 0.0, head_lr: 0.0, ..options(2) };
    let mut tuner = Finetuner::new(network(&encoder, &policy), rows.len(), &still).unwrap();
    tuner.run(Some(&trained), (&train, &rows), &test, 4, &mut || {}).unwrap();
    let after = tuner.train.program.state_dict().unwrap();
    for (name, value) in
        after.iter().filter(|(name, _)| name.ends_with("weight") && !name.starts_with("momentum"))
    {
        assert_eq!(*value == trained[name], name.starts_with(ENCODER), "{name}");
    }
}

/// Each group of parameters moves by its own rate.
#[test]
fn the_head_alone_moves_where_the_encoder_has_no_rate() {
    let (encoder, policy) = (encoder(), Policy::default());
    let train = halves(16, 1);
    let rows: Vec<usize> = (0..16).collect();
    let frozen = FinetuneOptions { encoder_lr: 0.0, ..options(5) };
    let mut tuner = Finetuner::new(network(&encoder, &policy), rows.len(), &frozen).unwrap();
    start(&mut *tuner.train.program, None, 5).unwrap();
    let before = tuner.train.program.state_dict().unwrap();
    tuner.run(None, (&train, &rows), &train, 5, &mut || {}).unwrap();
    let after = tuner.train.program.state_dict().unwrap();
    assert_eq!(before["encoder.conv1.weight"], after["encoder.conv1.weight"]);
    assert_ne!(before["head.weight"], after["head.weight"]);
}

#[test]
fn what_cannot_be_tuned_is_said() {
    let (encoder, policy) = (encoder(), Policy::default());
    let net = network(&encoder, &policy);
    let say = |net, images| Finetuner::new(net, images, &options(1)).err().unwrap().to_string();
    assert!(say(Network { classes: 1, ..net }, 8).contains("1 classes"));
    assert!(say(net, 1).contains("at least 2 labelled images"));

    let train = halves(8, 1);
    let mut tuner = Finetuner::new(net, 8, &options(1)).unwrap();
    let rows: Vec<usize> = (0..8).collect();
    let error = tuner.run(Some(&BTreeMap::new()), (&train, &rows), &train, 0, &mut || {}).unwrap_err();
    assert!(error.to_string().contains("no weights for `encoder."), "{error}");
    let diverging = FinetuneOptions { encoder_lr: 1e30, head_lr: 1e30, ..options(20) };
    let mut tuner = Finetuner::new(net, 8, &diverging).unwrap();
    let error = tuner.run(None, (&train, &rows), &train, 0, &mut || {}).unwrap_err().to_string();
    assert!(
        error.contains("fine-tuning: the loss is") && error.contains("lower the learning rates"),
        "{error}"
    );
}

#[test]
fn steps_follow_the_labels_within_bounds() {
    let options = FinetuneOptions { batch: 64, epochs: 30, steps: [200, 600], ..FinetuneOptions::default() };
    assert_eq!([10, 640, 8000].map(|n| options.steps_for(n)), [200, 300, 600]);
}

/// Of each class exactly so many, or a share; the same seeds give the same figures.
#[test]
fn runs_under_seeds_are_those_of_single_runs() {
    let (encoder, policy) = (encoder(), Policy::default());
    let (train, test) = (halves(40, 1), halves(60, 2));
    let net = network(&encoder, &policy);
    let options = options(10);
    let mut steps = 0;
    let labels = Labels::PerClass(3);
    let spread = finetune(net, None, [&train, &test], labels, (7, 2), &options, &mut || steps += 1).unwrap();
    assert_eq!((steps, spread.runs.len()), (20, 2));
    let rows = labels.draw(&train.labels(), 8).unwrap();
    assert_eq!(rows.len(), 6);
    let mut tuner = Finetuner::new(net, 6, &options).unwrap();
    let second = tuner.run(None, (&train, &rows), &test, 8, &mut || {}).unwrap();
    assert_eq!(spread.runs[1], second.top1);
    assert_eq!(Labels::Fraction(0.25).draw(&train.labels(), 8).unwrap().len(), 10);
}
