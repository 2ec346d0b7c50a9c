//! `rusa eval`.

mod check;
mod few;
mod finetune;
mod layers;
mod search;
mod sources;

use super::run::{Trained, open_data};
use super::say;
use anyhow::{Context, Result, bail};
use finetune::Tuning;
use rusa::data::Options;
use rusa::device::Device;
use rusa::eval::{KnnOptions, Labels, LinearOptions, Spread, judge, linear_over_seeds};
use rusa::files::write_atomically;
use serde_json::{Value, json};
use sources::Sources;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Draws and starts where --seeds does not say how many.
const SEEDS: usize = 5;

/// Judge an encoder's features on held-out images, beside those of the same encoder untrained.
///
/// Trains on the data set's training images and judges on its test split, or on a seeded hold-out where it has none.
/// Of --knn, --linear, --layers, --few, --finetune, --retrieval and --clustering any may be combined; without one it
/// does --knn and --linear. An option that nothing asked for would use is refused.
///
/// Where did pretraining put what it learnt? --layers. How many labels does it save? --few. Does the feature space bring
/// like to like without any label? --retrieval, --clustering.
#[derive(clap::Args)]
pub struct Arguments {
    /// A run folder, or its encoder.safetensors.
    #[arg(value_name = "WEIGHTS|RUN")]
    from: PathBuf,
    /// `embedded`, or a folder of labelled images.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// Weighted k-nearest neighbours (Wu et al. 2018).
    #[arg(long)]
    knn: bool,
    /// Linear probe: logistic regression on the frozen features, by L-BFGS on all training images at once.
    ///
    /// Of seven L2 strengths, 0.1 down to 0.0001, it takes the one that does best on training images held back. Where
    /// others train heads at several learning rates side by side, there is nothing to sweep: the loss is convex, so a
    /// learning rate would only decide how near to the one optimum of each strength a run ends, and L-BFGS goes there.
    #[arg(long)]
    linear: bool,
    /// Linear probe on every layer: conv1, res2 … res5, the features, and each layer of a run's projector.
    ///
    /// Spatial layers are averaged over a grid as fine as leaves at most 1,024 features, so that none wins by its size.
    /// Pretext tasks often drop in the last layers, which serve the task; invariance methods rise to the end. With
    /// --seeds, each layer's probe under so many seeds too.
    #[arg(long)]
    layers: bool,
    /// Linear probe with n labels a class, over several class-balanced draws, beside untrained features and raw pixels.
    ///
    /// Without a list: 1, 2, 5, 10, 20, 50, … as far as the smallest class goes. Intervals are Student's t over draws;
    /// all see the same draws, so their differences are paired, and told with intervals of their own.
    #[arg(long, value_name = "1,10,100,…", num_args = 0..=1, default_missing_value = "")]
    few: Option<String>,
    /// With --few: beside the probes, fine-tune the encoder and train it from scratch, on the same draws.
    #[arg(long, requires = "few")]
    tuned: bool,
    /// Search by cosine similarity, each test image asking for the others of its class: mean average precision and
    /// recall at 1, 5 and 10.
    #[arg(long)]
    retrieval: bool,
    /// k-means on the test images' features, as many clusters as classes: mutual information, Rand index, and accuracy
    /// under the best assignment of clusters to classes.
    #[arg(long)]
    clustering: bool,
    /// Fine-tune encoder and head on that fraction of each class's labels, beside the same from scratch and a linear
    /// probe of raw pixels; may be a list.
    ///
    /// At least one label a class, and whole images: the table says which share that is. For a number of labels a class,
    /// --few N --tuned.
    #[arg(long, value_name = "0.01,0.1,1", value_delimiter = ',')]
    finetune: Vec<f64>,
    /// Seeds behind the intervals of --few, --finetune and --clustering, 5 if not given (3 with --finetune). With
    /// --linear and --layers, how the probe fares under so many choices of the training images that pick its L2
    /// strength.
    ///
    /// How much a figure depends on the seed of pretraining is another question: pretrain several runs, `rusa compare`.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..=1000))]
    seeds: Option<u32>,
    /// Neighbours that vote in --knn, 200 if not given; at most all training images.
    #[arg(long)]
    k: Option<usize>,
    /// Temperature of their votes, 0.1 if not given.
    #[arg(long)]
    temperature: Option<f64>,
    /// Also write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw the curve of --layers or --few.
    #[arg(long, value_name = "FILE.svg")]
    out: Option<PathBuf>,
    /// auto, cpu, cuda (cuda:1, …) or vm (the PTX machine: slow, for study).
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let device = Device::parse(&arguments.device)?;
    check::arguments(&arguments)?;
    let trained = Trained::open(&arguments.from)?;
    let options = Options { channels: Some(trained.about.channels), ..Options::default() };
    let data = open_data(&arguments.data, &options)?;
    if !data.labelled {
        bail!(
            "{} has no labels to judge by; put the pictures of each class into a folder of its own",
            arguments.data
        );
    }
    let counts = arguments.few.as_deref().map(|list| few::counts(list, &data)).transpose()?;
    let (knn, linear) = (arguments.does_knn(), arguments.does_linear());
    let knn = knn.then(|| check::neighbours(&arguments, data.train.len())).transpose()?;
    let seeds = arguments.seeds.map_or(SEEDS, |k| k as usize);
    let probe = LinearOptions { seed: trained.about.seed, ..LinearOptions::default() };

    let mut results = json!({"data": arguments.data, "test_images": data.test.len(), "encoder": trained.about.encoder.name});
    let pixels = counts.is_some() || arguments.retrieval || arguments.clustering;
    let standards = knn.is_some() || linear;
    let sources = if standards || pixels {
        Sources::embed(&trained, &data, device, standards || counts.is_some(), pixels)?
    } else {
        Sources::default()
    };
    if standards {
        standard(&sources, knn.as_ref(), linear.then_some(&probe), arguments.seeds, &mut results)?;
    }
    let curves = counts.as_ref().map(|counts| few::probe(&sources, counts, seeds, &probe)).transpose()?;
    if arguments.retrieval {
        results["retrieval"] = search::retrieve(&sources)?;
    }
    if arguments.clustering {
        results["clustering"] = search::cluster(&sources, trained.about.seed, seeds)?;
    }
    // Training needs the memory.
    drop(sources);
    if let (Some(counts), Some(mut curves)) = (&counts, curves) {
        if arguments.tuned {
            let all: Vec<Labels> = counts.iter().copied().map(Labels::PerClass).collect();
            curves.extend(few::tune(&Tuning::new(&trained, &data, device, seeds, &all)?, counts)?);
        }
        results["few"] = few::show(&curves, counts, seeds, arguments.out.as_deref())?;
    }
    if !arguments.finetune.is_empty() {
        let seeds = arguments.seeds.map_or(finetune::SEEDS, |k| k as usize);
        results["finetune"] = finetune::run(&trained, &data, device, &arguments.finetune, seeds, &probe)?;
    }
    if arguments.layers {
        let (seeds, out) = (arguments.seeds.map(|k| k as usize), arguments.out.as_deref());
        results["layers"] = layers::run(&trained, &data, device, &probe, seeds, out)?;
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&results).context("results")?;
        write_atomically(path, format!("{text}\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// kNN and the linear probe, the trained encoder's scores at the top of the results.
fn standard(
    sources: &Sources,
    knn: Option<&KnnOptions>,
    linear: Option<&LinearOptions>,
    seeds: Option<u32>,
    results: &mut Value,
) -> Result<()> {
    for source in sources.of_encoders() {
        let (train, test) = (&source.train, &source.test);
        let mut scores = serde_json::to_value(judge(train, test, knn, linear)?)?;
        let show = |key: &str| scores[key].as_f64().map_or("–".into(), |v| format!("{:.2} %", v * 100.0));
        let mut line =
            format!("{:<10} kNN {:>8}   linear {:>8}", source.name, show("knn_top1"), show("linear_top1"));
        if let (Some(seeds), Some(linear)) = (seeds, linear) {
            let spread = linear_over_seeds(train, test, linear, seeds as usize)?;
            line += &format!("   over {seeds} seeds {}", percent(spread.mean, (spread.low, spread.high)));
            scores["linear_seeds"] = serde_json::to_value(spread)?;
        }
        say!("{line}");
        match (&mut *results, scores) {
            (Value::Object(results), Value::Object(scores)) if source.name == sources::TRAINED => {
                results.extend(scores)
            }
            (results, scores) => results[source.key] = scores,
        }
    }
    Ok(())
}

/// A share and its interval, as a table shows them.
fn percent(share: f64, (low, high): (f64, f64)) -> String {
    format!("{:6.2} % [{:5.1}, {:5.1}]", 100.0 * share, 100.0 * low, 100.0 * high)
}

/// How much better one way is than another, measured on the same draws.
struct Difference {
    /// In JSON.
    key: String,
    spread: Spread,
}

impl Difference {
    fn of((a, own): (&str, &Spread), (b, other): (&str, &Spread)) -> Self {
        Self { key: format!("{a}_minus_{b}"), spread: own.minus(other) }
    }

    /// In points, with the interval.
    fn points(&self) -> String {
        let Spread { mean, low, high, .. } = &self.spread;
        format!("{:+6.1} [{:+5.1}, {:+5.1}]", 100.0 * mean, 100.0 * low, 100.0 * high)
    }
}

/// Writes a figure, if a file was named for it.
fn draw(path: Option<&Path>, figure: &rusa::report::Lines) -> Result<()> {
    if let Some(path) = path {
        write_atomically(path, rusa::report::lines(figure).as_bytes())?;
        say!("curve: {}", path.display());
    }
    Ok(())
}
