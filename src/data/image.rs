//! One picture in memory.

/// A picture: `pixels` is HWC, one byte a value, `channels` 1 (gray) or 3 (RGB).
///
/// Readers write into an existing `Image`, so a loop over a data set allocates only when a picture is larger than all
/// before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub pixels: Vec<u8>,
}

impl Image {
    /// Becomes a copy of `pixels` [height, width, channels].
    pub fn set(&mut self, [height, width, channels]: [usize; 3], pixels: &[u8]) {
        debug_assert_eq!(height * width * channels, pixels.len());
        (self.height, self.width, self.channels) = (height, width, channels);
        self.pixels.clear();
        self.pixels.extend_from_slice(pixels);
    }

    /// Makes it `channels` channels, in place: gray to RGB repeats the value, RGB to gray is [`luma`].
    pub fn convert(&mut self, channels: usize) {
        match (self.channels, channels) {
            (1, 3) => {
                let count = self.pixels.len();
                self.pixels.resize(3 * count, 0);
                // From the end, so that no value is overwritten before it is read.
                for i in (0..count).rev() {
                    let value = self.pixels[i];
                    self.pixels[3 * i..3 * i + 3].fill(value);
                }
            }
            (3, 1) => {
                let count = self.pixels.len() / 3;
                for i in 0..count {
                    self.pixels[i] =
                        luma([self.pixels[3 * i], self.pixels[3 * i + 1], self.pixels[3 * i + 2]]);
                }
                self.pixels.truncate(count);
            }
            _ => debug_assert_eq!(self.channels, channels),
        }
        self.channels = channels;
    }
}

/// Brightness by ITU-R 601-2, L = 0.299 R + 0.587 G + 0.114 B, in the 16-bit fixed point of Pillow, so that gray
/// pictures equal torchvision's bit for bit.
pub fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Pillow 13.0.0: `Image.new("RGB", (1, 1), rgb).convert("L")`.
    #[test]
    fn gray_as_pillow_computes_it() {
        let pillow = [
            ([0, 0, 0], 0),
            ([255, 255, 255], 255),
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([1, 2, 3], 2),
            ([200, 100, 50], 124),
            ([17, 130, 241], 109),
            ([90, 91, 93], 91),
            ([254, 1, 128], 91),
        ];
        for (rgb, gray) in pillow {
            assert_eq!(luma(rgb), gray, "{rgb:?}");
        }
    }

    #[test]
    fn there_and_back() {
        let mut image = Image::default();
        image.set([2, 3, 1], &[0, 1, 2, 100, 254, 255]);
        let gray = image.clone();
        image.convert(3);
        assert_eq!(image.pixels, [0, 0, 0, 1, 1, 1, 2, 2, 2, 100, 100, 100, 254, 254, 254, 255, 255, 255]);
        image.convert(1);
        assert_eq!(image, gray);
        image.convert(1);
        assert_eq!(image, gray);
    }
}
