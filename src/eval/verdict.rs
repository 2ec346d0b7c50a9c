//! The collapse numbers in words.

use super::diagnostics::Collapse;
use serde::{Deserialize, Serialize};

/// What the numbers say, with a sentence for whoever watches the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "advice", rename_all = "lowercase")]
pub enum Verdict {
    Healthy,
    Warning(String),
    Collapsed(String),
}

impl Verdict {
    /// `healthy`, `warning` or `collapsed`.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning(_) => "warning",
            Self::Collapsed(_) => "collapsed",
        }
    }

    /// The sentence that goes with it.
    pub fn advice(&self) -> &str {
        match self {
            Self::Healthy => "Different images have different features, spread over many directions.",
            Self::Warning(advice) | Self::Collapsed(advice) => advice,
        }
    }
}

/// [`verdict`] on a run that is over. By then two views of an image must be nearer to each other than two images are: where
/// the features lie close together and are not, what is left of their spread is noise. A fresh network looks the same, so
/// this says nothing of a run under way.
pub fn final_verdict(c: &Collapse) -> Verdict {
    let judged = by_spread_and_rank(c, "Look at the loss, the learning rate and the temperature.");
    let share = c.std / c.std_ideal;
    // On the unit sphere the mean squared distance of two images is twice the variance, 2 (share)².
    let nearer = c.alignment / (2.0 * share * share);
    if matches!(judged, Verdict::Collapsed(_)) || !(share < 0.3 && nearer > 0.9) {
        return judged;
    }
    Verdict::Collapsed(format!(
        "The features lie close together ({:.0} % of the spread of an even sphere), and two views of an image are as far \
         apart as two images ({:.0} % of that distance): what spread is left is noise, and tells no image from another. \
         Give the loss something that keeps images apart: negatives, equal clusters, a predictor with stop-gradient, or \
         decorrelation.",
        100.0 * share,
        100.0 * nearer
    ))
}

/// Judges a representation by std's share of its ideal and by the effective rank.
///
/// The share is about √(1 − c), where c is the mean cosine between different images: the limits 0.05 and 0.15 are
/// cosines of 0.9975 and 0.978. Features just after a ReLU are all positive, so they lie closer than a projection's.
pub fn verdict(c: &Collapse) -> Verdict {
    let close = "Early in training this is normal; if it keeps falling, the run is collapsing: stop and look at the loss, \
                 the learning rate and the temperature.";
    by_spread_and_rank(c, close)
}

/// `close` is the advice on features that are close together.
fn by_spread_and_rank(c: &Collapse, close: &str) -> Verdict {
    let finite =
        [c.std, c.std_ideal, c.effective_rank, c.alignment, c.uniformity].iter().all(|x| x.is_finite());
    if !finite || c.std_ideal <= 0.0 {
        return Verdict::Collapsed(
            "The features are not finite numbers: training has diverged. Lower the learning rate or lengthen the \
             warm-up, and keep biases and normalisation out of LARS and weight decay."
                .into(),
        );
    }
    let share = c.std / c.std_ideal;
    let d = (1.0 / c.std_ideal).powi(2);
    if share < 0.05 {
        return Verdict::Collapsed(format!(
            "All images have (nearly) the same feature: the spread is {:.1} % of that of an even sphere. Similarity \
             alone has this trivial solution, one point for all inputs: perfectly invariant, and useless. Give the \
             loss something that keeps images apart: negatives (simclr, moco), clusters of equal size (swav), a \
             predictor with stop-gradient (byol, simsiam) or decorrelation (barlow-twins, vicreg).",
            100.0 * share
        ));
    }
    if d >= 8.0 && c.effective_rank < 2.0 {
        return Verdict::Collapsed(format!(
            "The features fill {:.1} of {d:.0} directions: images differ along a single line (dimensional collapse). \
             Check the projection head and the batch size, or add decorrelation (barlow-twins, vicreg).",
            c.effective_rank
        ));
    }
    if share < 0.15 {
        return Verdict::Warning(format!(
            "The features of different images are close together: the spread is {:.0} % of that of an even sphere. \
             {close}",
            100.0 * share
        ));
    }
    if d >= 8.0 && c.effective_rank < 0.05 * d {
        return Verdict::Warning(format!(
            "The features fill only {:.1} of {d:.0} directions (dimensional collapse). Stronger augmentation, a wider \
             projection head or decorrelation usually help.",
            c.effective_rank
        ));
    }
    Verdict::Healthy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collapse(share: f64, rank: f64) -> Collapse {
        let std_ideal = 1.0 / 128f64.sqrt();
        Collapse { std: share * std_ideal, std_ideal, effective_rank: rank, alignment: 0.4, uniformity: -2.0 }
    }

    #[test]
    fn each_state_is_told_apart() {
        assert_eq!(verdict(&collapse(0.8, 60.0)), Verdict::Healthy);
        let cases = [
            (0.01, 60.0, "same feature"),
            (0.8, 1.2, "single line"),
            (f64::NAN, 60.0, "diverged"),
            (0.8, f64::INFINITY, "diverged"),
        ];
        for (share, rank, words) in cases {
            let v = verdict(&collapse(share, rank));
            assert!(v.state() == "collapsed" && v.advice().contains(words), "{v:?}");
        }
        for (share, rank, words) in [(0.1, 60.0, "10 %"), (0.8, 4.0, "4.0 of 128")] {
            let v = verdict(&collapse(share, rank));
            assert!(v.state() == "warning" && v.advice().contains(words), "{v:?}");
        }
    }

    #[test]
    fn spread_that_tells_no_image_from_another_is_a_collapse_once_the_run_is_over() {
        let with = |share: f64, nearer: f64| Collapse {
            alignment: nearer * 2.0 * share * share,
            ..collapse(share, 60.0)
        };
        // Distance alone, five epochs: a spread of 17 %, views 97 % as far apart as images.
        let noise = with(0.168, 0.967);
        assert_eq!((verdict(&noise).state(), final_verdict(&noise).state()), ("healthy", "collapsed"));
        assert!(final_verdict(&noise).advice().contains("97 % of that distance"));
        // Close together but told apart; noise that is spread out, as a pretext task's answers may be.
        for c in [with(0.168, 0.5), with(0.8, 0.97)] {
            assert_eq!(final_verdict(&c), Verdict::Healthy);
        }
        assert_eq!(final_verdict(&with(0.01, 0.5)), verdict(&with(0.01, 0.5)));
        // No run that is over is early in training.
        let close = final_verdict(&with(0.12, 0.5));
        assert!(close.state() == "warning" && !close.advice().contains("Early"), "{close:?}");
        assert!(verdict(&with(0.12, 0.5)).advice().contains("Early in training"));
    }

    #[test]
    fn few_dimensions_are_not_a_collapse() {
        let c = Collapse { std: 1.0, std_ideal: 1.0, effective_rank: 1.0, alignment: 0.1, uniformity: -1.0 };
        assert_eq!(verdict(&c), Verdict::Healthy);
    }

    #[test]
    fn as_json() {
        let json = serde_json::to_string(&verdict(&collapse(0.8, 60.0))).unwrap();
        assert_eq!(json, r#"{"state":"healthy"}"#);
        let json = serde_json::to_value(verdict(&collapse(0.0, 1.0))).unwrap();
        assert_eq!(json["state"], "collapsed");
        assert!(json["advice"].as_str().unwrap().starts_with("All images"));
    }
}
