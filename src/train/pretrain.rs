//! The training loop: batches in, steps done, metrics logged, checkpoints kept.

use super::feed::Feed;
use super::labels::given;
use super::run::Run;
use super::{EpochRecord, RunFolder, StepRecord};
use crate::config::Config;
use crate::data::Dataset;
use crate::device::Device;
use crate::graph::Precision;
use crate::optim::Schedule;
use crate::ssl::{self, Images, Known, Step, StepSpec};
use crate::{Error, Result};

/// Who watches a run, and may stop it.
pub trait Watcher {
    /// Something worth a line.
    fn message(&mut self, _text: &str) {}
    /// A step is done, of `steps` in all.
    fn step(&mut self, _record: &StepRecord, _steps: u64) {}
    /// An epoch is done, of `epochs` in all.
    fn epoch(&mut self, _record: &EpochRecord, _epochs: usize) {}
    /// The last step is done.
    fn trained(&mut self) {}
    /// Whether to stop after this step.
    fn stop(&self) -> bool {
        false
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All epochs are done.
    Finished,
    /// The watcher wanted to stop; the checkpoint is written.
    Interrupted,
}

/// The step of a configuration in an epoch: the graph that is run. With `images`, it makes its own views of them.
pub fn record_step(config: &Config, data: Known, epoch: usize, images: Option<&Images>) -> Result<Step> {
    StepSpec {
        method: ssl::find(&config.method)?,
        encoder: &config.encoder,
        projector: &config.projector,
        loss: &config.loss,
        optimizer: &config.optimizer,
        augment: &config.augment,
        batch: config.batch,
        size: config.data.size,
        channels: config.data.channels,
        precision: Precision::parse(&config.precision)?,
        epoch,
        data,
        images,
    }
    .record()
}

/// Trains to the last epoch, or until the watcher stops it. Continues from the folder's checkpoint if there is one.
pub fn pretrain(config: &Config, data: &Dataset, folder: &RunFolder, watch: &mut dyn Watcher) -> Result<End> {
    let device = Device::parse(&config.device)?;
    let (split, given, known) = given(config, data)?;
    if split.len() < data.train.len() {
        let (kept, all) = (split.len(), data.train.len());
        watch.message(&format!("{kept} of {all} images have what {} learns from", config.method));
    }
    let feed = Feed::new(config, &split, device)?;
    let per_epoch = feed.batches();
    let schedule = Schedule::new(&config.optimizer, config.batch, config.epochs, per_epoch as u64)?;
    let mut run = Run::new(config, folder, schedule, device, &feed, known, given)?;
    if run.position.step > 0 {
        watch.message(&format!("resuming after step {} of {}", run.position.step, run.schedule.steps()));
    }
    while run.position.epoch < config.epochs {
        let first = run.position.batch;
        run.begin_epoch(&feed, &split)?;
        let mut epoch = EpochSums::default();
        let mut batches = feed.epoch(run.position.epoch as u32, first)?;
        let mut next = batches.next().transpose()?;
        if let Some(batch) = &next {
            run.write(batch, run.position.step)?;
        }
        while let Some(batch) = next {
            run.program.run_all()?;
            // A GPU is at work on that step now, and the next one's input travels meanwhile.
            let upcoming = batches.next();
            if let Some(Ok(batch)) = &upcoming {
                run.write(batch, run.position.step + 1)?;
            }
            let record = run.finish_step(&batch)?;
            epoch.add(&record, config.batch);
            watch.step(&record, run.schedule.steps());
            run.warn_of_collapse(watch)?;
            let every = config.checkpoint.every_steps;
            let stop = watch.stop();
            if stop || (every > 0 && run.position.step % every == 0) {
                run.save()?;
            }
            if stop {
                watch.message(&format!(
                    "stopped after step {}; --resume goes on from there",
                    run.position.step
                ));
                return Ok(End::Interrupted);
            }
            // Not before the step that is done has its place in the log.
            next = upcoming.transpose()?;
        }
        // None if the run was killed just before this line, with the epoch's last step saved.
        let record = if epoch.steps > 0 { Some(epoch.finish(&run)?) } else { None };
        if let Some(record) = &record {
            run.metrics.epoch(record)?;
        }
        run.position.epoch += 1;
        run.position.batch = 0;
        run.save()?;
        if let Some(record) = &record {
            watch.epoch(record, config.epochs);
        }
    }
    watch.trained();
    Ok(End::Finished)
}

/// What an epoch adds up.
#[derive(Default)]
struct EpochSums {
    loss: f64,
    seconds: f64,
    steps: u64,
    images: f64,
}

impl EpochSums {
    fn add(&mut self, record: &StepRecord, batch: usize) {
        self.loss += f64::from(record.loss);
        self.seconds += batch as f64 / record.images_per_second;
        self.steps += 1;
        self.images += batch as f64;
    }

    fn finish(&self, run: &Run) -> Result<EpochRecord> {
        let collapse = run.collapse()?;
        Ok(EpochRecord {
            epoch: run.position.epoch,
            step: run.position.step,
            loss: self.loss / self.steps as f64,
            seconds: self.seconds,
            images_per_second: self.images / self.seconds.max(f64::MIN_POSITIVE),
            collapse: serde_json::to_value(collapse).map_err(|e| Error::Graph(e.to_string()))?,
        })
    }
}
