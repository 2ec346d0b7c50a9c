//! Sets held in memory: embedded, IDX, CIFAR.

use super::text;
use crate::data::{EMBEDDED, Image, Kind, Options, Split, inspect, open};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

fn pixels(split: &Split) -> Vec<Vec<u8>> {
    let mut image = Image::default();
    let mut read = |i| {
        assert_eq!(split.read(i, &mut image).unwrap(), i);
        image.pixels.clone()
    };
    (0..split.len()).map(&mut read).collect()
}

#[test]
fn embedded_is_whole_and_balanced() {
    let set = open(EMBEDDED, &Options::default()).unwrap();
    assert_eq!((set.train.len(), set.test.len(), set.channels), (8_000, 2_000, 1));
    assert_eq!(set.train.uniform_size(), Some([28, 28]));
    let count = |split: &Split, class| split.labels().iter().filter(|&&label| label == class).count();
    for class in 0..10 {
        let held = count(&set.test, class);
        assert_eq!(count(&set.train, class) + held, 1_000);
        // 200 expected, standard deviation 12.
        assert!((160..240).contains(&held), "{held} of class {class}");
    }
    // No picture is on both sides, and none is lost.
    let (train, test) = (pixels(&set.train), pixels(&set.test));
    let all: HashSet<&Vec<u8>> = train.iter().chain(&test).collect();
    assert_eq!(all.len(), 10_000);
    // The sum of all pixels, as Python gives it.
    let sum: u64 = train.iter().chain(&test).flatten().map(|&value| u64::from(value)).sum();
    assert_eq!(sum, 573_469_082);
}

#[test]
fn the_hold_out_never_moves() {
    let set = open(EMBEDDED, &Options::default()).unwrap();
    let first: Vec<String> = (0..3).map(|i| set.test.name(i)).collect();
    assert_eq!(first, ["embedded[0]", "embedded[17]", "embedded[23]"]);
}

#[test]
fn embedded_in_colour_repeats_gray() {
    let gray = open(EMBEDDED, &Options::default()).unwrap();
    let colour = open(EMBEDDED, &Options { channels: Some(3), ..Options::default() }).unwrap();
    let (mut a, mut b) = (Image::default(), Image::default());
    gray.test.read(5, &mut a).unwrap();
    colour.test.read(5, &mut b).unwrap();
    assert_eq!((b.height, b.width, b.channels), (28, 28, 3));
    assert!(b.pixels.chunks(3).zip(&a.pixels).all(|(rgb, &gray)| rgb == [gray; 3]));
}

/// An IDX file of `dims`, its bytes counting up from `start`.
fn idx(path: &Path, dims: &[u32], start: u8) {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend((0..dims.iter().product::<u32>()).map(|i| start.wrapping_add(i as u8)));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn idx_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let file = |name: &str| dir.path().join("MNIST/raw").join(name);
    idx(&file("train-images-idx3-ubyte"), &[4, 2, 3], 0);
    let set = open(path, &Options::default()).unwrap();
    assert!(!set.labelled && set.held_out && set.kind == Kind::Idx);
    assert_eq!((set.train.len(), set.test.len()), (3, 1));

    idx(&file("train-labels-idx1-ubyte"), &[4], 0);
    idx(&file("t10k-images.idx3-ubyte"), &[2, 2, 3], 100);
    let set = open(path, &Options::default()).unwrap();
    assert!(set.labelled && set.held_out && set.notes.join("").contains("no labels"));

    idx(&file("t10k-labels.idx1-ubyte"), &[2], 4);
    let set = open(path, &Options::default()).unwrap();
    assert!(!set.held_out);
    assert_eq!(set.classes.len(), 6);
    assert_eq!((set.train.labels(), set.test.labels()), (vec![0, 1, 2, 3], vec![4, 5]));
    assert_eq!(pixels(&set.test)[1], [106, 107, 108, 109, 110, 111]);

    idx(&file("t10k-labels.idx1-ubyte"), &[3], 0);
    assert!(text(open(path, &Options::default()).err().unwrap()).contains("labels of shape [3]"));
}

#[test]
fn cifar_folders() {
    let record = |head: &[u8], value: u8| [head, &[value; 3072]].concat();
    let dir = tempfile::tempdir().unwrap();
    let ten = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&ten).unwrap();
    fs::write(ten.join("data_batch_2.bin"), record(&[2], 20)).unwrap();
    fs::write(ten.join("data_batch_1.bin"), [record(&[0], 5), record(&[1], 6)].concat()).unwrap();
    fs::write(ten.join("test_batch.bin"), record(&[9], 30)).unwrap();
    fs::write(ten.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    let set = open(dir.path().to_str().unwrap(), &Options::default()).unwrap();
    assert_eq!((set.kind, set.channels, set.held_out), (Kind::Cifar10, 3, false));
    assert_eq!((set.train.labels(), set.test.labels()), (vec![0, 1, 2], vec![9]));
    assert_eq!((pixels(&set.train)[2][0], &set.classes[9][..]), (20, "j"));

    let hundred = tempfile::tempdir().unwrap();
    fs::write(hundred.path().join("train.bin"), record(&[3, 99], 5)).unwrap();
    let path = hundred.path().to_str().unwrap();
    let set = open(path, &Options { channels: Some(1), ..Options::default() }).unwrap();
    assert_eq!((set.kind, set.train.label(0), set.classes.len()), (Kind::Cifar100, 99, 100));
    assert_eq!(pixels(&set.train)[0], [5; 1024]);
    fs::write(hundred.path().join("test.bin"), "short").unwrap();
    assert!(text(open(path, &Options::default()).err().unwrap()).contains("whole number"));
}

#[test]
fn a_summary_counts() {
    let summary = inspect(EMBEDDED, &Options::default(), false).unwrap();
    let total: usize = summary.train.by_class.iter().map(|count| count.images).sum();
    assert_eq!((total, summary.test.images, summary.held_out), (8_000, 2_000, true));
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["train"]["shorter_side"][0]["from"], 16);
    assert_eq!(json["kind"], "embedded");
    let shown = text(&summary);
    assert!(
        shown.contains("Ankle boot") && shown.contains("8000 pictures") && shown.contains("held out"),
        "{shown}"
    );
}

/// The real thing, where it is installed (Debian: dataset-fashion-mnist).
#[test]
fn fashion_mnist_if_installed() {
    let path = "/usr/share/datasets/fashion-mnist";
    if !Path::new(path).exists() {
        eprintln!("SKIPPED: {path} is not there");
        return;
    }
    let set = open(path, &Options::default()).unwrap();
    assert_eq!((set.train.len(), set.test.len(), set.held_out), (60_000, 10_000, false));
    assert_eq!((set.train.label(0), set.classes.len()), (9, 10));
}
