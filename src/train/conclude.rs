//! After the last step: export the encoder, judge it beside its baselines, write the summary and the report.

use super::signs::{COLLAPSE_IMAGES, collapse_of, loss_of, prototypes_of, two_views};
use super::{Checkpoint, RunFolder, Watcher, export_encoder};
use crate::config::Config;
use crate::data::Dataset;
use crate::device::Device;
use crate::eval::{
    Collapse, Embedder, Features, KnnOptions, Layer, LinearOptions, Scores, Signs, final_verdict, judge,
    raw_pixels,
};
use crate::graph::Kind;
use crate::graph::plan::{Plan, Target};
use crate::{Error, Result, files, report, ssl};
use serde_json::{Value, json};
use std::time::Instant;

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
    let views = two_views(&mut with_head, &config.augment, config.seed, &data.test, COLLAPSE_IMAGES)?;
    let collapse = |output: usize| collapse_of([&views[0][output], &views[1][output]]);
    let signs = Signs {
        collapse: collapse(usize::from(method.projects))?,
        prototypes: prototypes_of(&checkpoint.tensors, &mut with_head, &data.test)?,
        loss: loss_of(config, &checkpoint.tensors, folder)?,
    };
    let described = |c: &Collapse| -> Result<Value> {
        let verdict = final_verdict(c);
        let mut value = to_json(c)?;
        value["verdict"] = verdict.state().into();
        value["advice"] = verdict.advice().into();
        Ok(value)
    };

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
    // The first verdict is the run's, on all signs; those in `collapse` are on the spread of the features alone.
    summary["verdicts"] = to_json(&signs.verdicts(Some(method), true))?;
    summary["prototypes"] = to_json(&signs.prototypes)?;
    summary["loss_beside_chance"] = to_json(&signs.loss)?;
    summary["collapse"] = described(&signs.collapse)?;
    summary["collapse_of_features"] = described(&collapse(0)?)?;
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
