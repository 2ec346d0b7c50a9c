//! Everything a run shows of collapse, and one verdict on all of it.

use super::diagnostics::{Collapse, DeadPrototypes, StuckLoss};
use super::verdict::{Verdict, final_verdict, verdict};
use crate::ssl::Method;

/// The numbers on its embeddings, and where its method has them the prototypes and the loss beside chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signs {
    pub collapse: Collapse,
    pub prototypes: Option<DeadPrototypes>,
    pub loss: Option<StuckLoss>,
}

impl Signs {
    /// One verdict a sign, the worst first; the first is the run's. `over` tells a run at its end, where two views must be
    /// nearer to each other than two images ([`final_verdict`]), from one under way; `method` has the advice.
    pub fn verdicts(&self, method: Option<&Method>, over: bool) -> Vec<Verdict> {
        let Self { collapse, prototypes, loss } = self;
        let features = if over { final_verdict(collapse) } else { verdict(collapse) };
        let on_prototypes = prototypes.map(|p| on_prototypes(p, method.map_or("", |m| m.if_dead)));
        let on_loss = loss.map(|l| on_loss(l, method.map_or("", |m| m.if_stuck)));
        let mut all: Vec<Verdict> = [Some(features), on_prototypes, on_loss].into_iter().flatten().collect();
        all.sort_by_key(|v| match v {
            Verdict::Collapsed(_) => 0,
            Verdict::Warning(_) => 1,
            Verdict::Healthy => 2,
        });
        if let Some(first) = all.iter().position(|v| *v == Verdict::Healthy) {
            // One clean bill of health says all.
            all.truncate(first.max(1));
        }
        all
    }
}

/// Collapsed where one prototype takes all. From a tenth without an image it warns, if there were images for all: the
/// features may be good all the same, which the probes tell.
fn on_prototypes(p: DeadPrototypes, advice: &str) -> Verdict {
    let DeadPrototypes { prototypes, dead, images } = p;
    if prototypes > 1 && dead + 1 >= prototypes {
        let what =
            format!("All {images} images are assigned to the same of {prototypes} prototypes. {advice}");
        return Verdict::Collapsed(what.trim_end().into());
    }
    // Even a perfect balance cannot give more prototypes an image than there are images.
    let least = prototypes.saturating_sub(images);
    if (dead - least.min(dead)) as f64 > 0.1 * prototypes as f64 {
        let what = format!(
            "{dead} of {prototypes} prototypes have none of {images} images; the other {} share them, so the task is \
             coarser than it is set to be. Whether the features suffer, the probes tell. {advice}",
            prototypes - dead
        );
        return Verdict::Warning(what.trim_end().into());
    }
    Verdict::Healthy
}

fn on_loss(l: StuckLoss, advice: &str) -> Verdict {
    if !l.stuck {
        return Verdict::Healthy;
    }
    let what = format!(
        "The loss is stuck at {:.3}, and guessing gives {:.3}: the network cannot tell one answer from another. {advice}",
        l.loss, l.chance
    );
    Verdict::Warning(what.trim_end().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssl;

    fn collapse(share: f64) -> Collapse {
        let std_ideal = 1.0 / 128f64.sqrt();
        let (alignment, uniformity) = (0.4, -2.0);
        Collapse { std: share * std_ideal, std_ideal, effective_rank: 60.0, alignment, uniformity }
    }

    fn signs(share: f64, dead: usize, images: usize, stuck: bool) -> Signs {
        let prototypes = Some(DeadPrototypes { prototypes: 100, dead, images });
        let loss = Some(StuckLoss { loss: 5.54, chance: 5.541, stuck });
        Signs { collapse: collapse(share), prototypes, loss }
    }

    fn states(signs: Signs) -> Vec<&'static str> {
        signs.verdicts(None, true).iter().map(Verdict::state).collect()
    }

    #[test]
    fn the_worst_sign_comes_first() {
        assert_eq!(states(signs(0.8, 5, 1000, false)), ["healthy"]);
        assert_eq!(states(signs(0.8, 99, 1000, true)), ["collapsed", "warning"]);
        assert_eq!(states(signs(0.8, 98, 1000, false)), ["warning"]);
        assert_eq!(states(signs(0.8, 30, 1000, false)), ["warning"]);
        assert_eq!(states(signs(0.01, 0, 1000, true)), ["collapsed", "warning"]);
        // 60 images cannot reach 100 prototypes: 40 dead ones are no fault, 55 are.
        assert_eq!(states(signs(0.8, 40, 60, false)), ["healthy"]);
        assert_eq!(states(signs(0.8, 55, 60, false)), ["warning"]);
    }

    #[test]
    fn advice_is_the_methods() {
        let worst = signs(0.8, 99, 1000, true);
        for name in ["swav", "dino", "deepcluster-v2"] {
            let method = ssl::find(name).unwrap();
            assert!(!method.if_dead.is_empty(), "{name}");
            let all = worst.verdicts(Some(method), true);
            assert!(all[0].advice().contains("same of 100") && all[0].advice().ends_with(method.if_dead));
            assert!(all[1].advice().contains("5.541") && all[1].advice().ends_with(method.if_stuck));
        }
        assert!(worst.verdicts(None, true).iter().all(|v| v.advice().ends_with(['.', ':'])));
    }

    #[test]
    fn a_run_that_is_over_is_judged_by_how_near_views_are() {
        // A spread of 17 %, views 97 % as far apart as images.
        let noise = Collapse { alignment: 0.967 * 2.0 * 0.168 * 0.168, ..collapse(0.168) };
        let signs = Signs { collapse: noise, prototypes: None, loss: None };
        let state = |over| signs.verdicts(None, over)[0].state();
        assert_eq!((state(false), state(true)), ("healthy", "collapsed"));
    }
}
