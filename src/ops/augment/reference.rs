//! The op in f64, by another road: two-dimensional filters, HSV as in the textbook. As slow and as clear as possible.

use super::color::LUMA;
use super::params::{BRIGHTNESS, CONTRAST, HUE, SATURATION, ViewParams};
use super::{Augment, Interpolation, blur};

/// One view of `image` u8 \[`h`,`w`,`c`\], f64 \[S,S,`c`\].
pub fn view(op: &Augment, image: &[u8], w: usize, c: usize, row: &ViewParams) -> Vec<f64> {
    let s = op.size;
    let mut x = resized_crop(op, image, w, c, row);
    if op.clamp {
        x.iter_mut().for_each(unit);
    }
    if row.flip == 1.0 {
        let source = x.clone();
        each(s, c, |y, i, k| x[(y * s + i) * c + k] = source[(y * s + s - 1 - i) * c + k]);
    }
    for step in row.order {
        jitter(&mut x, c, step, row);
    }
    if row.grayscale == 1.0 && c == 3 {
        x.chunks_exact_mut(3).for_each(|p| p.fill(luma(p)));
    }
    if row.blur_sigma > 0.0 {
        x = blurred(op, &x, c, row.blur_sigma);
    }
    if row.solarize <= 1.0 {
        x.iter_mut().filter(|v| **v >= f64::from(row.solarize)).for_each(|v| *v = 1.0 - *v);
    }
    each(s, c, |y, i, k| {
        let v = &mut x[(y * s + i) * c + k];
        *v = (*v - f64::from(op.mean_of(k))) / f64::from(op.std_of(k));
    });
    x
}

/// Calls `f(y, x, channel)` for every element of a view.
fn each(s: usize, c: usize, mut f: impl FnMut(usize, usize, usize)) {
    (0..s * s * c).for_each(|i| f(i / c / s, i / c % s, i % c));
}

/// Every output pixel is a weighted mean over the whole crop.
fn resized_crop(op: &Augment, image: &[u8], w: usize, c: usize, row: &ViewParams) -> Vec<f64> {
    let (s, top, left) = (op.size, row.top as usize, row.left as usize);
    let (height, width) = (row.height as usize, row.width as usize);
    let mut out = vec![0.0; s * s * c];
    each(s, c, |y, x, k| {
        for j in 0..height {
            let wy = weight(op, height, y, j);
            for i in (0..width).filter(|_| wy != 0.0) {
                let pixel = f64::from(image[((top + j) * w + left + i) * c + k]) / 255.0;
                out[(y * s + x) * c + k] += wy * weight(op, width, x, i) * pixel;
            }
        }
    });
    out
}

/// Weight of input pixel `j` of `from` in output pixel `i` of `op.size`.
fn weight(op: &Augment, from: usize, i: usize, j: usize) -> f64 {
    let scale = from as f64 / op.size as f64;
    let at = scale * (i as f64 + 0.5) - 0.5;
    if op.antialias {
        let filter = |j: usize| op.interpolation.filter((j as f64 - at) / scale.max(1.0), -0.5);
        return filter(j) / (0..from).map(filter).sum::<f64>();
    }
    // Without antialiasing pixels beyond the border repeat it.
    let reach = if op.interpolation == Interpolation::Bicubic { 3 } else { 2 };
    let filter = |j: i64| op.interpolation.filter(j as f64 - at, -0.75);
    let first = if j == 0 { -reach } else { j as i64 };
    let last = if j + 1 == from { from as i64 + reach } else { j as i64 };
    (first..=last).map(filter).sum()
}

fn jitter(x: &mut [f64], c: usize, step: f32, row: &ViewParams) {
    if step == BRIGHTNESS {
        x.iter_mut().for_each(|v| *v *= f64::from(row.brightness));
        x.iter_mut().for_each(unit);
    } else if step == CONTRAST {
        let mean = x.chunks_exact(c).map(|p| if c == 3 { luma(p) } else { p[0] }).sum::<f64>();
        let mean = mean / (x.len() / c) as f64;
        x.iter_mut().for_each(|v| blend(v, mean, row.contrast));
    } else if step == SATURATION && c == 3 {
        for p in x.chunks_exact_mut(3) {
            let gray = luma(p);
            p.iter_mut().for_each(|v| blend(v, gray, row.saturation));
        }
    } else if step == HUE && c == 3 {
        x.chunks_exact_mut(3).for_each(|p| hue(p, f64::from(row.hue)));
    }
}

fn unit(v: &mut f64) {
    *v = v.clamp(0.0, 1.0);
}

fn luma(p: &[f64]) -> f64 {
    p.iter().zip(LUMA).map(|(v, l)| v * f64::from(l)).sum()
}

fn blend(v: &mut f64, with: f64, factor: f32) {
    *v = *v * f64::from(factor) + with * (1.0 - f64::from(factor));
    unit(v);
}

/// To HSV, a turn, and back by the six sectors.
fn hue(p: &mut [f64], shift: f64) {
    let v = p.iter().copied().fold(f64::MIN, f64::max);
    let d = v - p.iter().copied().fold(f64::MAX, f64::min);
    let sixths = match p {
        _ if d == 0.0 => 0.0,
        [r, g, b] if *r == v => (*g - *b) / d,
        [r, g, b] if *g == v => 2.0 + (*b - *r) / d,
        [r, g, _] => 4.0 + (*r - *g) / d,
        _ => unreachable!("three channels"),
    };
    let h = (sixths / 6.0 + shift).rem_euclid(1.0) * 6.0;
    let f = h - h.floor();
    let (low, falling, rising) = (v - d, v - d * f, v - d * (1.0 - f));
    let [low, falling, rising] = [low, falling, rising].map(|x| x.clamp(0.0, 1.0));
    p.copy_from_slice(&match h as usize % 6 {
        0 => [v, rising, low],
        1 => [falling, v, low],
        2 => [low, v, rising],
        3 => [low, falling, v],
        4 => [rising, low, v],
        _ => [v, low, falling],
    });
}

/// One two-dimensional kernel, the border reflected.
fn blurred(op: &Augment, x: &[f64], c: usize, sigma: f32) -> Vec<f64> {
    let s = op.size as i64;
    let radius = blur::radius(op.blur_kernel, sigma, op.size) as i64;
    let gauss = |dy: i64, dx: i64| (-0.5 * (dy * dy + dx * dx) as f64 / f64::from(sigma).powi(2)).exp();
    let square = || (-radius..=radius).flat_map(|dy| (-radius..=radius).map(move |dx| (dy, dx)));
    let total: f64 = square().map(|(dy, dx)| gauss(dy, dx)).sum();
    let mirror = |i: i64| {
        if i < 0 {
            -i
        } else if i >= s {
            2 * (s - 1) - i
        } else {
            i
        }
    };
    let mut out = vec![0.0; x.len()];
    each(op.size, c, |y, i, k| {
        for (dy, dx) in square() {
            let source = (mirror(y as i64 + dy) * s + mirror(i as i64 + dx)) as usize * c + k;
            out[(y * op.size + i) * c + k] += x[source] * gauss(dy, dx) / total;
        }
    });
    out
}
