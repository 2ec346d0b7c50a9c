//! Every kind of picture, whole and damaged.

use crate::data::decode::{Header, decode, inspect, read};
use crate::data::{Image, luma};
use image::codecs::jpeg::JpegEncoder;
use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, RgbaImage,
};
use proptest::prelude::*;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif];

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decoded(bytes: &[u8]) -> Image {
    let mut image = Image::default();
    decode(bytes, &mut image).unwrap();
    image
}

/// Left half one colour, right half another: lossy formats keep it nearly.
fn halves() -> RgbImage {
    RgbImage::from_fn(32, 16, |x, _| Rgb(if x < 16 { [200, 60, 20] } else { [10, 90, 230] }))
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name)
}

fn assert_near(pixels: &[u8], expect: &[u8], tolerance: u8) {
    assert_eq!(pixels.len(), expect.len());
    let worst = pixels.iter().zip(expect).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst <= tolerance, "off by {worst}");
}

#[test]
fn every_format_by_content_header_and_pixels() {
    let folder = tempfile::tempdir().unwrap();
    for format in FORMATS {
        // The name says nothing.
        let path = folder.path().join("picture");
        fs::write(&path, encode(halves(), format)).unwrap();
        assert_eq!(inspect(&path).unwrap(), Header { height: 16, width: 32, colour: true }, "{format:?}");
        let mut image = Image::default();
        read(&path, &mut image).unwrap();
        assert_eq!((image.height, image.width, image.channels), (16, 32, 3));
        // Chroma of JPEG is exact away from the edge between the halves, which lies on a block border.
        assert_near(&image.pixels, &halves(), if format == ImageFormat::Jpeg { 6 } else { 0 });
    }
}

#[test]
fn gray_stays_gray_and_alpha_is_dropped() {
    let gray = decoded(&encode(GrayImage::from_pixel(3, 2, Luma([77])), ImageFormat::Png));
    assert_eq!((gray.channels, &gray.pixels[..]), (1, &[77; 6][..]));
    let jpeg = decoded(&encode(GrayImage::from_pixel(3, 2, Luma([77])), ImageFormat::Jpeg));
    assert_eq!((jpeg.channels, &jpeg.pixels[..]), (1, &[77; 6][..]));
    let alpha = decoded(&encode(GrayAlphaImage::from_pixel(3, 2, image::LumaA([77, 0])), ImageFormat::Png));
    assert_eq!((alpha.channels, &alpha.pixels[..]), (1, &[77; 6][..]));
    let rgba = decoded(&encode(RgbaImage::from_pixel(1, 2, image::Rgba([9, 8, 7, 0])), ImageFormat::Png));
    assert_eq!((rgba.channels, &rgba.pixels[..]), (3, &[9, 8, 7, 9, 8, 7][..]));
}

#[test]
fn sixteen_bits_round_to_eight() {
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> =
        ImageBuffer::from_pixel(1, 1, Rgb([0, 257 * 100 + 100, 65_535]));
    assert_eq!(decoded(&encode(deep, ImageFormat::Png)).pixels, [0, 100, 255]);
    let gray: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(1, 1, Luma([257 * 100 + 129]));
    assert_eq!(decoded(&encode(gray, ImageFormat::Png)).pixels, [101]);
}

#[test]
fn palettes_are_looked_up() {
    // BMP, 2 x 1 pixels of 8 bits through a palette of two colours.
    let mut bmp = b"BM".to_vec();
    for word in [66u32, 0, 62, 40, 2, 1, 1 | 8 << 16, 0, 4, 0, 0, 2, 2] {
        bmp.extend(word.to_le_bytes());
    }
    bmp.extend([3, 2, 1, 0, 30, 20, 10, 0, 1, 0, 0, 0]);
    let image = decoded(&bmp);
    assert_eq!((image.height, image.width, &image.pixels[..]), (1, 2, &[10, 20, 30, 1, 2, 3][..]));
    assert_eq!(decoded(&encode(halves(), ImageFormat::Gif)).pixels, halves().into_raw());
}

#[test]
fn cmyk_jpeg_as_pillow_shows_it() {
    let mut image = Image::default();
    read(&golden("cmyk.jpg"), &mut image).unwrap();
    assert_eq!((image.height, image.width, image.channels), (8, 16, 3));
    assert_near(&image.pixels[3 * 18..3 * 19], &[55, 215, 245], 3);
    assert_near(&image.pixels[3 * 93..3 * 94], &[187, 172, 27], 3);
    assert_eq!(inspect(&golden("cmyk.jpg")).unwrap(), Header { height: 8, width: 16, colour: true });
}

#[test]
fn exif_orientation_is_applied() {
    let mut image = Image::default();
    read(&golden("rotated.jpg"), &mut image).unwrap();
    assert_eq!((image.height, image.width), (16, 8));
    assert_near(&image.pixels[..3], &[254, 0, 0], 3);
    assert_near(&image.pixels[3 * 120..3 * 121], &[0, 0, 254], 3);
    assert_eq!(inspect(&golden("rotated.jpg")).unwrap(), Header { height: 16, width: 8, colour: true });
}

#[test]
fn cut_files_are_bad_already_at_the_first_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    // Noise, so that half of the file is half of the picture.
    let noise = RgbImage::from_fn(40, 40, |x, y| Rgb([x, y, x * y].map(|v| ((v * 2_654_435) >> 7) as u8)));
    for format in FORMATS {
        let bytes = encode(noise.clone(), format);
        for keep in [0, 1, 10, bytes.len() / 3, bytes.len() / 2, bytes.len() * 9 / 10] {
            fs::write(&path, &bytes[..keep]).unwrap();
            assert!(inspect(&path).is_err(), "{format:?} cut to {keep} of {}", bytes.len());
            assert!(
                read(&path, &mut Image::default()).is_err(),
                "{format:?} cut to {keep} of {}",
                bytes.len()
            );
        }
    }
    fs::write(&path, "no picture").unwrap();
    assert!(inspect(&path).unwrap_err().to_string().contains("not a picture"));
    // Something after the end does not make a picture bad.
    fs::write(&path, [&encode(noise, ImageFormat::Jpeg)[..], &[0; 9]].concat()).unwrap();
    assert_eq!(inspect(&path).unwrap().height, 40);
}

#[test]
fn huge_claims_are_refused() {
    let mut png = encode(halves(), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let mut bmp = encode(halves(), ImageFormat::Bmp);
    bmp[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
    let mut gif = encode(halves(), ImageFormat::Gif);
    gif[6..10].fill(0xff);
    let mut jpeg = Vec::new();
    JpegEncoder::new(&mut jpeg).encode_image(&halves()).unwrap();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    let folder = tempfile::tempdir().unwrap();
    for bytes in [png, bmp, gif, jpeg] {
        assert!(decode(&bytes, &mut Image::default()).is_err());
        let path = folder.path().join("x");
        fs::write(&path, bytes).unwrap();
        assert!(inspect(&path).is_err());
    }
}

#[test]
fn gray_of_a_colour_picture() {
    let mut image = decoded(&encode(halves(), ImageFormat::Png));
    image.convert(1);
    assert_eq!((image.pixels[0], image.pixels[31]), (luma([200, 60, 20]), luma([10, 90, 230])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No panic, and no picture larger than its limit, from any damage to a file of any kind.
    #[test]
    fn damaged_files(
        format in 0..FORMATS.len(), damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8), cut in 0.0f64..2.0,
    ) {
        let mut bytes = encode(halves(), FORMATS[format]);
        for (at, value) in damage {
            let at = at as usize % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate((bytes.len() as f64 * cut) as usize);
        let mut image = Image::default();
        if decode(&bytes, &mut image).is_ok() {
            prop_assert_eq!(image.pixels.len(), image.height * image.width * image.channels);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        let _ = inspect(file.path());
    }

    #[test]
    fn random_bytes(start in 0..6usize, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let starts: [&[u8]; 6] = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x10\0\0\0WEBP", b"BM", b"GIF89a"];
        let bytes = [starts[start], &rest].concat();
        let _ = decode(&bytes, &mut Image::default());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        let _ = inspect(file.path());
    }
}
