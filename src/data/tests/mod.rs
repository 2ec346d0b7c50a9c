//! Data sets made in temporary folders, opened and read.

mod decode;
mod folder;
mod loader;
mod sets;

use image::{ImageFormat, RgbImage};
use std::fs;
use std::path::Path;

/// A `width` × 4 picture of `rgb`, in the format of the file's ending.
fn write_picture(path: &Path, width: u32, rgb: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(width, 4, image::Rgb(rgb))
        .save_with_format(path, ImageFormat::from_path(path).unwrap())
        .unwrap();
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
