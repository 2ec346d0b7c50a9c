//! What long work shows while it goes on: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use rusa::train::{EpochRecord, StepRecord, Watcher};
use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Set by the first Ctrl-C; the second ends the process at once.
static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C (and SIGTERM, as schedulers send it) finish the step and save.
pub fn catch_interrupts() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; once more to stop at once, without saving");
    })?;
    Ok(())
}

/// A bar, where there is a terminal.
fn bar(all: u64) -> Option<ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let style = "{bar:30.cyan/dim} {pos}/{len} steps  {msg}  {elapsed}<{eta}";
        ProgressBar::new(all)
            .with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
    })
}

/// Counts the steps of long work.
pub struct Steps {
    bar: Option<ProgressBar>,
    all: u64,
    done: Cell<u64>,
    began: Instant,
    last_line: Cell<Instant>,
    what: RefCell<String>,
}

impl Steps {
    pub fn new(all: u64) -> Self {
        let now = Instant::now();
        Self {
            bar: bar(all),
            all,
            done: Cell::new(0),
            began: now,
            last_line: Cell::new(now),
            what: RefCell::default(),
        }
    }

    /// What is done now.
    pub fn say(&self, what: String) {
        match &self.bar {
            Some(bar) => bar.set_message(what),
            None => *self.what.borrow_mut() = what,
        }
    }

    /// A step is done.
    pub fn step(&self) {
        let done = self.done.get() + 1;
        self.done.set(done);
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.last_line.get().elapsed() >= EVERY => {
                let left = self.began.elapsed().as_secs_f64() / done as f64 * (self.all - done) as f64;
                eprintln!("step {done}/{} {} eta {left:.0} s", self.all, self.what.borrow());
                self.last_line.set(Instant::now());
            }
            None => {}
        }
    }

    /// Writes something while no bar is in the way.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Watches a run for a person.
pub struct Progress {
    bar: Option<ProgressBar>,
    last_line: Instant,
    start: Option<(u64, Instant)>,
    /// Steps after which to stop.
    limit: Option<u64>,
    steps: u64,
}

/// Where there is no terminal, a line this often.
const EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// For a run that goes on to its end, or to step `limit`.
    pub fn new(limit: Option<u64>) -> Self {
        Self { bar: bar(0), last_line: Instant::now(), start: None, limit, steps: 0 }
    }

    /// Whether it was the limit that stopped the run.
    pub fn reached_limit(&self) -> bool {
        self.limit.is_some_and(|limit| self.steps >= limit)
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.suspend(|| eprintln!("{text}")),
            _ => eprintln!("{text}"),
        }
    }
}

impl Watcher for Progress {
    fn message(&mut self, text: &str) {
        self.line(text);
    }

    fn step(&mut self, record: &StepRecord, steps: u64) {
        let &StepRecord { step, epoch, loss, lr, std, images_per_second } = record;
        self.steps = step;
        let text =
            format!("epoch {epoch} loss {loss:.4} lr {lr:.4} std {std:.3} {images_per_second:.0} img/s");
        let (first, began) = *self.start.get_or_insert((step - 1, Instant::now()));
        match &self.bar {
            Some(bar) => {
                if bar.length() == Some(0) {
                    bar.set_length(steps);
                    bar.set_position(step);
                    bar.reset_eta();
                }
                bar.set_position(step);
                bar.set_message(text);
            }
            None if self.last_line.elapsed() >= EVERY || step == steps => {
                let each = began.elapsed().as_secs_f64() / (step - first) as f64;
                let left = each * (steps - step) as f64;
                eprintln!("step {step}/{steps} {text} eta {left:.0} s");
                self.last_line = Instant::now();
            }
            None => {}
        }
    }

    fn epoch(&mut self, record: &EpochRecord, epochs: usize) {
        let EpochRecord { epoch, loss, seconds, images_per_second, .. } = record;
        let std = record.collapse["std"].as_f64().unwrap_or(f64::NAN);
        let rank = record.collapse["effective_rank"].as_f64().unwrap_or(f64::NAN);
        self.line(&format!(
            "epoch {}/{epochs}: loss {loss:.4}, std {std:.4}, effective rank {rank:.1}, {images_per_second:.0} img/s, {seconds:.1} s",
            epoch + 1
        ));
    }

    fn trained(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn stop(&self) -> bool {
        STOP.load(Ordering::SeqCst) || self.reached_limit()
    }
}
