//! Encoders and heads: what is recorded into the graph, under torchvision's names.

mod layers;
mod projector;
mod resnet;

pub use layers::{Mode, batch_norm, conv2d, linear};
pub use projector::Projector;
pub use resnet::{Encoded, Encoder, Stem};
