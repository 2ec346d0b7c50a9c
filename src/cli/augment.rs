//! `rusa augment`.

use super::run::open_data;
use super::say;
use anyhow::{Context, Result};
use rusa::augment::{PRESETS, Picture, Row, draw, grid, preset, stream};
use rusa::data::{Image, Options};
use rusa::files::write_atomically;
use rusa::ops::augment::Scratch;
use std::io::Cursor;
use std::path::PathBuf;
use std::process::ExitCode;

/// Draw a picture of images beside their augmented views: what the network is really shown.
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Arguments {
    /// `embedded`, or a folder of images.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// A published augmentation, by name.
    #[arg(long, default_value = "fashion-mnist")]
    preset: String,
    /// The picture to write.
    #[arg(long, value_name = "PNG")]
    out: PathBuf,
    /// Images shown.
    #[arg(long, default_value_t = 8)]
    rows: usize,
    /// Views of each.
    #[arg(long, default_value_t = 6)]
    views: usize,
    /// Pixels of a view; the images' own size (at most 64) if not given.
    #[arg(long)]
    size: Option<usize>,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn after_help() -> String {
    let mut text = String::from("Presets:\n");
    for preset in PRESETS {
        text += &format!("  {:<24} {}\n", preset.name, preset.source);
    }
    text
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { data, preset: name, out, rows, views, size, seed } = arguments;
    let data = open_data(&data, &Options::default())?;
    let policy = preset(&name)?.policy();
    let size = size.unwrap_or_else(|| data.train.uniform_size().map_or(64, |[h, w]| h.max(w).min(64)));
    policy.check(size, data.channels)?;
    let op = policy.op(size);
    let len = size * size * data.channels;
    let mut scratch = Scratch::default();
    let mut images = Vec::new();
    for i in 0..rows.min(data.train.len()) {
        let mut image = Image::default();
        data.train.read(i, &mut image)?;
        let mut made = vec![vec![0.0; len]; views];
        for (v, view) in made.iter_mut().enumerate() {
            // Odd columns show the second view's policy where the two differ.
            let row =
                draw(&policy, v % 2, &mut stream(seed, 0, i as u64, v, views), image.height, image.width);
            op.apply(&image.pixels, image.height, image.width, image.channels, &row, view, &mut scratch)
                .map_err(anyhow::Error::msg)?;
        }
        images.push((image, made));
    }
    let table: Vec<Row> = images
        .iter()
        .map(|(image, made)| Row {
            image: Picture {
                pixels: &image.pixels,
                height: image.height,
                width: image.width,
                channels: image.channels,
            },
            views: made.iter().map(Vec::as_slice).collect(),
        })
        .collect();
    let mut png = Cursor::new(Vec::new());
    grid(&table, &op).write_to(&mut png, image::ImageFormat::Png).context("cannot make the picture")?;
    write_atomically(&out, png.get_ref())?;
    say!("{} images and {views} views of each, preset {name}: {}", table.len(), out.display());
    Ok(ExitCode::SUCCESS)
}
