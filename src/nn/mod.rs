//! Encoders and heads: what is recorded into the graph, under torchvision's names.

mod layers;
mod predictor;
mod projector;
mod resnet;

pub use layers::{Mode, batch_norm, conv2d, linear};
pub use predictor::Predictor;
pub use projector::Projector;
pub use resnet::{Encoded, Encoder, Stem};
