//! The protocols on frozen features: weighted kNN and a linear probe, trained on one split, judged on the other.

use super::{Accuracy, Features, KnnOptions, LinearOptions, knn, linear_probe};
use crate::Result;
use serde::Serialize;

/// Accuracy on held-out images, as shares from 0 to 1.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_top1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_top5: Option<f64>,
    /// 95 % Wilson interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_interval: Option<(f64, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_top1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_top5: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_interval: Option<(f64, f64)>,
    /// The weight decay the probe chose on a part of its own training set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_l2: Option<f64>,
}

/// Judges features by kNN, by a linear probe, or by both (`None` leaves one out).
pub fn judge(
    train: &Features,
    test: &Features,
    knn_options: Option<&KnnOptions>,
    linear_options: Option<&LinearOptions>,
) -> Result<Scores> {
    let neighbours: Option<Accuracy> = knn_options.map(|o| knn(train, test, o)).transpose()?;
    let probe = linear_options.map(|o| linear_probe(train, test, o)).transpose()?;
    Ok(Scores {
        knn_top1: neighbours.as_ref().map(|a| a.top1),
        knn_top5: neighbours.as_ref().map(|a| a.top5),
        knn_interval: neighbours.as_ref().map(Accuracy::interval),
        linear_top1: probe.as_ref().map(|p| p.accuracy.top1),
        linear_top5: probe.as_ref().map(|p| p.accuracy.top5),
        linear_interval: probe.as_ref().map(|p| p.accuracy.interval()),
        linear_l2: probe.as_ref().map(|p| p.l2),
    })
}
