//! Pixels as an `<img>` with the PNG inside.

use super::Picture;
use super::html::escape;
use base64::Engine;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
use std::io::Cursor;

/// Longer sides are scaled down to this; a page of pictures stays small.
const MAX_SIDE: u32 = 112;

/// An `<img>` of the picture, or a placeholder if its pixels do not fit its size.
pub(super) fn img(picture: &Picture, alt: &str) -> String {
    match png(picture) {
        Some((png, width, height)) => format!(
            "<img class=\"{}\" src=\"data:image/png;base64,{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\"/>",
            // Small pictures are enlarged with their pixels visible.
            if width.max(height) < 64 { "px" } else { "photo" },
            base64::engine::general_purpose::STANDARD.encode(png),
            escape(alt)
        ),
        None => format!("<span class=\"nopicture\" role=\"img\" aria-label=\"{}\">?</span>", escape(alt)),
    }
}

fn png(picture: &Picture) -> Option<(Vec<u8>, u32, u32)> {
    let (width, height) = (u32::try_from(picture.width).ok()?, u32::try_from(picture.height).ok()?);
    let bytes = picture.width.checked_mul(picture.height)?.checked_mul(picture.channels)?;
    if bytes == 0 || bytes != picture.pixels.len() {
        return None;
    }
    let pixels = picture.pixels.clone();
    let image: DynamicImage = match picture.channels {
        1 => GrayImage::from_raw(width, height, pixels)?.into(),
        2 => GrayAlphaImage::from_raw(width, height, pixels)?.into(),
        3 => RgbImage::from_raw(width, height, pixels)?.into(),
        4 => RgbaImage::from_raw(width, height, pixels)?.into(),
        _ => return None,
    };
    let scale = f64::from(MAX_SIDE) / f64::from(width.max(height));
    let image = if scale < 1.0 {
        let side = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
        let small = resize(&image, side(width), side(height), FilterType::Triangle);
        // `resize` gives RGBA; keep gray gray and opaque opaque.
        match picture.channels {
            1 => DynamicImage::from(small).into_luma8().into(),
            3 => DynamicImage::from(small).into_rgb8().into(),
            _ => small.into(),
        }
    } else {
        image
    };
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, ImageFormat::Png).ok()?;
    Some((out.into_inner(), image.width(), image.height()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize, channels: usize) -> Picture {
        let pixels = (0..width * height * channels).map(|i| (i * 7) as u8).collect();
        Picture { width, height, channels, pixels }
    }

    #[test]
    fn small_pictures_survive_exactly() {
        for channels in 1..=4 {
            let p = picture(5, 3, channels);
            let (bytes, width, height) = png(&p).unwrap();
            let back = image::load_from_memory(&bytes).unwrap();
            assert_eq!((width, height, back.as_bytes()), (5, 3, &p.pixels[..]), "{channels} channels");
        }
    }

    #[test]
    fn large_ones_shrink() {
        for channels in 1..=4 {
            let (bytes, width, height) = png(&picture(400, 100, channels)).unwrap();
            assert_eq!((width, height), (112, 28));
            let back = image::load_from_memory(&bytes).unwrap();
            assert!(channels == 2 || usize::from(back.color().channel_count()) == channels);
        }
        assert_eq!(png(&picture(3000, 1, 1)).unwrap().2, 1);
    }

    #[test]
    fn what_is_no_picture_is_a_placeholder() {
        let wrong = Picture { pixels: vec![0; 7], ..picture(2, 2, 1) };
        for p in
            [wrong, Picture::default(), picture(2, 2, 5), Picture { width: usize::MAX, ..picture(2, 2, 1) }]
        {
            assert!(img(&p, "a \"b\"").starts_with("<span class=\"nopicture\""));
        }
    }
}
