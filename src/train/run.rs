//! A run under way: its program, what it writes, and where it stands.

use super::checkpoint::carried_over;
use super::feed::{Feed, Ready};
use super::labels::{Given, assigned};
use super::pretrain::{Watcher, record_step};
use super::{Checkpoint, Metrics, Position, RunFolder, StepRecord};
use crate::config::Config;
use crate::data::{Image, Split};
use crate::device::{Device, Program};
use crate::eval::{Collapse, Embedder, Layer, Verdict, feature_std, verdict};
use crate::graph::{Graph, TensorId};
use crate::ops::augment::ViewParams;
use crate::optim::Schedule;
use crate::ssl::{self, Before, Feeds, Known, Method, Step};
use crate::{Error, Result};
use std::time::Instant;

/// A run under way.
pub struct Run<'a> {
    config: &'a Config,
    method: &'static Method,
    folder: &'a RunFolder,
    pub schedule: Schedule,
    device: Device,
    known: Known,
    given: Given,
    /// Which of the method's graphs the program is.
    phase: usize,
    step: Recorded,
    pub program: Box<dyn Program>,
    pub metrics: Metrics,
    pub position: Position,
    last_saved: Option<u64>,
    clock: Instant,
    warned: bool,
}

/// The parts of a [`Step`] that remain once its graph has become a program.
struct Recorded {
    feeds: Feeds,
    loss: TensorId,
    embeddings: Vec<TensorId>,
    schedule: TensorId,
    update_from: usize,
}

/// The program of an epoch, with the pictures on it.
fn program(
    config: &Config,
    known: Known,
    epoch: usize,
    device: Device,
    feed: &Feed,
) -> Result<(Recorded, Box<dyn Program>)> {
    let Step { graph, feeds, loss, embeddings, schedule, seed_gradient, update_from } =
        record_step(config, known, epoch, feed.images())?;
    let mut program = device.program(graph)?;
    feed.upload(&mut *program, &feeds)?;
    program.write_f32(seed_gradient, &[1.0])?;
    program.initialize(config.seed)?;
    Ok((Recorded { feeds, loss, embeddings, schedule, update_from }, program))
}

impl<'a> Run<'a> {
    pub fn new(
        config: &'a Config,
        folder: &'a RunFolder,
        schedule: Schedule,
        device: Device,
        feed: &Feed,
        known: Known,
        given: Given,
    ) -> Result<Self> {
        let method = ssl::find(&config.method)?;
        let path = folder.checkpoint();
        let checkpoint = path.exists().then(|| Checkpoint::read(&path)).transpose()?;
        let position = checkpoint.as_ref().map_or_else(Position::default, |c| c.position);
        // What was saved behind an epoch's last step is still that epoch's program.
        let epoch = if position.batch == 0 { position.epoch.saturating_sub(1) } else { position.epoch };
        let (step, mut program) = program(config, known, epoch, device, feed)?;
        if let Some(checkpoint) = &checkpoint {
            checkpoint.restore(&path, &mut *program)?;
        }
        let metrics = Metrics::resume(folder, position.step)?;
        Ok(Self {
            config,
            method,
            folder,
            schedule,
            device,
            known,
            given,
            phase: method.phase(&config.loss, epoch)?,
            step,
            program,
            metrics,
            position,
            last_saved: checkpoint.map(|_| position.step),
            clock: Instant::now(),
            warned: false,
        })
    }

    /// The graph that the epoch wants, and what the method does before it.
    pub fn begin_epoch(&mut self, feed: &Feed, split: &Split) -> Result<()> {
        let Self { config, method, .. } = *self;
        let epoch = self.position.epoch;
        let phase = method.phase(&config.loss, epoch)?;
        if phase != self.phase {
            let old = self.program.state_dict()?;
            // The old one's memory goes first: two may not fit.
            self.program = Device::Cpu.program(Graph::new())?;
            (self.step, self.program) = program(config, self.known, epoch, self.device, feed)?;
            self.program.load_state_dict(&carried_over(self.program.state_dict()?, &old))?;
            self.phase = phase;
        }
        // Entered in the middle, an epoch has had its beginning.
        if self.position.batch == 0 {
            let embed = |program: &dyn Program| embed_all(config, self.device, split, program);
            let before = Before { epoch, seed: config.seed, loss: &config.loss, embed: &embed };
            method.before_epoch(&mut *self.program, before)?;
        }
        if let Some(assigned) = assigned(&*self.program)? {
            self.given = assigned;
        }
        self.clock = Instant::now();
        Ok(())
    }

    /// Gives a step its input: the batch, the learning rate, and whatever else goes by the step's number, from 0.
    pub fn write(&mut self, batch: &Ready, step: u64) -> Result<()> {
        batch.write(&mut *self.program, &self.step.feeds, &self.given, self.config.seed, step)?;
        let lr = self.schedule.lr(step);
        self.program.write_f32(self.step.schedule, &[lr, (step + 1) as f32])?;
        if let Some(held) = self.step.feeds.held_schedule {
            self.program.write_f32(held, &[self.schedule.peak(), (step + 1) as f32])?;
        }
        for &(input, ramp) in &self.step.feeds.ramps {
            let progress = (step + 1) as f64 / self.schedule.steps() as f64;
            self.program.write_f32(input, &[ramp.at(progress)])?;
        }
        Ok(())
    }

    /// What has become of the step on `batch`; the clock runs from the end of the step before, so waiting for data counts.
    pub fn finish_step(&mut self, batch: &Ready) -> Result<StepRecord> {
        let loss = self.program.read_f32(self.step.loss)?[0];
        if !loss.is_finite() {
            return Err(self.not_finite(loss, batch)?);
        }
        let (embeddings, d) = self.embeddings()?;
        let std = feature_std(&embeddings, d) as f32;
        let seconds = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.position.step += 1;
        self.position.batch += 1;
        self.position.seconds += seconds;
        let record = StepRecord {
            step: self.position.step,
            epoch: self.position.epoch,
            loss,
            lr: self.schedule.lr(self.position.step - 1),
            std,
            images_per_second: self.config.batch as f64 / seconds,
        };
        self.metrics.step(&record)?;
        Ok(record)
    }

    /// The embeddings of the last batch, view after view, and their length.
    fn embeddings(&self) -> Result<(Vec<f32>, usize)> {
        let mut all = Vec::new();
        for &t in &self.step.embeddings {
            all.extend(self.program.read_f32(t)?);
        }
        let d = self.step.embeddings.first().and_then(|&t| self.program.graph().ty(t).shape.last().copied());
        Ok((all, d.unwrap_or(1)))
    }

    pub fn collapse(&self) -> Result<Collapse> {
        let (embeddings, d) = self.embeddings()?;
        // Views lie one behind the other; where their rows are odd in number, the last one is left out.
        let half = embeddings.len() / d / 2 * d;
        let (a, b) = (&embeddings[..half], &embeddings[half..2 * half]);
        Collapse::of_views(a, b, d)
    }

    /// Looks at steps 16, 32, 64, … and at the first sign says so, once.
    pub fn warn_of_collapse(&mut self, watch: &mut dyn Watcher) -> Result<()> {
        let step = self.position.step;
        if !self.warned
            && step >= 16
            && step.is_power_of_two()
            && let Verdict::Collapsed(advice) = verdict(&self.collapse()?)
        {
            watch.message(&format!("step {step}: COLLAPSED: {advice}"));
            self.warned = true;
        }
        Ok(())
    }

    pub fn save(&mut self) -> Result<()> {
        self.metrics.flush()?;
        Checkpoint::of(&*self.program, self.position)?.write(&self.folder.checkpoint())?;
        self.last_saved = Some(self.position.step);
        // Saving is not training.
        self.clock = Instant::now();
        Ok(())
    }

    /// The weights are still those that gave the last finite loss: the same step again shows where it breaks.
    fn not_finite(&mut self, loss: f32, batch: &Ready) -> Result<Error> {
        self.metrics.flush()?;
        self.write(batch, self.position.step)?;
        let found = self.program.find_non_finite(0..self.step.update_from)?;
        let place = found.unwrap_or_else(|| "no single op could be blamed".into());
        let saved = match self.last_saved {
            Some(step) => {
                format!("the last good checkpoint is {} (step {step})", self.folder.checkpoint().display())
            }
            None => "no checkpoint had been written yet".into(),
        };
        let advice = "lower optimizer.lr, lengthen optimizer.warmup_epochs or look at the images";
        let what = format!("the loss is {loss}: {place}; {saved}. To go on, {advice}");
        Ok(Error::NonFinite { step: self.position.step + 1, what })
    }
}

/// The embeddings of every image by the program's weights as they are, as evaluation sees them.
fn embed_all(config: &Config, device: Device, split: &Split, program: &dyn Program) -> Result<Vec<f32>> {
    // Whole data sets through the PTX machine would take hours.
    let device = if device == Device::Vm { Device::Cpu } else { device };
    let mut embedder = Embedder::new(
        &config.encoder,
        Some(&config.projector),
        &Layer::Features,
        &config.augment,
        config.data.size,
        config.data.channels,
        device,
    )?;
    embedder.load(&program.state_dict()?)?;
    let view = |image: &Image, _: usize| ViewParams::eval(image.height, image.width);
    let mut outputs = embedder.embed_views(split, split.len(), &view)?;
    Ok(outputs.swap_remove(1).data)
}
