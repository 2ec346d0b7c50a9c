//! Folders of pictures.

use super::{text, write_picture};
use crate::data::{Image, Kind, Options, inspect, open};
use std::fs;
use std::path::Path;

const RED: [u8; 3] = [250, 10, 10];

fn with_max_bad(max_bad: f64) -> Options {
    Options { max_bad, ..Options::default() }
}

fn open_default(root: &Path) -> crate::Result<crate::data::Dataset> {
    open(root.to_str().unwrap(), &Options::default())
}

/// Short names in order: the training pictures', then the test pictures'.
fn names(root: &Path) -> (Vec<String>, Vec<String>) {
    let set = open_default(root).unwrap();
    let short = |name: String| Path::new(&name).strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let of = |split: &crate::data::Split| (0..split.len()).map(|i| short(split.name(i))).collect();
    (of(&set.train), of(&set.test))
}

#[test]
fn classes_are_the_first_level_at_any_depth() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in ["b/z.png", "b/a-b/1.png", "b/a/2.JPG", "b/a/deep/3.gif", "a/1.bmp", "a/2.webp", "stray.png"]
    {
        write_picture(&root.join(name.to_lowercase()), 5, RED);
    }
    fs::rename(root.join("b/a/2.jpg"), root.join("b/a/2.JPG")).unwrap();
    for (name, content) in
        [(".hidden/1.png", "x"), ("a/.hidden.png", "x"), ("a/notes.txt", "x"), ("empty/no.txt", "x")]
    {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), content).unwrap();
    }
    let set = open_default(root).unwrap();
    assert_eq!(set.kind, Kind::Folder);
    assert_eq!(set.classes, ["a", "b"]);
    assert!(set.labelled && set.held_out && set.channels == 3);
    assert_eq!((set.train.len(), set.test.len()), (5, 1));
    let notes = set.notes.join("; ");
    assert!(notes.contains("1 pictures beside") && notes.contains("empty"), "{notes}");
    for split in [&set.train, &set.test] {
        for i in 0..split.len() {
            assert_eq!(split.label(i), i64::from(split.name(i).contains("/b/")));
            assert_eq!(split.size(i), [4, 5]);
        }
    }
    // ImageFolder's order: folders as os.walk names them, sorted as strings: "a-b" before "a/".
    let (train, test) = names(root);
    let order = ["a/1.bmp", "a/2.webp", "b/z.png", "b/a/2.JPG", "b/a-b/1.png", "b/a/deep/3.gif"];
    let expect: Vec<&str> = order.into_iter().filter(|name| *name != test[0]).collect();
    assert_eq!(train, expect);
}

#[test]
fn train_and_test_folders_are_the_splits() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in ["train/cat/1.png", "train/dog/1.png", "val/cat/2.png", "val/eel/3.png", "test/4.png"] {
        write_picture(&root.join(name), 5, RED);
    }
    // `test` has no classes, so `val` it is.
    let set = open_default(root).unwrap();
    assert_eq!(set.classes, ["cat", "dog", "eel"]);
    assert!(!set.held_out);
    assert_eq!((set.train.labels(), set.test.labels()), (vec![0, 1], vec![0, 2]));
    assert!(set.notes.join("; ").contains("eel") && set.notes.join("; ").contains("test has no class"));
}

#[test]
fn train_may_be_a_class() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["bus/1.png", "train/1.png"] {
        write_picture(&dir.path().join(name), 5, RED);
    }
    assert_eq!(open_default(dir.path()).unwrap().classes, ["bus", "train"]);
}

#[test]
fn a_flat_folder_is_unlabelled() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..20 {
        write_picture(&dir.path().join(format!("{i:02}.png")), 5, RED);
    }
    let set = open_default(dir.path()).unwrap();
    assert!(!set.labelled && set.notes.join("; ").contains("no labels"));
    assert_eq!(set.classes, ["unlabelled"]);
    assert_eq!((set.train.len(), set.test.len()), (18, 2));
    assert!(set.train.labels().iter().all(|&label| label == 0));
    let (train, test) = names(dir.path());
    assert!(test.iter().all(|name| !train.contains(name)));
}

#[test]
fn channels_follow_the_files_or_the_option() {
    let dir = tempfile::tempdir().unwrap();
    let gray = dir.path().join("gray.png");
    image::GrayImage::from_pixel(3, 3, image::Luma([90])).save(&gray).unwrap();
    let path = dir.path().to_str().unwrap();
    assert_eq!(open(path, &Options::default()).unwrap().channels, 1);
    write_picture(&dir.path().join("red.png"), 3, RED);
    assert_eq!(open(path, &Options::default()).unwrap().channels, 3);
    for channels in [1, 3] {
        let set = open(path, &Options { channels: Some(channels), ..Options::default() }).unwrap();
        for split in [&set.train, &set.test] {
            let mut image = Image::default();
            split.read(0, &mut image).unwrap();
            assert_eq!(image.pixels.len(), image.height * image.width * channels);
        }
    }
    assert!(open(path, &Options { channels: Some(2), ..Options::default() }).is_err());
    assert!(open(path, &with_max_bad(f64::NAN)).is_err());
}

#[test]
fn bad_files_are_skipped_up_to_max_bad() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..100 {
        let path = dir.path().join(format!("class{}/{i:03}.png", i % 2));
        write_picture(&path, 5, RED);
        if i < 12 {
            fs::write(&path, if i % 2 == 0 { &b""[..] } else { b"<html>" }).unwrap();
        }
    }
    let path = dir.path().to_str().unwrap();
    let set = open(path, &with_max_bad(0.12)).unwrap();
    assert_eq!(set.bad.count(), 12);
    assert_eq!(set.train.len() + set.test.len(), 88);
    let message = text(open(path, &with_max_bad(0.11)).err().unwrap());
    assert!(message.contains("12 of 100") && message.contains("data.max_bad"), "{message}");
    assert_eq!(message.matches(".png: ").count(), 10, "{message}");

    // Whoever is bad, the others stay on their side.
    let before = names_of(&set.test);
    fs::write(dir.path().join("class0/050.png"), "").unwrap();
    let after = open(path, &with_max_bad(0.2)).unwrap();
    let expect: Vec<String> = before.into_iter().filter(|name| !name.ends_with("050.png")).collect();
    assert_eq!(names_of(&after.test), expect);

    let summary = inspect(path, &Options::default(), true).unwrap();
    assert_eq!(summary.bad.len(), 13);
    let shown = text(&summary);
    assert!(shown.contains("13 unreadable files (13.00 %)") && shown.contains("would refuse"), "{shown}");
    assert_eq!(serde_json::to_value(&summary).unwrap()["bad"].as_array().unwrap().len(), 13);
}

fn names_of(split: &crate::data::Split) -> Vec<String> {
    (0..split.len()).map(|i| split.name(i)).collect()
}

/// A picture whose frame is whole but whose pixels are not: only decoding tells.
#[test]
fn a_picture_that_breaks_late_is_replaced_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..10u8 {
        write_picture(&dir.path().join(format!("train/{i}.png")), 5, [i; 3]);
        write_picture(&dir.path().join(format!("test/{i}.png")), 5, [i; 3]);
    }
    for i in [4, 5, 9] {
        let path = dir.path().join(format!("train/{i}.png"));
        let mut bytes = fs::read(&path).unwrap();
        let data = bytes.windows(4).position(|word| word == b"IDAT").unwrap() + 4;
        bytes[data..data + 8].fill(0xee);
        fs::write(path, bytes).unwrap();
    }
    let path = dir.path().to_str().unwrap();
    let set = open(path, &with_max_bad(0.15)).unwrap();
    assert_eq!((set.bad.count(), set.train.len()), (0, 10));
    let mut image = Image::default();
    for (asked, given) in [(3, 3), (4, 6), (5, 6), (9, 0), (4, 6)] {
        assert_eq!(set.train.read(asked, &mut image).unwrap(), given);
        assert_eq!(image.pixels[0] as usize, given);
    }
    assert_eq!(set.bad.count(), 3);
    let strict = open(path, &with_max_bad(0.05)).unwrap();
    assert_eq!(strict.train.read(9, &mut image).unwrap(), 0);
    assert!(text(strict.train.read(4, &mut image).unwrap_err()).contains("2 of 20"));
    assert_eq!(inspect(path, &Options::default(), true).unwrap().bad.len(), 3);
}

#[cfg(unix)]
#[test]
fn links_that_loop_or_dangle() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for i in 0..4 {
        write_picture(&root.join(format!("a/{i}.png")), 5, RED);
    }
    fs::create_dir(root.join("a/deep")).unwrap();
    symlink(root, root.join("a/up")).unwrap();
    symlink(root, root.join("self")).unwrap();
    symlink(root.join("a"), root.join("a/deep/again")).unwrap();
    symlink(root.join("nowhere"), root.join("a/gone")).unwrap();
    symlink(root.join("nowhere"), root.join("a/gone.png")).unwrap();
    symlink(root.join("a/0.png"), root.join("a/4.png")).unwrap();
    let set = open(root.to_str().unwrap(), &with_max_bad(0.5)).unwrap();
    assert_eq!(set.classes, ["a"]);
    assert_eq!(set.bad.count(), 1);
    assert_eq!(set.train.len() + set.test.len(), 5);
}

#[test]
fn nothing_there_says_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let message = text(open_default(dir.path()).err().unwrap());
    for word in ["IDX", "CIFAR-10", "class folders", "notes.txt"] {
        assert!(message.contains(word), "{message}");
    }
    assert!(text(open_default(&dir.path().join("notes.txt")).err().unwrap()).contains("is a file"));
    assert!(text(open_default(&dir.path().join("gone")).err().unwrap()).contains("gone"));
}
