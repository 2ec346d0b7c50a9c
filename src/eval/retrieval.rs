//! Retrieval: does a search by cosine similarity bring up images of the query's class?

use super::features::Features;
use super::wilson_interval;
use crate::linalg::{Mat, gemm};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Queries ranked by one task.
const QUERY_BLOCK: usize = 32;
/// The k of recall@k.
const RECALL_AT: [usize; 3] = [1, 5, 10];

/// Scores of a search where every image asks for the others of its class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Mean over queries of the average precision: the mean, over the images of the query's class, of the precision
    /// among all ranked up to that image.
    pub mean_average_precision: f64,
    /// 95 %, by the normal law of a mean over queries.
    pub map_interval: (f64, f64),
    /// Share of queries with one of their class among the k most similar, k = 1, 5, 10.
    pub recall: Vec<Recall>,
    /// Images that asked. One that is alone in its class cannot.
    pub queries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    pub k: usize,
    pub share: f64,
    /// 95 % Wilson interval.
    pub interval: (f64, f64),
}

/// Ranks, for each row, all others by cosine similarity, ties to the lower row.
///
/// Recall@k as in metric learning (Jégou et al., TPAMI 2011; Song et al., CVPR 2016), average precision without
/// interpolation.
///
/// Errors: no rows, values not finite, no two rows of a class.
pub fn retrieval(features: &Features) -> Result<Retrieval> {
    features.check("retrieval")?;
    let (n, d) = (features.n, features.d);
    let unit = features.l2_normalized();
    let found: Vec<(f64, usize)> = unit
        .par_chunks(QUERY_BLOCK * d)
        .enumerate()
        .flat_map_iter(|(block, queries)| {
            let q = queries.len() / d;
            let mut similarities = vec![0.0; q * n];
            gemm(&mut similarities, n, Mat::new(queries, q, d), Mat::new(&unit, n, d).t(), 1.0, false, false);
            let of_query =
                |i: usize| rank(&similarities[i * n..][..n], block * QUERY_BLOCK + i, &features.labels);
            (0..q).filter_map(of_query).collect::<Vec<_>>()
        })
        .collect();
    if found.is_empty() {
        return Err(Error::op("retrieval", "no two images have the same class; nothing could be found"));
    }
    let queries = found.len() as f64;
    let mean = found.iter().map(|f| f.0).sum::<f64>() / queries;
    let variance = found.iter().map(|f| (f.0 - mean).powi(2)).sum::<f64>() / (queries - 1.0);
    let half = 1.959_963_984_540_054 * (variance / queries).sqrt();
    let recall = RECALL_AT.map(|k| {
        let share = found.iter().filter(|f| f.1 < k).count() as f64 / queries;
        Recall { k, share, interval: wilson_interval(share, found.len()) }
    });
    Ok(Retrieval {
        mean_average_precision: mean,
        map_interval: ((mean - half).max(0.0), (mean + half).min(1.0)),
        recall: recall.to_vec(),
        queries: found.len(),
    })
}

/// Average precision and the place of the first hit; `None` for a row alone in its class.
fn rank(similarities: &[f32], own: usize, labels: &[i64]) -> Option<(f64, usize)> {
    let mut order: Vec<(f32, usize)> =
        similarities.iter().copied().zip(0..).filter(|&(_, row)| row != own).collect();
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let (mut hits, mut precision, mut first) = (0, 0.0, None);
    for (place, &(_, row)) in order.iter().enumerate() {
        if labels[row] == labels[own] {
            hits += 1;
            precision += f64::from(hits) / (place + 1) as f64;
            first.get_or_insert(place);
        }
    }
    Some((precision / f64::from(hits), first?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn a_ranking_by_hand() {
        // Angles 0, 10, 30, 70 degrees; classes a b a b.
        let data = [0f32, 10., 30., 70.].iter().flat_map(|a| [a.to_radians().cos(), a.to_radians().sin()]);
        let features = Features::new(data.collect(), 2, vec![0, 1, 0, 1]).unwrap();
        let got = retrieval(&features).unwrap();
        // Each asks for the one other of its class, found at places: 0 → [1, 2, 3]: 2nd; 1 → [0, 2, 3]: 3rd;
        // 2 → [1, 0, 3]: 2nd; 3 → [2, 1, 0]: 2nd.
        assert!((got.mean_average_precision - (0.5 + 1.0 / 3.0 + 0.5 + 0.5) / 4.0).abs() < 1e-12, "{got:?}");
        let shares: Vec<f64> = got.recall.iter().map(|r| r.share).collect();
        assert_eq!((shares, got.queries), (vec![0.0, 1.0, 1.0], 4));
    }

    /// Against scikit-learn's `average_precision_score`, on the matrix written out by the formula below.
    #[test]
    fn equals_scikit_learn() {
        let n = 60;
        let data = (0..n * 5).map(|i| ((i * i * i * 7 + i * 3) % 1009) as f32 / 1009.0 - 0.5).collect();
        let features = Features::new(data, 5, (0..n as i64).map(|i| i * i % 7).collect()).unwrap();
        let got = retrieval(&features).unwrap();
        assert!((got.mean_average_precision - 0.290_826_731_242_275_7).abs() < 1e-6, "{got:?}");
        let shares: Vec<f64> = got.recall.iter().map(|r| r.share * n as f64).collect();
        assert_eq!(shares.iter().map(|s| s.round()).collect::<Vec<_>>(), [11.0, 47.0, 54.0]);
    }

    #[test]
    fn apart_is_perfect_and_noise_is_chance() {
        let labels: Vec<i64> = (0..400).map(|i| i % 4).collect();
        let one_hot = labels.iter().flat_map(|&l| (0..4).map(move |j| f32::from(u8::from(j == l))));
        let perfect = retrieval(&Features::new(one_hot.collect(), 4, labels.clone()).unwrap()).unwrap();
        assert_eq!((perfect.mean_average_precision, perfect.map_interval), (1.0, (1.0, 1.0)));
        assert!(perfect.recall.iter().all(|r| r.share == 1.0));
        let mut rng = Philox::new(1, Purpose::Test, 0, 0);
        let noise = Features::new((0..400 * 16).map(|_| rng.normal()).collect(), 16, labels).unwrap();
        let chance = retrieval(&noise).unwrap();
        assert!((chance.mean_average_precision - 0.25).abs() < 0.02, "{chance:?}");
        let (low, high) = chance.map_interval;
        assert!(
            low < chance.mean_average_precision && chance.mean_average_precision < high && high - low < 0.02
        );
    }

    #[test]
    fn images_alone_in_their_class_do_not_ask() {
        let features = Features::new(vec![1., 0., 0.9, 0.1, 0., 1.], 2, vec![3, 3, 8]).unwrap();
        let got = retrieval(&features).unwrap();
        assert_eq!((got.queries, got.mean_average_precision), (2, 1.0));
        let alone = Features::new(vec![1., 2.], 1, vec![0, 1]).unwrap();
        assert!(retrieval(&alone).unwrap_err().to_string().contains("no two images"));
    }
}
