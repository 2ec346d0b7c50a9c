//! Gaussian blur: separable, the border reflected without repeating its pixel (torch's `reflect`).

/// Radius of the kernel for a view of `size` pixels. `kernel` is its odd length; 0 lets it reach three standard
/// deviations, as far as reflection goes.
pub fn radius(kernel: usize, sigma: f32, size: usize) -> usize {
    match kernel {
        0 => ((3.0 * sigma).ceil() as usize).min(size - 1),
        odd => odd / 2,
    }
}

/// exp(-d²/2σ²) for d from -`radius` to `radius`, normalised to sum 1.
pub fn kernel(weights: &mut Vec<f32>, radius: usize, sigma: f32) {
    let weight = |i: usize| (-0.5 * ((i as f64 - radius as f64) / f64::from(sigma)).powi(2)).exp();
    let total: f64 = (0..=2 * radius).map(weight).sum();
    weights.clear();
    weights.extend((0..=2 * radius).map(|i| (weight(i) / total) as f32));
}

/// Blurs `planes` f32 \[C,`size`,`size`\] in place by the symmetric kernel `weights`, whose radius is below `size`.
/// `scratch` holds at least one plane and `size + 2·radius`.
#[inline(always)]
pub fn gaussian_blur(planes: &mut [f32], size: usize, weights: &[f32], scratch: &mut [f32]) {
    let radius = weights.len() / 2;
    let (across, padded) = scratch.split_at_mut(size * size);
    let padded = &mut padded[..size + 2 * radius];
    for plane in planes.chunks_exact_mut(size * size) {
        for (x, out) in across.chunks_exact_mut(size).enumerate() {
            out.fill(0.0);
            for (t, &weight) in weights.iter().enumerate() {
                let line = &plane[reflect(x, t, radius, size) * size..][..size];
                for (o, &value) in out.iter_mut().zip(line) {
                    *o += weight * value;
                }
            }
        }
        for (out, line) in plane.chunks_exact_mut(size).zip(across.chunks_exact(size)) {
            padded[radius..radius + size].copy_from_slice(line);
            for t in 0..radius {
                padded[t] = line[radius - t];
                padded[radius + size + t] = line[size - 2 - t];
            }
            out.fill(0.0);
            for (t, &weight) in weights.iter().enumerate() {
                for (o, &value) in out.iter_mut().zip(&padded[t..t + size]) {
                    *o += weight * value;
                }
            }
        }
    }
}

/// Scratch that [`gaussian_blur`] wants.
pub fn scratch(size: usize, radius: usize) -> usize {
    size * size + size + 2 * radius
}

/// The line under tap `t` of the kernel at line `x`, mirrored at the border; needs `radius < size`.
#[inline(always)]
pub fn reflect(x: usize, t: usize, radius: usize, size: usize) -> usize {
    let i = (x + t).abs_diff(radius);
    if i < size { i } else { 2 * (size - 1) - i }
}
