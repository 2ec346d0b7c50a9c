//! `rusa detect`.

mod learn;
mod scenes;

use super::run::Trained;
use super::say;
use anyhow::{Context, Result, bail};
use learn::{Learnt, Summary};
use rusa::device::Device;
use rusa::eval::Spread;
use rusa::eval::detection::{Found, Scene, draw_detections};
use rusa::files::write_atomically;
use scenes::Scenes;
use serde_json::json;
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
/// they are annotated photographs, of Pascal VOC or in COCO's format. Judged by mean average precision as COCO does, on
/// scenes held out: VOC's own split where ImageSets/Main lists one, or --test-annotations, else one photograph in five.
/// Boxes are cut to their photograph.
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
    /// Annotations of photographs to judge on, so that all of --data is to learn from: COCO's JSON file, a folder of
    /// Pascal VOC XML files, or a whole Pascal VOC folder.
    #[arg(long, value_name = "FILE|FOLDER")]
    test_annotations: Option<PathBuf>,
    /// The folder of their pictures, where it is not that of --data: COCO's val2017 beside train2017.
    #[arg(long, value_name = "FOLDER", requires = "test_annotations")]
    test_data: Option<PathBuf>,
    /// The share of pictures that may be unreadable (`data.max_bad`); these are named, counted and left out.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    max_bad: f64,
    /// Train the encoder too; without it only the heads learn.
    #[arg(long)]
    tune: bool,
    /// Learn from that share of the scenes, drawn anew under each seed, the same for both encoders; may be a list.
    ///
    /// Few scenes are seen more often than --epochs says: for 200 steps, or as many as all of them would take.
    #[arg(long, value_name = "0.01,0.1,1", value_delimiter = ',', default_value = "1")]
    share: Vec<f64>,
    /// Passes over the scenes to learn from.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Scenes to learn from, where they are composed, 1,000 if not given; a quarter as many to judge on.
    #[arg(long, value_parser = clap::value_parser!(u32).range(16..))]
    scenes: Option<u32>,
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
    /// auto, cpu, cuda (cuda:1, …) or vm (the PTX machine: slow, for study).
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let device = Device::parse(&arguments.device)?;
    if let Some(share) = arguments.share.iter().find(|share| !(**share > 0.0 && **share <= 1.0)) {
        bail!("--share {share}: a share of the scenes is above 0 and at most 1, such as --share 0.01,0.1,1");
    }
    let trained = Trained::open(&arguments.from)?;
    let scenes = Scenes::open(&arguments, trained.about.channels, trained.about.seed)?;
    for note in &scenes.notes {
        eprintln!("note: {note}");
    }
    let (shares, shown) = learn::run(&arguments, &trained, &scenes, device)?;
    show(&shares, &arguments)?;
    if let Some(path) = &arguments.out {
        let n = SHOWN.min(scenes.test.len());
        draw(path, &scenes.test[..n], &shown[..n])?;
    }
    if let Some(path) = &arguments.json {
        let mut result = json!({
            "data": arguments.data,
            "encoder": trained.about.encoder.name,
            "composed": scenes.composed,
            "tune": arguments.tune,
            "epochs": arguments.epochs,
            "size": arguments.size,
            "train_scenes": scenes.train.len(),
            "test_scenes": scenes.test.len(),
            "shares": shares,
            "notes": scenes.notes,
        });
        // At the top, those of the largest share.
        if let Some(Learnt { pretrained, untrained, difference, .. }) = shares.last() {
            result["pretrained"] = json!(pretrained);
            result["untrained"] = json!(untrained);
            result["difference"] = json!(difference);
        }
        let text = serde_json::to_string_pretty(&result).context("results")?;
        write_atomically(path, format!("{text}\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(shares: &[Learnt], arguments: &Arguments) -> Result<()> {
    let learns = if arguments.tune { "encoder and heads" } else { "heads alone, on a frozen encoder" };
    say!(
        "detection, training {learns}; mean over {} seeds and its 95 % interval (Student's t)",
        arguments.seeds
    );
    say!("{:<10}{:<14}{:>25}{:>25}", "scenes", "encoder", "mAP .50:.95", "AP at IoU .50");
    let percent =
        |s: &Spread| format!("{:6.2} % [{:5.1}, {:5.1}]", 100.0 * s.mean, 100.0 * s.low, 100.0 * s.high);
    let points =
        |s: &Spread| format!("{:+6.2}   [{:+5.1}, {:+5.1}]", 100.0 * s.mean, 100.0 * s.low, 100.0 * s.high);
    for Learnt { scenes, pretrained, untrained, difference, .. } in shares {
        for (name, Summary { ap, ap50, .. }) in [("pretrained", pretrained), ("untrained", untrained)] {
            say!("{scenes:<10}{name:<14}{:>25}{:>25}", percent(ap), percent(ap50));
        }
        let [ap, ap50] = [&difference.ap, &difference.ap50].map(points);
        say!("{scenes:<10}{:<14}{ap:>25}{ap50:>25}", "gained");
    }
    say!("gained: in points, paired by seed");
    Ok(())
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
