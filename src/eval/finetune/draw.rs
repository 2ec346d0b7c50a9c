//! Which labelled images fine-tuning sees.

use crate::eval::accuracy::classes_of;
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};

/// Names the random streams of these draws among those of probes.
const DRAWS: u32 = 2;

/// That fraction of each class, rounded, and at least one image of it: in order of class. Of the same seed a larger
/// fraction holds the smaller ones.
///
/// Errors: the fraction is not above 0 and at most 1.
pub fn draw_fraction(labels: &[i64], fraction: f64, seed: u64) -> Result<Vec<usize>> {
    if !(fraction > 0.0 && fraction <= 1.0) {
        let what = format!("{fraction} is no share of the labels: must be above 0 and at most 1");
        return Err(Error::config("finetune", what));
    }
    by_class(labels, seed, |_, own| Ok(((own as f64 * fraction).round() as usize).max(1)))
}

/// `count` images of each class, in order of class.
///
/// Errors: a class has fewer, or `count` is 0.
pub fn draw_per_class(labels: &[i64], count: usize, seed: u64) -> Result<Vec<usize>> {
    by_class(labels, seed, |class, own| {
        if count == 0 || own < count {
            let what = format!("class {class} has {own} training images: ask for 1 to {own}, not {count}");
            return Err(Error::config("finetune", what));
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
        let exact = draw_per_class(&labels, 3, 1).unwrap();
        assert_eq!([4, 7, 9].map(|c| count(&exact, c)), [3, 3, 3]);
    }

    #[test]
    fn what_cannot_be_drawn_is_said() {
        for fraction in [0.0, -0.1, 1.01, f64::NAN] {
            let error = draw_fraction(&[0, 1], fraction, 0).unwrap_err().to_string();
            assert!(error.contains("above 0 and at most 1"), "{error}");
        }
        let error = draw_per_class(&[0, 0, 5], 2, 0).unwrap_err().to_string();
        assert!(error.contains("class 5 has 1 training images"), "{error}");
        assert!(draw_per_class(&[0, 0], 0, 0).is_err());
    }
}
