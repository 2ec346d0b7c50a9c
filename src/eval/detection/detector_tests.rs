use super::*;
use crate::data::{BadFiles, Memory, Split};
use crate::eval::detection::{SceneOptions, average_precision};
use crate::nn::Stem;
use std::sync::Arc;

/// Two classes that no cell can mistake: bright and dark squares.
fn scenes(count: usize, seed: u64) -> Vec<Scene> {
    let pixels = [[255u8; 64], [0; 64]].concat();
    let memory = Memory::new("squares", [8, 8, 1], pixels, vec![0, 1]);
    let split = Split::new(Arc::new(memory), None, 1, Arc::new(BadFiles::new("squares", 2, 0.0)));
    let options = SceneOptions { size: 32, objects: [1, 2], scale: [0.3, 0.5], clutter: 0, overlap: 0.0 };
    options.compose(&split, count, seed).unwrap()
}

fn encoder() -> Encoder {
    Encoder { name: "resnet10".into(), width: 4, stem: Stem::Small }
}

fn spec<'a>(encoder: &'a Encoder, policy: &'a Policy, tune: bool) -> DetectorSpec<'a> {
    let (size, channels, classes, batch, epochs, lr) = (32, 1, 2, 16, 12, 4e-3);
    DetectorSpec { encoder, policy, size, channels, classes, tune, batch, epochs, lr, device: Device::Cpu }
}

#[test]
fn it_finds_what_is_easy_to_see_and_repeats() {
    let (encoder, policy) = (encoder(), Policy::default());
    let (train, test) = (scenes(128, 1), scenes(40, 2));
    let truths: Vec<_> = test.iter().map(|scene| scene.truths.clone()).collect();
    let mut detector = Detector::new(&spec(&encoder, &policy, true)).unwrap();
    let mut losses = Vec::new();
    detector.train(None, &train, 3, &mut |loss| losses.push(loss)).unwrap();
    assert_eq!(losses.len(), detector.steps(train.len()));
    assert!(losses[losses.len() - 1] < 0.5 * losses[0], "{losses:?}");
    let found = detector.find(&test).unwrap();
    let score = average_precision(&truths, &found, 2).unwrap();
    assert!(score.ap50 > 0.5, "{score:?}");
    detector.train(None, &train, 3, &mut |_| {}).unwrap();
    assert_eq!(detector.find(&test).unwrap(), found);
}

/// A frozen encoder is left as it is, statistics and all; a tuned one is not.
#[test]
fn only_a_tuned_encoder_changes() {
    let (encoder, policy) = (encoder(), Policy::default());
    let train = scenes(16, 1);
    for tune in [false, true] {
        let mut detector =
            Detector::new(&DetectorSpec { epochs: 2, ..spec(&encoder, &policy, tune) }).unwrap();
        start(&mut *detector.learning.program, None, 5).unwrap();
        let before = detector.learning.program.state_dict().unwrap();
        detector.train(None, &train, 5, &mut |_| {}).unwrap();
        let after = detector.learning.program.state_dict().unwrap();
        for name in ["encoder.conv1.weight", "encoder.bn1.running_mean", "encoder.layer4.0.conv2.weight"] {
            assert_eq!(before[name] != after[name], tune, "{name}");
        }
        assert_ne!(before["detector.res5.class.weight"], after["detector.res5.class.weight"]);
    }
}

#[test]
fn what_cannot_be_trained_is_said() {
    let (encoder, policy) = (encoder(), Policy::default());
    let mut detector = Detector::new(&spec(&encoder, &policy, false)).unwrap();
    let error = detector.train(None, &scenes(8, 1), 0, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("8 scenes to learn from do not fill a batch of 16"), "{error}");
    let error = Detector::new(&DetectorSpec { classes: 0, ..spec(&encoder, &policy, false) }).err().unwrap();
    assert!(error.to_string().contains("detect.classes"), "{error}");
}
