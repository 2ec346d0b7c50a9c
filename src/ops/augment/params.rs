//! What is done to one view: a row of the parameter tensor.

use bytemuck::{Pod, Zeroable};

/// Columns of the parameter tensor: the f32 fields of [`ViewParams`].
pub const PARAMS: usize = size_of::<ViewParams>() / size_of::<f32>();

/// The four steps of the colour jitter, as they stand in [`ViewParams::order`] (torchvision's `fn_idx`).
pub const BRIGHTNESS: f32 = 0.0;
pub const CONTRAST: f32 = 1.0;
pub const SATURATION: f32 = 2.0;
pub const HUE: f32 = 3.0;
/// No step. Four of them: no jitter.
pub const SKIP: f32 = -1.0;

/// Any threshold above 1 solarizes nothing.
pub const NO_SOLARIZE: f32 = 2.0;

/// The largest factor: beyond it `x · factor + gray · (1 - factor)` could be infinity minus infinity.
const MOST: f32 = 1e6;

/// One view's parameters, all f32, in the order of the columns. A row is a plain array for any device or framework.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct ViewParams {
    /// Column 0: first row of the crop, whole pixels of the source image.
    pub top: f32,
    /// Column 1: first column of the crop, whole pixels.
    pub left: f32,
    /// Column 2: rows of the crop, whole pixels, at least 1.
    pub height: f32,
    /// Column 3: columns of the crop, whole pixels, at least 1.
    pub width: f32,
    /// Column 4: 1 mirrors left and right, 0 does not.
    pub flip: f32,
    /// Columns 5 to 8: the jitter's steps in the order they are applied: 0 brightness, 1 contrast, 2 saturation,
    /// 3 hue, -1 none.
    pub order: [f32; 4],
    /// Column 9: factor of brightness, at least 0; 1 changes nothing.
    pub brightness: f32,
    /// Column 10: factor of contrast, at least 0; 1 changes nothing.
    pub contrast: f32,
    /// Column 11: factor of saturation, at least 0; 1 changes nothing.
    pub saturation: f32,
    /// Column 12: shift of the hue in turns, -0.5 to 0.5; 0 changes nothing.
    pub hue: f32,
    /// Column 13: 1 replaces the three channels by their luma, 0 does not.
    pub grayscale: f32,
    /// Column 14: standard deviation of the Gaussian blur in pixels of the view; 0 does not blur.
    pub blur_sigma: f32,
    /// Column 15: values from here upwards (of \[0, 1\]) are inverted; above 1 none is.
    pub solarize: f32,
}

impl ViewParams {
    /// The crop at (`top`, `left`) of `height` × `width` pixels, resized and not otherwise changed.
    pub fn crop(top: usize, left: usize, height: usize, width: usize) -> Self {
        Self {
            top: top as f32,
            left: left as f32,
            height: height as f32,
            width: width as f32,
            flip: 0.0,
            order: [SKIP; 4],
            brightness: 1.0,
            contrast: 1.0,
            saturation: 1.0,
            hue: 0.0,
            grayscale: 0.0,
            blur_sigma: 0.0,
            solarize: NO_SOLARIZE,
        }
    }

    /// The central square of an image of `h` × `w` pixels, for evaluation: torchvision's `Resize(S)` and
    /// `CenterCrop(S)` but for the outermost pixels, which here see nothing beyond the crop. A square image of the
    /// view's size passes unchanged.
    pub fn eval(h: usize, w: usize) -> Self {
        let side = h.min(w);
        Self::crop((h - side) / 2, (w - side) / 2, side, side)
    }

    /// Whether the row can be applied to an image of `h` × `w` pixels; if not, which column is wrong and how.
    pub fn check(&self, h: usize, w: usize) -> Result<(), String> {
        let whole = |name: &str, start: f32, len: f32, end: usize| {
            let fits = start >= 0.0 && len >= 1.0 && f64::from(start) + f64::from(len) <= end as f64;
            if fits && start.fract() == 0.0 && len.fract() == 0.0 {
                return Ok(());
            }
            Err(format!(
                "the crop takes {len} {name} from {start}, but the image has {end}: whole pixels within it"
            ))
        };
        whole("rows", self.top, self.height, h)?;
        whole("columns", self.left, self.width, w)?;
        for step in self.order {
            if ![BRIGHTNESS, CONTRAST, SATURATION, HUE, SKIP].contains(&step) {
                return Err(format!("`order` holds {step}: must be 0 to 3, or -1 for no step"));
            }
        }
        for (name, value, low, high) in [
            ("flip", self.flip, 0.0, 1.0),
            ("brightness", self.brightness, 0.0, MOST),
            ("contrast", self.contrast, 0.0, MOST),
            ("saturation", self.saturation, 0.0, MOST),
            ("hue", self.hue, -0.5, 0.5),
            ("grayscale", self.grayscale, 0.0, 1.0),
            ("blur_sigma", self.blur_sigma, 0.0, f32::MAX),
            ("solarize", self.solarize, 0.0, f32::MAX),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!("`{name}` is {value}: must be from {low} to {high}"));
            }
        }
        Ok(())
    }
}

/// The parameter tensor f32\[rows, PARAMS\] of these views.
pub fn as_tensor(rows: &[ViewParams]) -> &[f32] {
    bytemuck::cast_slice(rows)
}

/// The rows of a parameter tensor f32\[rows, PARAMS\].
pub fn from_tensor(params: &[f32]) -> &[ViewParams] {
    bytemuck::cast_slice(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_columns_in_order() {
        assert_eq!(PARAMS, 16);
        let row: [f32; PARAMS] = std::array::from_fn(|i| i as f32);
        let p = from_tensor(&row)[0];
        assert_eq!((p.top, p.width, p.flip, p.order), (0.0, 3.0, 4.0, [5.0, 6.0, 7.0, 8.0]));
        assert_eq!(
            (p.brightness, p.hue, p.grayscale, p.blur_sigma, p.solarize),
            (9.0, 12.0, 13.0, 14.0, 15.0)
        );
        assert_eq!(as_tensor(&[p]), row);
    }

    #[test]
    fn every_bad_column_is_named() {
        let good = ViewParams::crop(1, 2, 3, 4);
        assert_eq!(good.check(4, 6), Ok(()));
        assert!(good.check(3, 6).unwrap_err().contains("rows"));
        assert!(good.check(4, 5).unwrap_err().contains("columns"));
        let columns = ["rows", "columns", "rows", "columns", "flip", "order", "order", "order", "order"]
            .into_iter()
            .chain(["brightness", "contrast", "saturation", "hue", "grayscale", "blur_sigma", "solarize"]);
        for (i, name) in columns.enumerate() {
            for bad in [f32::NAN, f32::INFINITY, -1.5] {
                let mut row = good;
                bytemuck::cast_slice_mut::<_, f32>(std::slice::from_mut(&mut row))[i] = bad;
                let error = row.check(4, 6).unwrap_err();
                assert!(error.contains(name), "column {i} = {bad}: {error}");
            }
        }
    }
}
