//! Pretraining: the loop, its run folder, and how it stops, resumes and reports.

mod checkpoint;
mod conclude;
mod feed;
mod labels;
mod metrics;
mod pictures;
mod pretrain;
mod run;
mod run_folder;
mod signs;
mod tensorboard;

pub use checkpoint::{Checkpoint, Position, export_encoder, load_encoder};
pub use conclude::conclude;
pub use feed::{Feed, Fill, inputs, view_maker};
pub use metrics::{EpochRecord, Metrics, StepRecord};
pub use pretrain::{End, Watcher, pretrain, record_step};
pub use run_folder::RunFolder;
pub use signs::{collapse_of, loss_of, prototypes_of, two_views};
