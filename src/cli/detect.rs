//! `rusa detect`.

use super::run::{Trained, open_data};
use super::say;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rusa::data::Options;
use rusa::device::Device;
use rusa::eval::Spread;
use rusa::eval::detection::{
    Annotations, AveragePrecision, Detector, DetectorSpec, Found, Scene, SceneOptions, average_precision,
    draw_detections,
};
use rusa::files::write_atomically;
use serde_json::{Value, json};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Scenes that --out shows, and the score from which it shows what was found.
const SHOWN: usize = 12;
const SURE: f64 = 0.3;

/// Judge an encoder by object detection: a small anchor-free detector on its res3, res4 and res5, beside the same on an
/// untrained encoder.
///
/// Scenes are composed from the pictures of a labelled data set, several at random places and scales over clutter; or
/// they are annotated photographs, of Pascal VOC or in COCO's format. Judged by mean average precision as COCO does.
#[derive(clap::Args)]
pub struct Arguments {
    /// A run folder, or its encoder.safetensors.
    #[arg(value_name = "WEIGHTS|RUN")]
    from: PathBuf,
    /// `embedded`, a folder of labelled images, a Pascal VOC folder, or with --annotations a folder of pictures.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// COCO's JSON file of objects, or a folder of Pascal VOC XML files.
    #[arg(long, value_name = "FILE|FOLDER")]
    annotations: Option<PathBuf>,
    /// Train the encoder too; without it only the heads learn.
    #[arg(long)]
    tune: bool,
    /// Passes over the scenes to learn from.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Scenes to learn from, where they are composed; a quarter as many to judge on.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(16..))]
    scenes: u32,
    /// Pixels of a scene in height and width.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(32..=1024))]
    size: u32,
    /// Training runs behind the intervals.
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=1000))]
    seeds: u32,
    /// Peak learning rate of AdamW.
    #[arg(long, default_value_t = 4e-3)]
    lr: f32,
    /// Also write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw what was found: green is there, orange is found, red is wrong.
    #[arg(long, value_name = "FILE.png")]
    out: Option<PathBuf>,
    /// auto, cpu or vm (the PTX machine: slow, for study).
    #[arg(long, default_value = "auto")]
    device: String,
}

/// What to learn from and to judge on.
struct Scenes {
    classes: Vec<String>,
    train: Vec<Scene>,
    test: Vec<Scene>,
    composed: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let device = Device::parse(&arguments.device)?;
    let trained = Trained::open(&arguments.from)?;
    let about = &trained.about;
    let scenes = Scenes::open(&arguments, about.channels, about.seed)?;
    let spec = DetectorSpec {
        encoder: &about.encoder,
        policy: &about.augment,
        size: arguments.size as usize,
        channels: about.channels,
        classes: scenes.classes.len(),
        tune: arguments.tune,
        batch: 16.min(scenes.train.len()),
        epochs: arguments.epochs as usize,
        lr: arguments.lr,
        device,
    };
    let mut detector = Detector::new(&spec)?;
    let truths: Vec<_> = scenes.test.iter().map(|scene| scene.truths.clone()).collect();
    let bar = ProgressBar::new((2 * arguments.seeds as usize * detector.steps(scenes.train.len())) as u64);
    let template = "{bar:30.cyan/dim} {pos}/{len} steps  {msg}  {elapsed}<{eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let mut results = [Vec::new(), Vec::new()];
    let mut shown: Option<Vec<Vec<Found>>> = None;
    for seed in (0..u64::from(arguments.seeds)).map(|i| about.seed.wrapping_add(i)) {
        for (results, weights) in results.iter_mut().zip([Some(&trained.state), None]) {
            let name = if weights.is_some() { "pretrained" } else { "untrained" };
            detector.train(weights, &scenes.train, seed, &mut |loss| {
                bar.set_message(format!("{name}, loss {loss:.3}"));
                bar.inc(1);
            })?;
            let found = detector.find(&scenes.test)?;
            results.push(average_precision(&truths, &found, scenes.classes.len())?);
            // Of the first run, which is on pretrained weights.
            shown.get_or_insert(found);
        }
    }
    bar.finish_and_clear();
    let [pretrained, untrained] = results.map(|runs| summary(&runs, &scenes.classes));
    let learns = if arguments.tune { "encoder and heads" } else { "heads alone, on a frozen encoder" };
    say!(
        "detection, training {learns}; mean over {} seeds and its 95 % interval (Student's t)",
        arguments.seeds
    );
    say!("{:<12}{:>25}{:>25}", "encoder", "mAP .50:.95", "AP at IoU .50");
    for (name, result) in [("pretrained", &pretrained), ("untrained", &untrained)] {
        let show = |key: &str| {
            let share = |of: &str| 100.0 * result[key][of].as_f64().unwrap_or(f64::NAN);
            format!("{:6.2} % [{:5.1}, {:5.1}]", share("mean"), share("low"), share("high"))
        };
        say!("{name:<12}{:>25}{:>25}", show("ap"), show("ap50"));
    }
    if let Some(path) = &arguments.out {
        let n = SHOWN.min(scenes.test.len());
        let found = shown.unwrap_or_default();
        draw(path, &scenes.test[..n], &found[..n])?;
    }
    if let Some(path) = &arguments.json {
        let result = json!({
            "data": arguments.data,
            "encoder": about.encoder.name,
            "composed": scenes.composed,
            "tune": arguments.tune,
            "epochs": arguments.epochs,
            "size": arguments.size,
            "train_scenes": scenes.train.len(),
            "test_scenes": scenes.test.len(),
            "pretrained": pretrained,
            "untrained": untrained,
        });
        let text = serde_json::to_string_pretty(&result).context("results")?;
        write_atomically(path, format!("{text}\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Scenes {
    fn open(arguments: &Arguments, channels: usize, seed: u64) -> Result<Self> {
        let (path, size) = (Path::new(&arguments.data), arguments.size as usize);
        if arguments.annotations.is_some() || path.join("Annotations").is_dir() {
            let set = Annotations::open(path, arguments.annotations.as_deref())?;
            let [train, test] = set.scenes(size, channels)?;
            return Ok(Self { classes: set.classes, train, test, composed: false });
        }
        let data = open_data(&arguments.data, &Options { channels: Some(channels), ..Options::default() })?;
        if !data.labelled {
            bail!("{} has neither labels to compose scenes by nor annotations", arguments.data);
        }
        let options = SceneOptions { size, ..SceneOptions::default() };
        let count = arguments.scenes as usize;
        let train = options.compose(&data.train, count, seed)?;
        let test = options.compose(&data.test, count.div_ceil(4), seed)?;
        Ok(Self { classes: data.classes, train, test, composed: true })
    }
}

/// Spreads over runs, and the mean average precision of each class.
fn summary(runs: &[AveragePrecision], classes: &[String]) -> Value {
    let spread = |of: fn(&AveragePrecision) -> f64| Spread::of(runs.iter().map(of).collect(), [0.0, 1.0]);
    let of_class = |class: usize| {
        let aps: Option<Vec<f64>> = runs.iter().map(|run| run.by_class[class]).collect();
        aps.map(|aps| aps.iter().sum::<f64>() / aps.len() as f64)
    };
    let by_class: serde_json::Map<String, Value> =
        classes.iter().enumerate().map(|(class, name)| (name.clone(), json!(of_class(class)))).collect();
    json!({
        "ap": spread(|run| run.ap),
        "ap50": spread(|run| run.ap50),
        "ap75": spread(|run| run.ap75),
        "ap_by_class": by_class,
    })
}

fn draw(path: &Path, scenes: &[Scene], found: &[Vec<Found>]) -> Result<()> {
    let mut png = Cursor::new(Vec::new());
    draw_detections(scenes, found, SURE)
        .write_to(&mut png, image::ImageFormat::Png)
        .context("cannot make the picture")?;
    write_atomically(path, png.get_ref())?;
    say!("picture: {}", path.display());
    Ok(())
}
