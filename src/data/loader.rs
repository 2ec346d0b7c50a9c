//! Batches of views, made ahead of their use on threads of their own.
//!
//! One coordinator thread an epoch goes through the order of samples; for each batch, a pool of threads decodes the
//! pictures and fills the views. At most [`DEPTH`] batches wait beside those that the consumer has. What is in a batch
//! depends on (seed, epoch, batch number) alone: not on threads, not on where the epoch was entered.

use super::{Image, Split};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::ThreadPool;
use rayon::prelude::*;
use std::any::Any;
use std::cell::RefCell;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

/// Finished batches that wait for the consumer at most.
pub const DEPTH: usize = 2;

/// What batches are to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Samples a batch.
    pub batch: usize,
    /// Values of each view of a sample: height · width · channels.
    pub views: Vec<usize>,
    /// Labels a sample.
    pub labels: usize,
    pub seed: u64,
    /// A new order each epoch, or data-set order.
    pub shuffle: bool,
    /// Leave out the last batch where it would be smaller.
    pub drop_last: bool,
    /// That decode and augment; 0 for as many as there are cores.
    pub threads: usize,
}

/// Which picture a view is made of: with the seed and the number of the view, all that its random draws may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub epoch: u32,
    /// Index in the split.
    pub id: usize,
}

/// N samples, V views of each, of values `T`: f32, or the pictures' own u8.
#[derive(Debug)]
pub struct Batch<T: Value = f32> {
    /// Index in the split of each sample: `[N]`.
    pub ids: Vec<usize>,
    /// What the filler says of each sample, `[L·N]`: label l of sample i is at l·N + i.
    pub labels: Vec<i64>,
    /// The views one behind the other, each `[N, its length]`.
    pub views: Vec<T>,
    /// Where in `views` each begins.
    pub starts: Vec<usize>,
    /// Where the buffers go when the batch is dropped.
    home: Option<Sender<Batch<T>>>,
}

/// What views are made of.
pub trait Value: Copy + Default + Send + Sync + 'static {}

impl Value for f32 {}
impl Value for u8 {}

impl<T: Value> Batch<T> {
    fn take(&mut self) -> Self {
        Self {
            ids: take(&mut self.ids),
            labels: take(&mut self.labels),
            views: take(&mut self.views),
            starts: take(&mut self.starts),
            home: None,
        }
    }
}

impl<T: Value> Drop for Batch<T> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // Without room, or without a loader any more, the buffers go.
            let _ = home.try_send(self.take());
        }
    }
}

/// Makes epochs of batches from a split.
///
/// `fill` writes the views of one sample, a slice each, and its labels, from its picture; it runs on many threads.
pub struct Loader<F, T: Value = f32> {
    split: Split,
    plan: Plan,
    fill: Arc<F>,
    pool: Arc<ThreadPool>,
    used: Buffers<T>,
}

impl<F, T: Value> Loader<F, T>
where
    F: Fn(Sample, &Image, &mut [&mut [T]], &mut [i64]) -> Result<()> + Send + Sync + 'static,
{
    /// # Errors
    /// If not even one batch can be had.
    pub fn new(split: Split, plan: Plan, fill: F) -> Result<Self> {
        if plan.batch == 0 || plan.views.is_empty() || plan.views.contains(&0) {
            return Err(Error::config("batch", "batch, views and view size must be at least 1"));
        }
        if batches(&plan, split.len()) == 0 {
            let what = format!("{} is more than the {} pictures of the split", plan.batch, split.len());
            return Err(Error::config("batch", what));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(plan.threads)
            .thread_name(|i| format!("loader-{i}"))
            .build()
            .map_err(|e| Error::config("threads", format!("cannot start the loader: {e}")))?;
        Ok(Self { split, plan, fill: Arc::new(fill), pool: Arc::new(pool), used: bounded(DEPTH + 3) })
    }

    /// Batches an epoch.
    pub fn batches(&self) -> usize {
        batches(&self.plan, self.split.len())
    }

    /// Starts on epoch `epoch` at batch `first`, and goes on to its end.
    pub fn epoch(&self, epoch: u32, first: usize) -> Result<Epoch<T>> {
        let (sender, receiver) = bounded(DEPTH);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            split: self.split.clone(),
            plan: self.plan.clone(),
            fill: self.fill.clone(),
            pool: self.pool.clone(),
            used: self.used.clone(),
            stop: stop.clone(),
            epoch,
        };
        let run = move || {
            let order = order(&worker.plan, worker.split.len(), epoch);
            for k in first..batches(&worker.plan, order.len()) {
                let batch = worker.batch(&order, k);
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = Builder::new()
            .name("loader".to_owned())
            .spawn(run)
            .map_err(|e| Error::config("threads", format!("cannot start the loader: {e}")))?;
        Ok(Epoch { batches: Some(receiver), stop, thread: Some(thread) })
    }
}

/// The batches of one epoch, in order; ends after an error. Dropping it stops the threads' work on it.
pub struct Epoch<T: Value = f32> {
    batches: Option<Receiver<Result<Batch<T>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Value> Iterator for Epoch<T> {
    type Item = Result<Batch<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.as_ref()?.recv().ok()
    }
}

impl<T: Value> Drop for Epoch<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the coordinator if it waits to hand over a batch.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // It catches its panics; there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

/// Where buffers go and come from.
type Buffers<T> = (Sender<Batch<T>>, Receiver<Batch<T>>);

struct Worker<F, T: Value> {
    split: Split,
    plan: Plan,
    fill: Arc<F>,
    pool: Arc<ThreadPool>,
    used: Buffers<T>,
    stop: Arc<AtomicBool>,
    epoch: u32,
}

impl<F, T: Value> Worker<F, T>
where
    F: Fn(Sample, &Image, &mut [&mut [T]], &mut [i64]) -> Result<()> + Send + Sync,
{
    /// Batch `k` of the epoch.
    fn batch(&self, order: &[u32], k: usize) -> Result<Batch<T>> {
        let start = k * self.plan.batch;
        let members = &order[start..order.len().min(start + self.plan.batch)];
        let fill = || self.pool.install(|| self.fill(members));
        catch_unwind(AssertUnwindSafe(fill)).unwrap_or_else(|panic| {
            let what =
                format!("batch {k} of epoch {}: a loader thread panicked: {}", self.epoch, message(&*panic));
            Err(Error::op("loader", what))
        })
    }

    fn fill(&self, members: &[u32]) -> Result<Batch<T>> {
        thread_local!(static IMAGE: RefCell<Image> = RefCell::default());
        let Plan { views, labels, .. } = &self.plan;
        let n = members.len();
        let mut batch = self.buffers(n);

        // What belongs to one sample side by side: sample-major references into the view-major buffers.
        let mut slots: Vec<Vec<&mut [T]>> = (0..n).map(|_| Vec::with_capacity(views.len())).collect();
        let mut rest = batch.views.as_mut_slice();
        for &len in views {
            let (view, behind) = rest.split_at_mut(n * len);
            slots.iter_mut().zip(view.chunks_exact_mut(len)).for_each(|(slots, view)| slots.push(view));
            rest = behind;
        }
        let mut drawn = vec![0; n * labels];
        let no_labels = || -> &mut [i64] { &mut [] };
        let mut each: Vec<&mut [i64]> = drawn.chunks_exact_mut((*labels).max(1)).collect();
        each.resize_with(n, no_labels);
        let rows = slots.par_iter_mut().zip(batch.ids.par_iter_mut()).zip(each);
        let done = rows.zip(members).try_for_each(|(((slots, id), labels), &member)| {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            // Taken, not borrowed: `fill` may itself use rayon, and this thread then start on another sample.
            let mut image = IMAGE.take();
            *id = self.split.read(member as usize, &mut image)?;
            let result = (self.fill)(Sample { epoch: self.epoch, id: *id }, &image, slots, labels);
            IMAGE.set(image);
            result
        });
        batch.labels = label_major(&drawn, n, *labels);
        done.map(|()| batch)
    }

    /// Buffers of a batch that was dropped, or new ones, for `n` samples. Their content is any.
    fn buffers(&self, n: usize) -> Batch<T> {
        let new = || Batch {
            ids: Vec::new(),
            labels: Vec::new(),
            views: Vec::new(),
            starts: Vec::new(),
            home: None,
        };
        let mut batch = self.used.1.try_recv().unwrap_or_else(|_| new());
        batch.ids.resize(n, 0);
        batch.starts.clear();
        let mut all = 0;
        for len in &self.plan.views {
            batch.starts.push(all);
            all += n * len;
        }
        batch.views.resize(all, T::default());
        batch.home = Some(self.used.0.clone());
        batch
    }
}

/// Batches an epoch of `count` samples.
pub fn batches(plan: &Plan, count: usize) -> usize {
    if plan.drop_last { count / plan.batch } else { count.div_ceil(plan.batch) }
}

/// The samples of an epoch of `count`, in the order of their use.
pub fn order(plan: &Plan, count: usize, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    if plan.shuffle {
        Philox::new(plan.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
    }
    order
}

/// \[n,labels\] to \[labels,n\].
pub fn label_major(drawn: &[i64], n: usize, labels: usize) -> Vec<i64> {
    (0..labels * n).map(|i| drawn[i % n * labels + i / n]).collect()
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
