//! VICReg: views agree (invariance), features keep their spread (variance) and have nothing in common (covariance).

use super::settings::{fill, weight};
use super::{BASE, Family, Method, Recorded};
use crate::ops::vicreg::Vicreg;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Weights of invariance, variance and covariance.
    sim: f32,
    std: f32,
    cov: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sim: 25.0, std: 25.0, cov: 1.0 }
    }
}

pub const METHOD: Method = Method {
    name: "vicreg",
    family: Family::RedundancyReduction,
    summary: "redundancy reduction: views agree, each feature keeps a spread of 1, different features are uncorrelated",
    paper: "Bardes, Ponce & LeCun, VICReg, ICLR 2022, equation 6",
    avoids_collapse: "variance is demanded of every feature by name, and covariance is punished",
    settings: fill::<Settings>,
    record: |r| {
        let Settings { sim, std, cov } = r.settings()?;
        for (key, value) in [("sim", sim), ("std", std), ("cov", cov)] {
            weight(key, value)?;
        }
        let z = r.embed_two()?;
        let loss = Vicreg { sim, std, cov, ..Vicreg::default() }.record(r.graph, z[0], z[1])?;
        Ok(Recorded { loss, embeddings: z.to_vec() })
    },
    ..BASE
};
