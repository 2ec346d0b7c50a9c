//! Which labelled images a protocol sees that is given few of them: draws that are fair to every class.

use crate::eval::accuracy::classes_of;
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};

/// Names the random streams of these draws among those of probes.
const DRAWS: u32 = 1;

/// How many of the training images show their labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Labels {
    /// That share of each class, above 0 and at most 1; at least one image.
    Fraction(f64),
    /// So many of each class.
    PerClass(usize),
}

impl Labels {
    /// The images of a draw, in order of class. Of the same seed a larger draw holds the smaller ones, and every
    /// protocol sees the same ones: a probe, fine-tuning and training from scratch can be compared draw by draw.
    ///
    /// Errors: the fraction is not above 0 and at most 1; those of [`balanced_draw`].
    pub fn draw(self, labels: &[i64], seed: u64) -> Result<Vec<usize>> {
        match self {
            Self::Fraction(fraction) => draw_fraction(labels, fraction, seed),
            Self::PerClass(count) => balanced_draw(labels, count, seed),
        }
    }
}

/// That fraction of each class, rounded, and at least one image of it.
fn draw_fraction(labels: &[i64], fraction: f64, seed: u64) -> Result<Vec<usize>> {
    if !(fraction > 0.0 && fraction <= 1.0) {
        let what = format!("{fraction} is no share of the labels: must be above 0 and at most 1");
        return Err(Error::config("finetune", what));
    }
    by_class(labels, seed, |_, own| Ok(((own as f64 * fraction).round() as usize).max(1)))
}

/// The rows of a class-balanced draw: `count` of each class, in order of class. Of the same seed, a larger draw holds
/// the smaller ones, so that a curve over counts is not rougher than it must be.
///
/// Errors: a class has fewer rows than `count`, or `count` is 0.
pub fn balanced_draw(labels: &[i64], count: usize, seed: u64) -> Result<Vec<usize>> {
    if count == 0 {
        return Err(Error::config("few", "needs at least 1 label a class"));
    }
    by_class(labels, seed, |class, own| {
        if own < count {
            let what = format!("class {class} has {own} training images, not {count}; ask for fewer");
            return Err(Error::config("few", what));
        }
        Ok(count)
    })
}

fn by_class(labels: &[i64], seed: u64, count: impl Fn(i64, usize) -> Result<usize>) -> Result<Vec<usize>> {
    let mut rows = Vec::new();
    for class in classes_of(labels) {
        let mut own: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == class).collect();
        let count = count(class, own.len())?;
        Philox::new(seed, Purpose::Probe, DRAWS, class as u64).shuffle(&mut own);
        rows.extend_from_slice(&own[..count]);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_each_class_nested_and_seeded() {
        // 100 images of class 4, 50 of class 7, 3 of class 9.
        let labels: Vec<i64> = [(4, 100), (7, 50), (9, 3)].iter().flat_map(|&(l, n)| vec![l; n]).collect();
        let count = |rows: &[usize], class| rows.iter().filter(|&&r| labels[r] == class).count();
        let (tenth, half) =
            (draw_fraction(&labels, 0.1, 1).unwrap(), draw_fraction(&labels, 0.5, 1).unwrap());
        assert_eq!([4, 7, 9].map(|c| count(&tenth, c)), [10, 5, 1]);
        assert_eq!([4, 7, 9].map(|c| count(&half, c)), [50, 25, 2]);
        assert!(tenth.iter().all(|row| half.contains(row)));
        assert_ne!(tenth, draw_fraction(&labels, 0.1, 2).unwrap());
        let mut all = draw_fraction(&labels, 1.0, 1).unwrap();
        all.sort_unstable();
        assert_eq!(all, (0..153).collect::<Vec<_>>());
    }

    /// A tenth of classes of twenty is the draw of two a class: figures of both kinds can be paired.
    #[test]
    fn a_share_and_a_count_draw_the_same_images() {
        let labels: Vec<i64> = (0..60).map(|i| [5, -2, 9][i % 3]).collect();
        for seed in [0, 7] {
            let draw = |labels_shown: Labels| labels_shown.draw(&labels, seed).unwrap();
            assert_eq!(draw(Labels::Fraction(0.1)), draw(Labels::PerClass(2)));
            assert_ne!(draw(Labels::Fraction(0.1)), draw(Labels::PerClass(3)));
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_said() {
        for fraction in [0.0, -0.1, 1.01, f64::NAN] {
            let error = draw_fraction(&[0, 1], fraction, 0).unwrap_err().to_string();
            assert!(error.contains("above 0 and at most 1"), "{error}");
        }
    }

    #[test]
    fn draws_are_balanced_nested_and_seeded() {
        let labels: Vec<i64> = (0..60).map(|i| [5, -2, 9, 5][i % 4]).collect();
        let draw = |count, seed| balanced_draw(&labels, count, seed).unwrap();
        let (small, large) = (draw(3, 1), draw(8, 1));
        for (class, label) in [-2, 5, 9].into_iter().enumerate() {
            let of_class = &large[class * 8..][..8];
            assert!(of_class.iter().all(|&row| labels[row] == label), "{large:?}");
            assert_eq!(of_class[..3], small[class * 3..][..3]);
        }
        let mut distinct = large.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 24);
        assert_ne!(draw(3, 1), draw(3, 2));
    }

    #[test]
    fn a_class_too_small_is_named() {
        let error = balanced_draw(&[0, 0, 0, 7], 2, 0).unwrap_err().to_string();
        assert!(error.contains("class 7 has 1 training images, not 2"), "{error}");
        assert!(balanced_draw(&[0], 0, 0).unwrap_err().to_string().contains("at least 1"));
    }
}
