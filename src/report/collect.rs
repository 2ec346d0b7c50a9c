//! What the report shows, gathered from a run's folder and its data set.

use super::{MapPoint, NeighbourRow, Picture, ReportData};
use crate::config::Config;
use crate::data::{Dataset, Image, Sample, Split};
use crate::eval::{Features, map2d, neighbours};
use crate::rng::{Philox, Purpose};
use crate::train::{RunFolder, inputs, view_maker};
use crate::{Error, Result};
use serde_json::Value;

/// Images shown beside their views.
const VIEWS: usize = 6;
/// Images whose neighbours are shown, and how many of them.
const QUERIES: usize = 8;
const NEIGHBOURS: usize = 8;
/// Points of the map.
const MAP: usize = 1000;

/// Gathers the report of a run; `features` are those of the held-out images.
pub fn collect(
    config: &Config,
    data: &Dataset,
    folder: &RunFolder,
    features: &Features,
) -> Result<ReportData> {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e));
    let summary = serde_json::from_str(&read(folder.summary())?)
        .map_err(|e| Error::data(folder.summary(), e.to_string()))?;
    let mut rng = Philox::new(config.seed, Purpose::Report, 0, 0);
    let mut chosen: Vec<usize> = (0..data.test.len()).collect();
    rng.shuffle(&mut chosen);

    let queries = &chosen[..QUERIES.min(chosen.len())];
    let found = neighbours(features, queries, NEIGHBOURS)?;
    let mut rows = Vec::new();
    for (&query, found) in queries.iter().zip(found) {
        let found = found
            .iter()
            .map(|n| Ok((picture(&data.test, n.row)?, features.labels[n.row], n.similarity)))
            .collect::<Result<_>>()?;
        rows.push(NeighbourRow { query: (picture(&data.test, query)?, features.labels[query]), found });
    }

    let mut points = chosen[..MAP.min(chosen.len())].to_vec();
    points.sort_unstable();
    let values: Vec<f32> = points.iter().flat_map(|&i| features.row(i).iter().copied()).collect();
    let map = map2d(&values, features.d)?
        .into_iter()
        .zip(&points)
        .map(|([x, y], &i)| MapPoint { x, y, label: features.labels[i] })
        .collect();

    Ok(ReportData {
        title: format!("{} · {} on {}", config.method, config.encoder.name, config.data.path),
        summary,
        metrics: read_metrics(folder)?,
        config_toml: config.to_toml()?,
        command: format!("rusa pretrain --config {} --out DIR", folder.config().display()),
        classes: data.classes.clone(),
        views: views(config, &data.train)?,
        neighbours: rows,
        map,
    })
}

/// The objects of `metrics.jsonl`; none if the run has not logged yet.
pub fn read_metrics(folder: &RunFolder) -> Result<Vec<Value>> {
    match std::fs::read_to_string(folder.metrics()) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io(folder.metrics(), e)),
    }
}

fn picture(split: &Split, i: usize) -> Result<Picture> {
    let mut image = Image::default();
    split.read(i, &mut image)?;
    Ok(Picture { width: image.width, height: image.height, channels: image.channels, pixels: image.pixels })
}

/// Training images with the views that the first epoch saw.
fn views(config: &Config, split: &Split) -> Result<Vec<Vec<Picture>>> {
    let channels = config.data.channels;
    let (fill, inputs) = (view_maker(config)?, inputs(config)?);
    let op = config.augment.op(config.data.size);
    let byte = |(i, v): (usize, &f32)| {
        ((v * op.std_of(i % channels) + op.mean_of(i % channels)) * 255.0).round() as u8
    };
    let mut shown = Vec::new();
    for id in 0..VIEWS.min(split.len()) {
        let mut image = Image::default();
        split.read(id, &mut image)?;
        let mut views: Vec<_> = inputs.sizes().iter().map(|s| vec![0.0; s * s * channels]).collect();
        let mut slots: Vec<&mut [f32]> = views.iter_mut().map(Vec::as_mut_slice).collect();
        let mut labels = vec![0; inputs.labels()];
        fill(Sample { epoch: 0, id }, &image, &mut slots, &mut labels)?;
        let Image { height, width, channels, pixels } = image;
        let mut row = vec![Picture { width, height, channels, pixels }];
        row.extend(inputs.sizes().iter().zip(&views).map(|(&size, view)| Picture {
            width: size,
            height: size,
            channels,
            pixels: view.iter().enumerate().map(byte).collect(),
        }));
        shown.push(row);
    }
    Ok(shown)
}
