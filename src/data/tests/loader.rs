//! The loader: order, resumption, threads, failures.

use super::{text, write_picture};
use crate::data::loader::{Batch, Loader, Plan, Sample};
use crate::data::{BadFiles, EMBEDDED, Image, Memory, Options, Split, open};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Batches of 8 samples, two views of 5 values and a label each.
fn plan() -> Plan {
    Plan { batch: 8, views: vec![5, 5], labels: 1, seed: 3, shuffle: true, drop_last: true, threads: 2 }
}

/// `count` pictures of one pixel, their index modulo 256; labels modulo 7.
fn split(count: usize) -> Split {
    let pixels = (0..count).map(|i| i as u8).collect();
    let memory = Memory::new("test", [1, 1, 1], pixels, (0..count).map(|i| (i % 7) as u8).collect());
    Split::new(Arc::new(memory), None, 1, Arc::new(BadFiles::new("test", count, 0.0)))
}

/// View v: the pixel, the id, the epoch, v, a random number. Label: the id modulo 7.
fn fill(sample: Sample, image: &Image, views: &mut [&mut [f32]], labels: &mut [i64]) -> Result<()> {
    labels.fill((sample.id % 7) as i64);
    let mut rng = Philox::new(9, Purpose::Augment, sample.epoch, sample.id as u64);
    for (v, view) in views.iter_mut().enumerate() {
        let values = [image.pixels[0].into(), sample.id as f32, sample.epoch as f32, v as f32, rng.uniform()];
        view.copy_from_slice(&values);
    }
    Ok(())
}

type Content = (Vec<usize>, Vec<i64>, Vec<f32>);

fn content(batch: Result<Batch>) -> Content {
    let batch = batch.unwrap();
    (batch.ids.clone(), batch.labels.clone(), batch.views.clone())
}

fn run(plan: Plan, count: usize, epoch: u32, first: usize) -> Vec<Content> {
    Loader::new(split(count), plan, fill).unwrap().epoch(epoch, first).unwrap().map(content).collect()
}

#[test]
fn rows_are_view_major_and_belong_together() {
    for (ids, labels, views) in run(plan(), 100, 4, 0) {
        assert_eq!((ids.len(), labels.len(), views.len()), (8, 8, 2 * 8 * 5));
        for (row, view) in views.chunks(5).enumerate() {
            let id = ids[row % 8];
            assert_eq!(view[..4], [id as f32, id as f32, 4.0, (row / 8) as f32]);
            assert_eq!(labels[row % 8], (id % 7) as i64);
        }
    }
}

#[test]
fn an_epoch_meets_every_sample_once_in_an_order_of_its_own() {
    let ids =
        |plan, epoch| run(plan, 100, epoch, 0).into_iter().flat_map(|batch| batch.0).collect::<Vec<_>>();
    let whole = Plan { drop_last: false, ..plan() };
    let (first, second) = (ids(whole.clone(), 0), ids(whole.clone(), 1));
    assert_ne!(first, second);
    assert_ne!(first, ids(Plan { seed: 4, ..whole.clone() }, 0));
    let mut sorted = first.clone();
    sorted.sort();
    assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    assert_eq!(ids(plan(), 0), first[..96]);
    assert_eq!(ids(Plan { shuffle: false, ..whole.clone() }, 5), (0..100).collect::<Vec<_>>());
    assert_eq!(run(whole, 100, 0, 0).last().unwrap().0.len(), 4);
}

#[test]
fn neither_threads_nor_the_entry_matter() {
    let whole = run(plan(), 100, 2, 0);
    assert_eq!(whole.len(), 12);
    for threads in [1, 3, 8] {
        assert_eq!(run(Plan { threads, ..plan() }, 100, 2, 0), whole);
    }
    for first in [1, 7, 11, 12, 99] {
        assert_eq!(run(plan(), 100, 2, first), whole[first.min(12)..]);
    }
    // A loader that has been used, and left in the middle, gives the same again.
    let loader = Loader::new(split(100), plan(), fill).unwrap();
    loader.epoch(0, 0).unwrap().take(3).for_each(|batch| drop(batch.unwrap()));
    assert_eq!(loader.epoch(2, 0).unwrap().map(content).collect::<Vec<_>>(), whole);
    assert_eq!(loader.batches(), 12);
}

#[test]
fn buffers_are_used_again() {
    let loader = Loader::new(split(800), plan(), fill).unwrap();
    let mut seen: Vec<*const f32> =
        loader.epoch(0, 0).unwrap().map(|batch| batch.unwrap().views.as_ptr()).collect();
    assert_eq!(seen.len(), 100);
    seen.sort();
    seen.dedup();
    assert!(seen.len() <= 5, "{} buffers", seen.len());
    // Held batches are no reason to wait.
    assert_eq!(loader.epoch(0, 0).unwrap().collect::<Result<Vec<_>>>().unwrap().len(), 100);
}

#[test]
fn no_more_than_asked_is_made_ahead() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let counted = move |sample, image: &Image, views: &mut [&mut [f32]], labels: &mut [i64]| {
        counter.fetch_add(1, Ordering::SeqCst);
        fill(sample, image, views, labels)
    };
    let loader = Loader::new(split(1_000), plan(), counted).unwrap();
    let mut epoch = loader.epoch(0, 0).unwrap();
    let batch = epoch.next();
    std::thread::sleep(Duration::from_millis(200));
    // One taken, two waiting, one in the coordinator's hands.
    let made = calls.load(Ordering::SeqCst);
    assert!(made <= 4 * 8, "{made} samples");
    drop((batch, epoch));
    let stopped = calls.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(calls.load(Ordering::SeqCst), stopped);
}

#[test]
fn errors_and_panics_arrive_as_errors() {
    let failing = |panics: bool| {
        move |sample: Sample, image: &Image, views: &mut [&mut [f32]], labels: &mut [i64]| match (
            sample.id == 50,
            panics,
        ) {
            (true, true) => panic!("picture {}", sample.id),
            (true, false) => Err(Error::op("augment", "picture 50")),
            _ => fill(sample, image, views, labels),
        }
    };
    for panics in [false, true] {
        let loader = Loader::new(split(100), Plan { shuffle: false, ..plan() }, failing(panics)).unwrap();
        let batches: Vec<Result<Batch>> = loader.epoch(0, 0).unwrap().collect();
        assert_eq!(batches.len(), 7);
        let (last, good) = batches.split_last().unwrap();
        assert!(good.iter().all(|batch| batch.is_ok()));
        let message = text(last.as_ref().unwrap_err());
        assert!(message.contains("picture 50"), "{message}");
        // The next epoch starts afresh.
        assert!(loader.epoch(1, 0).unwrap().next().unwrap().is_ok());
    }
}

#[test]
fn plans_that_make_no_batch_are_refused() {
    assert!(text(Loader::new(split(7), plan(), fill).err().unwrap()).contains("8 is more than the 7"));
    assert!(Loader::new(split(7), Plan { drop_last: false, ..plan() }, fill).is_ok());
    assert!(Loader::new(split(0), Plan { drop_last: false, ..plan() }, fill).is_err());
    for plan in
        [Plan { batch: 0, ..plan() }, Plan { views: vec![], ..plan() }, Plan { views: vec![5, 0], ..plan() }]
    {
        assert!(Loader::new(split(100), plan, fill).is_err());
    }
}

#[test]
fn too_many_bad_pictures_end_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..40 {
        write_picture(&dir.path().join(format!("{i:02}.png")), 1, [i; 3]);
    }
    let options = |max_bad| Options { channels: Some(1), max_bad };
    let path = dir.path().to_str().unwrap();
    let strict = open(path, &options(0.0)).unwrap();
    let lenient = open(path, &options(0.1)).unwrap();
    let broken = strict.train.name(20);
    std::fs::write(&broken, "gone bad after the scan").unwrap();

    let plan = Plan { shuffle: false, ..plan() };
    let batches: Vec<_> =
        Loader::new(strict.train, plan.clone(), fill).unwrap().epoch(0, 0).unwrap().collect();
    assert!(text(batches.last().unwrap().as_ref().unwrap_err()).contains(&broken));
    let loader = Loader::new(lenient.train, plan, fill).unwrap();
    let ids: Vec<usize> = loader.epoch(0, 0).unwrap().flat_map(|batch| content(batch).0).collect();
    assert_eq!(ids[19..22], [19, 21, 21]);
    assert_eq!(lenient.bad.count(), 1);
}

#[test]
fn the_embedded_set_through_the_loader() {
    let set = open(EMBEDDED, &Options::default()).unwrap();
    let copy = |_: Sample, image: &Image, views: &mut [&mut [f32]], _: &mut [i64]| {
        for view in views {
            view.iter_mut().zip(&image.pixels).for_each(|(out, &value)| *out = f32::from(value));
        }
        Ok(())
    };
    let plan = Plan { batch: 256, views: vec![28 * 28; 2], ..plan() };
    let loader = Loader::new(set.train.clone(), plan, copy).unwrap();
    let mut image = Image::default();
    for batch in loader.epoch(0, 0).unwrap() {
        let batch = batch.unwrap();
        set.train.read(batch.ids[255], &mut image).unwrap();
        let row = &batch.views[511 * 784..];
        assert!(row.iter().zip(&image.pixels).all(|(&a, &b)| a == f32::from(b)));
    }
}
