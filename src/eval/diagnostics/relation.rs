//! *Relation*: do images that belong together lie together?

use super::collapse::{alignment, uniformity};
use crate::eval::features::Features;
use crate::eval::neighbours::neighbours;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Neighbours asked for their label.
pub const AGREEMENT_KS: [usize; 3] = [1, 5, 20];

/// How the labels of neighbours agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourAgreement {
    pub k: usize,
    /// Share of the k nearest other images by cosine that have the image's label, mean over images.
    pub share: f64,
    /// That share for neighbours drawn at random.
    pub chance: f64,
}

/// The relations among held-out images in feature space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// Mean squared distance of two views of an image ([`alignment`]): 0 is best, 2 unrelated.
    pub alignment: f64,
    /// 0 for a single point, towards −4 as images spread ([`uniformity`]).
    pub uniformity: f64,
    /// Empty where there are no labels.
    pub agreement: Vec<NeighbourAgreement>,
}

impl Relation {
    /// From the features of images as they are, and of two random views of each of some images.
    pub fn of(features: &Features, views: [&Features; 2], labelled: bool) -> Result<Self> {
        let [a, b] = views;
        if a.d != b.d {
            return Err(Error::op("relation", format!("views have {} and {} features", a.d, b.d)));
        }
        let ks: Vec<usize> = AGREEMENT_KS.into_iter().filter(|&k| k < features.n).collect();
        Ok(Self {
            alignment: alignment(&a.data, &b.data, a.d)?,
            uniformity: uniformity(&features.data, features.d)?,
            agreement: if labelled { neighbour_agreement(features, &ks)? } else { Vec::new() },
        })
    }
}

/// For each k the share of the k nearest other rows, by cosine, that have the row's label.
///
/// Errors: k = 0 or no k other rows.
pub fn neighbour_agreement(features: &Features, ks: &[usize]) -> Result<Vec<NeighbourAgreement>> {
    let n = features.n;
    if let Some(k) = ks.iter().find(|&&k| k == 0 || k >= n) {
        let what = format!("{k} neighbours of one of {n} images: must be from 1 to {}", n.saturating_sub(1));
        return Err(Error::op("neighbour agreement", what));
    }
    let most = ks.iter().copied().max().unwrap_or(0);
    let rows: Vec<usize> = (0..n).collect();
    let found = neighbours(features, &rows, most)?;
    let mut counts = std::collections::BTreeMap::<i64, usize>::new();
    features.labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
    let pairs: f64 = counts.values().map(|&c| c as f64 * (c as f64 - 1.0)).sum();
    let chance = pairs / (n as f64 * (n as f64 - 1.0));
    let agree = |k: usize| {
        let own =
            |i: usize| found[i][..k].iter().filter(|x| features.labels[x.row] == features.labels[i]).count();
        rows.iter().map(|&i| own(i)).sum::<usize>() as f64 / (n * k) as f64
    };
    Ok(ks.iter().map(|&k| NeighbourAgreement { k, share: agree(k), chance }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_two_classes() {
        // Three of class 0 along x; two of class 1 along y.
        let data = vec![1., 0., 1., 0.1, 1., 0.2, 0., 1., 0.1, 1.];
        let features = Features::new(data, 2, vec![0, 0, 0, 1, 1]).unwrap();
        let found = neighbour_agreement(&features, &[1, 2, 4]).unwrap();
        // k = 2: class 0 finds both others, class 1 its one and a stranger. k = 4: everybody else.
        let shares: Vec<f64> = found.iter().map(|f| f.share).collect();
        assert_eq!(shares, [1.0, (6.0 + 2.0) / 10.0, (6.0 + 2.0) / 20.0]);
        // Of 20 ordered pairs, 6 + 2 share a class.
        assert!(found.iter().all(|f| f.chance == 0.4));
        for k in [0, 5] {
            assert!(neighbour_agreement(&features, &[k]).unwrap_err().to_string().contains("from 1 to 4"));
        }
    }

    #[test]
    fn without_labels_or_with_few_images() {
        let features = Features::new(vec![1., 0., 0., 1., 1., 1.], 2, vec![0; 3]).unwrap();
        let of = |labelled| Relation::of(&features, [&features, &features], labelled).unwrap();
        assert_eq!((of(false).agreement.len(), of(false).alignment), (0, 0.0));
        assert_eq!(of(true).agreement, [NeighbourAgreement { k: 1, share: 1.0, chance: 1.0 }]);
    }
}
