//! Views a second of the op `augment` on one core; `benches/peers/augment.py` prints the same rows for torchvision.
//!
//! usage: cargo run --release --example augment_table

use rusa::augment::{Policy, draw_batch, preset};
use rusa::ops::augment::Scratch;
use std::time::Instant;

fn main() -> rusa::Result<()> {
    println!("{:<34} {:>10}", "pipeline, one core", "views/s");
    let fashion = preset("fashion-mnist")?.policy();
    let cifar = preset("cifar-simclr")?.policy();
    let lightly = preset("lightly-cifar-simclr")?.policy();
    let imagenet = preset("imagenet-simclr")?.policy();
    let always = Policy { jitter: 1.0, ..lightly.clone() };
    time("fashion-mnist 28x28x1", &fashion, 28, [28, 28, 1])?;
    time("cifar-simclr 32x32x3, blur", &cifar, 32, [32, 32, 3])?;
    time("lightly-cifar 32x32x3", &lightly, 32, [32, 32, 3])?;
    time("lightly-cifar, jitter always", &always, 32, [32, 32, 3])?;
    time("imagenet-simclr 375x500x3 to 224", &imagenet, 224, [375, 500, 3])
}

/// Draws and makes views of 64 images, several times over, and prints the fastest round.
fn time(name: &str, policy: &Policy, size: usize, [h, w, c]: [usize; 3]) -> rusa::Result<()> {
    let op = policy.op(size);
    policy.check(size, c)?;
    let image: Vec<u8> = (0..h * w * c).map(|i| (i * i / 7 + i) as u8).collect();
    let (mut view, mut scratch) = (vec![0.0; size * size * c], Scratch::default());
    let samples: Vec<u64> = (0..64).collect();
    let rounds = if size > 100 { 3 } else { 40 };
    let mut fastest = f64::INFINITY;
    for epoch in 0..rounds {
        let start = Instant::now();
        for row in draw_batch(policy, 1, epoch, &samples, 2, [h, w]) {
            op.apply(&image, h, w, c, &row, &mut view, &mut scratch).expect("drawn rows fit");
        }
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<34} {:>10.0}", 2.0 * samples.len() as f64 / fastest);
    Ok(())
}
