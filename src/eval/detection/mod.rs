//! Object detection: boxes, how well they are found, and scenes to find them in.

mod annotations;
mod average_precision;
mod boxes;
mod detector;
mod draw;
mod loss;
mod network;
mod nms;
mod scenes;
mod share;
mod targets;

pub use annotations::{Annotated, Annotations};
pub use average_precision::{AveragePrecision, average_precision};
pub use boxes::{Found, Rect, Truth};
pub use detector::{Detector, DetectorSpec};
pub use draw::draw_detections;
pub use nms::non_maximum_suppression;
pub use scenes::{Scene, SceneOptions};
pub use share::Share;
