//! After the last step: export the encoder, judge it beside its baselines, write the summary and the report.

use super::{Checkpoint, RunFolder, Watcher, export_encoder};
use crate::augment::{draw, stream};
use crate::config::Config;
use crate::data::Dataset;
use crate::device::Device;
use crate::eval::{
    Collapse, Embedder, Features, KnnOptions, Layer, LinearOptions, Scores, final_verdict, judge, raw_pixels,
};
use crate::graph::Kind;
use crate::graph::plan::{Plan, Target};
use crate::{Error, Result, files, report, ssl};
use serde_json::{Value, json};
use std::time::Instant;

/// Held-out images whose two views tell about collapse.
const COLLAPSE_IMAGES: usize = 1024;

/// Judges a trained run and writes what remains of its folder. Returns the summary.
pub fn conclude(
    config: &Config,
    data: &Dataset,
    folder: &RunFolder,
    watch: &mut dyn Watcher,
) -> Result<Value> {
    let checkpoint = Checkpoint::read(&folder.checkpoint())?;
    let about = json!({
        "encoder": config.encoder, "size": config.data.size, "channels": config.data.channels,
        "augment": config.augment, "seed": config.seed,
    });
    export_encoder(&folder.encoder(), &checkpoint.tensors, &about, checkpoint.position.step)?;

    let began = Instant::now();
    watch.message("judging on held-out images: the trained encoder, the untrained one, raw pixels");
    let (size, channels) = (config.data.size, config.data.channels);
    let device = Device::parse(&config.device)?;
    // Thousands of images through the PTX machine would take hours.
    let judge_on = if device == Device::Vm { Device::Cpu } else { device };
    let embedder = |projector| {
        Embedder::new(&config.encoder, projector, &Layer::Features, &config.augment, size, channels, judge_on)
    };
    let mut trained = embedder(None)?;
    trained.load(&checkpoint.tensors)?;
    let features = [trained.embed(&data.train)?, trained.embed(&data.test)?];
    let mut untrained = embedder(None)?;
    untrained.initialize(config.seed)?;
    let baseline = [untrained.embed(&data.train)?, untrained.embed(&data.test)?];

    let method = ssl::find(&config.method)?;
    let mut with_head = embedder(method.projects.then_some(&config.projector))?;
    with_head.load(&checkpoint.tensors)?;
    let count = data.test.len().min(COLLAPSE_IMAGES);
    let mut views = Vec::new();
    for view in 0..2 {
        // Epochs are counted from 0: no epoch of a run ever draws these views.
        let draw = |image: &crate::data::Image, i: usize| {
            let mut rng = stream(config.seed, EVALUATION_EPOCH, i as u64, view, 2);
            draw(&config.augment, view, &mut rng, image.height, image.width)
        };
        views.push(with_head.embed_views(&data.test, count, &draw)?);
    }
    let collapse = |output: usize| -> Result<Value> {
        let (a, b): (&Features, &Features) = (&views[0][output], &views[1][output]);
        let c = Collapse::of_views(&a.data, &b.data, a.d)?;
        let verdict = final_verdict(&c);
        let mut value = to_json(&c)?;
        value["verdict"] = verdict.state().into();
        value["advice"] = verdict.advice().into();
        Ok(value)
    };
    let (embeddings, backbone) = (collapse(usize::from(method.projects))?, collapse(0)?);

    let scores = |[train, test]: &[Features; 2]| -> Result<Value> {
        if data.labelled { to_json(&score(config, train, test)?) } else { Ok(json!({})) }
    };
    let parameters: usize = with_head
        .graph()
        .of_kind(Kind::Param)
        .into_iter()
        .filter(|&t| with_head.graph().info(t).name.starts_with("encoder."))
        .map(|t| with_head.graph().ty(t).elements())
        .sum();
    let seconds = checkpoint.position.seconds;
    let (_, _, known) = super::labels::given(config, data)?;
    let step = super::record_step(config, known, 0, None)?;
    let target = if device == Device::Cpu { Target::Cpu } else { Target::Kernels };
    let memory = Plan::new(&step.graph, target).arena_bytes;
    let images = checkpoint.position.step as f64 * config.batch as f64;
    let mut summary = json!({
        "method": config.method,
        "family": method.family,
        "encoder": config.encoder.name,
        "encoder_width": config.encoder.width,
        "parameters": parameters,
        "dataset": config.data.path,
        "classes": data.classes.len(),
        "train_images": data.train.len(),
        "test_images": data.test.len(),
        "bad_files": data.bad.count(),
        "epochs": config.epochs,
        "batch": config.batch,
        "steps": checkpoint.position.step,
        "seed": config.seed,
        "device": device.to_string(),
        "threads": rayon::current_num_threads(),
        "precision": config.precision,
        "seconds": seconds,
        "planned_memory_bytes": memory,
        "images_per_second": images / seconds.max(f64::MIN_POSITIVE),
        "views_per_image": super::inputs(config)?.sizes().len(),
        "loss": last_loss(folder)?,
    });
    if let (Value::Object(summary), Value::Object(own)) = (&mut summary, scores(&features)?) {
        summary.extend(own);
    }
    summary["untrained"] = scores(&baseline)?;
    let pixels = [
        raw_pixels(&data.train, &config.augment, size, channels)?,
        raw_pixels(&data.test, &config.augment, size, channels)?,
    ];
    summary["raw_pixels"] = scores(&pixels)?;
    summary["collapse"] = embeddings;
    summary["collapse_of_features"] = backbone;
    summary["evaluation_seconds"] = began.elapsed().as_secs_f64().into();
    summary["version"] = env!("CARGO_PKG_VERSION").into();
    let text =
        serde_json::to_string_pretty(&summary).map_err(|e| Error::data(folder.summary(), e.to_string()))?;
    files::write_atomically(&folder.summary(), format!("{text}\n").as_bytes())?;

    watch.message("drawing the report");
    let page = report::collect(config, data, folder, &features[1])?;
    files::write_atomically(&folder.report(), report::render(&page).as_bytes())?;
    Ok(summary)
}

/// The number of no training epoch.
const EVALUATION_EPOCH: u32 = (1 << 24) - 1;

fn score(config: &Config, train: &Features, test: &Features) -> Result<Scores> {
    let knn = KnnOptions { k: config.eval.knn_k, temperature: f64::from(config.eval.knn_temperature) };
    judge(train, test, Some(&knn), Some(&LinearOptions { seed: config.seed, ..LinearOptions::default() }))
}

fn to_json(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Error::Graph(e.to_string()))
}

fn last_loss(folder: &RunFolder) -> Result<Value> {
    let metrics = report::read_metrics(folder)?;
    Ok(metrics.iter().rev().find(|r| r["kind"] == "step").map_or(Value::Null, |r| r["loss"].clone()))
}
