//! Permutations of the nine tiles, far apart in Hamming distance: else two of them could not be told apart by the tiles
//! that differ (Noroozi & Favaro, ECCV 2016, section 3.1).

use super::tiles::CELLS;
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Where each tile comes from: place p shows the tile of cell `permutation[p]`.
pub type Permutation = [u8; CELLS];

/// 9!
pub const ALL: usize = 362_880;

/// `count` permutations, chosen greedily: the first is the identity, each next is the one whose least distance to those
/// before is greatest; among equals the one whose distances sum highest, then the first in lexicographic order.
pub fn permutations(count: usize) -> Result<Arc<Vec<Permutation>>> {
    if !(2..=10_000).contains(&count) {
        let what = format!("must be from 2 to 10,000 (of the {ALL} there are), but is {count}");
        return Err(Error::config("loss.permutations", what));
    }
    static MADE: OnceLock<Mutex<HashMap<usize, Arc<Vec<Permutation>>>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    Ok(made.entry(count).or_insert_with(|| Arc::new(choose(count))).clone())
}

fn choose(count: usize) -> Vec<Permutation> {
    let all: Vec<u64> = every().iter().map(packed).collect();
    // By permutation: least distance to the chosen, sum of distances.
    let mut apart = vec![(u8::MAX, 0u32); all.len()];
    let mut chosen = vec![0usize];
    while chosen.len() < count {
        let newest = all[chosen[chosen.len() - 1]];
        let best = apart.par_iter_mut().zip(&all).enumerate().map(|(i, ((least, sum), &p))| {
            let distance = hamming(p, newest);
            *least = (*least).min(distance as u8);
            *sum += distance;
            (*least, *sum, std::cmp::Reverse(i))
        });
        match best.max() {
            Some((1.., _, std::cmp::Reverse(i))) => chosen.push(i),
            _ => break,
        }
    }
    chosen.into_iter().map(|i| unpacked(all[i])).collect()
}

/// All of them, in lexicographic order.
fn every() -> Vec<Permutation> {
    fn extend(prefix: &mut Vec<u8>, used: u16, out: &mut Vec<Permutation>) {
        if let Ok(whole) = prefix.as_slice().try_into() {
            out.push(whole);
            return;
        }
        for next in (0..CELLS as u8).filter(|&i| used & (1 << i) == 0) {
            prefix.push(next);
            extend(prefix, used | 1 << next, out);
            prefix.pop();
        }
    }
    let mut out = Vec::with_capacity(ALL);
    extend(&mut Vec::new(), 0, &mut out);
    out
}

/// Four bits a place.
fn packed(p: &Permutation) -> u64 {
    p.iter().rev().fold(0, |bits, &cell| bits << 4 | u64::from(cell))
}

fn unpacked(bits: u64) -> Permutation {
    std::array::from_fn(|place| (bits >> (4 * place) & 15) as u8)
}

/// Places at which two packed permutations differ.
fn hamming(a: u64, b: u64) -> u32 {
    let differing = a ^ b;
    let any = differing | differing >> 1 | differing >> 2 | differing >> 3;
    (any & 0x1_1111_1111).count_ones()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: &Permutation, b: &Permutation) -> usize {
        a.iter().zip(b).filter(|(a, b)| a != b).count()
    }

    #[test]
    fn are_permutations_all_different_and_far_apart() {
        for (count, least) in [(2, 9), (9, 9), (100, 6), (1000, 5)] {
            let chosen = permutations(count).unwrap();
            assert_eq!(chosen.len(), count);
            assert_eq!(chosen[0], std::array::from_fn(|i| i as u8));
            let mut nearest = CELLS;
            for (i, a) in chosen.iter().enumerate() {
                let mut sorted = *a;
                sorted.sort_unstable();
                assert_eq!(sorted, std::array::from_fn(|i| i as u8));
                nearest = chosen[..i].iter().map(|b| distance(a, b)).fold(nearest, usize::min);
            }
            assert!(nearest >= least, "{count}: {nearest}");
        }
    }

    #[test]
    fn distances_of_packed_permutations() {
        assert_eq!(every().len(), ALL);
        let (a, b) = ([0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 1, 2, 3, 5, 4, 6, 7, 0]);
        assert_eq!(hamming(packed(&a), packed(&b)), 4);
        assert_eq!(unpacked(packed(&b)), b);
    }

    #[test]
    fn too_many_are_refused() {
        assert!(permutations(1).is_err() && permutations(ALL).is_err());
    }
}
