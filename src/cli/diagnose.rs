//! `rusa diagnose`.

use super::run::{Trained, open_data};
use super::say;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rusa::data::{Dataset, Image, Options};
use rusa::device::Device;
use rusa::eval::{
    Embedder, Features, Invariance, Layer, Relation, Signs, Verdict, invariance, singular_values,
};
use rusa::files::write_atomically;
use rusa::report::invariance_svg;
use rusa::ssl;
use rusa::train::{RunFolder, collapse_of, loss_of, prototypes_of, two_views};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Images whose neighbours and views are looked at.
const RELATION_IMAGES: usize = 2048;

/// Look at the two properties features should have, and at collapse.
///
/// Relation: views of an image lie together (alignment), images spread (uniformity), neighbours have the same label.
/// Invariance: features stay while an image moves, turns, darkens, blurs … beside those of the untrained encoder.
/// Collapse: spread, rank, spectrum, dead prototypes, a loss stuck at chance, each with advice.
///
/// `rusa compare` shows the result of a run if it is written to RUN/diagnostics.json.
#[derive(clap::Args)]
pub struct Arguments {
    /// A run folder, or its encoder.safetensors (then without what only a run knows: embeddings, prototypes, loss).
    #[arg(value_name = "RUN|WEIGHTS")]
    from: PathBuf,
    /// `embedded`, or a folder of images.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// Held-out images the invariance curves are averaged over.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..))]
    images: u32,
    /// Also write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where invariance.svg goes; the run folder (or the weight file's) if not given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// auto, cpu, cuda (cuda:1, …) or vm (the PTX machine: slow, for study).
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let device = Device::parse(&arguments.device)?;
    let trained = Trained::open(&arguments.from)?;
    let about = &trained.about;
    let options = Options { channels: Some(about.channels), ..Options::default() };
    let data = open_data(&arguments.data, &options)?;
    if data.test.len() < 2 {
        bail!("{} has {} held-out images; two at least are needed", arguments.data, data.test.len());
    }
    let embedder = |projector| {
        let layer = Layer::Features;
        Embedder::new(&about.encoder, projector, &layer, &about.augment, about.size, about.channels, device)
    };
    let (mut own, mut fresh) = (embedder(trained.projector())?, embedder(trained.projector())?);
    own.load(&trained.state)?;
    fresh.initialize(about.seed)?;

    let views = |embedder: &mut Embedder| {
        two_views(embedder, &about.augment, about.seed, &data.test, RELATION_IMAGES)
    };
    let own_views = views(&mut own)?;
    let sample = sample(&mut own, &data)?;
    let baseline = self::sample(&mut fresh, &data)?;
    let baseline_views = views(&mut fresh)?;
    let relation = Relation::of(&sample[0], [&own_views[0][0], &own_views[1][0]], data.labelled)?;
    let untrained =
        Relation::of(&baseline[0], [&baseline_views[0][0], &baseline_views[1][0]], data.labelled)?;
    say_relation(&relation, &untrained)?;

    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{bar:30.cyan/dim} {pos}/{len} changes  {elapsed}<{eta}")?);
    let found = invariance(
        [&mut own, &mut fresh],
        &data.test,
        arguments.images as usize,
        &about.augment,
        about.size,
        &mut |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        },
    )?;
    bar.finish_and_clear();
    say_invariance(&found)?;

    // The loss works on the embeddings where there is a projector: collapse shows there first.
    let last = sample.len() - 1;
    let run = RunFolder::new(&arguments.from);
    let signs = Signs {
        collapse: collapse_of([&own_views[0][last], &own_views[1][last]])?,
        prototypes: prototypes_of(&trained.state, &mut own, &data.test)?,
        loss: match &trained.config {
            Some(config) => loss_of(config, &trained.state, &run)?,
            None => None,
        },
    };
    let method = trained.config.as_ref().map(|config| ssl::find(&config.method)).transpose()?;
    // A run has a summary once it is over; weights are exported then.
    let over = trained.config.is_none() || run.summary().exists();
    let verdicts = signs.verdicts(method, over);
    say_collapse(if last == 0 { "features" } else { "embeddings" }, &signs, &verdicts)?;

    let folder =
        if arguments.from.is_dir() { Some(arguments.from.as_path()) } else { arguments.from.parent() };
    let out = arguments.out.as_deref().or(folder).unwrap_or(Path::new("."));
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let figure = out.join("invariance.svg");
    write_atomically(&figure, invariance_svg(&found).as_bytes())?;
    say!("curves: {}", figure.display());
    if let Some(path) = &arguments.json {
        let spectrum = |features: &Features| singular_values(&features.l2_normalized(), features.d);
        let mut state = serde_json::to_value(signs.collapse)?;
        state["of"] = if last == 0 { "features" } else { "embeddings" }.into();
        state["verdicts"] = serde_json::to_value(&verdicts)?;
        state["spectrum"] = spectrum(&sample[last]).into();
        state["spectrum_of_features"] = spectrum(&sample[0]).into();
        state["spectrum_of_untrained_features"] = spectrum(&baseline[0]).into();
        state["prototypes"] = serde_json::to_value(signs.prototypes)?;
        state["loss"] = serde_json::to_value(signs.loss)?;
        let mut related = serde_json::to_value(&relation)?;
        related["untrained"] = serde_json::to_value(&untrained)?;
        let result = json!({
            "data": arguments.data, "test_images": data.test.len(), "encoder": about.encoder.name,
            "diagnostics": {
                "relation": related,
                "invariance": found.sweeps,
                "invariance_images": found.images,
                "invariance_skipped": found.skipped,
                "cosine_between": {"trained": found.between[0], "untrained": found.between[1]},
                "collapse": state,
            },
        });
        write_atomically(path, format!("{}\n", serde_json::to_string_pretty(&result)?).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The outputs for held-out images as they are.
fn sample(embedder: &mut Embedder, data: &Dataset) -> Result<Vec<Features>> {
    let count = data.test.len().min(RELATION_IMAGES);
    let as_is = |image: &Image, _: usize| rusa::ops::augment::ViewParams::eval(image.height, image.width);
    Ok(embedder.embed_views(&data.test, count, &as_is)?)
}

fn say_relation(own: &Relation, fresh: &Relation) -> Result<()> {
    say!("{:<34}{:>10}{:>11}", "relation (features)", "trained", "untrained");
    let line = |name: &str, a: f64, b: f64| -> Result<()> {
        say!("{name:<34}{a:>10.3}{b:>11.3}");
        Ok(())
    };
    line("alignment (0 best, 2 unrelated)", own.alignment, fresh.alignment)?;
    line("uniformity (0 a point, −4 even)", own.uniformity, fresh.uniformity)?;
    for (a, b) in own.agreement.iter().zip(&fresh.agreement) {
        line(&format!("same label, k = {} (chance {:.3})", a.k, a.chance), a.share, b.share)?;
    }
    if own.agreement.is_empty() {
        say!("no labels: agreement of neighbours left out");
    }
    Ok(())
}

fn say_invariance(found: &Invariance) -> Result<()> {
    say!("");
    say!("invariance: cosine of an image and its changed self, mean ± std over {} images", found.images);
    say!(
        "(in brackets relative to different images, whose cosine is {:.3} trained, {:.3} untrained:",
        found.between[0],
        found.between[1]
    );
    say!(
        " 1 the change does not show, 0 no nearer to itself than to others; a collapsed encoder has cosines of 1)"
    );
    say!("{:<12}{:>34}{:>24}{:>24}", "change", "strongest", "trained", "untrained");
    for sweep in &found.sweeps {
        // The strongest change is that which moves the features of the trained encoder most.
        let at =
            (0..sweep.values.len()).min_by(|&a, &b| sweep.trained.mean[a].total_cmp(&sweep.trained.mean[b]));
        let Some(at) = at else { continue };
        let show = |curve: &rusa::eval::Curve| {
            let relative = curve.relative.as_ref().map_or("–".into(), |r| format!("{:.2}", r[at]));
            format!("{:.3} ± {:.3} ({relative})", curve.mean[at], curve.std[at])
        };
        let strength = format!("{} {}", sweep.values[at], sweep.unit);
        say!(
            "{:<12}{strength:>34}{:>24}{:>24}",
            sweep.nuisance,
            show(&sweep.trained),
            show(&sweep.untrained)
        );
    }
    if !found.skipped.is_empty() {
        say!("{}: left out, as the encoder takes gray images", found.skipped.join(", "));
    }
    Ok(())
}

fn say_collapse(of: &str, signs: &Signs, verdicts: &[Verdict]) -> Result<()> {
    let Signs { collapse: c, prototypes, loss } = signs;
    say!("");
    say!("collapse ({of})");
    say!(
        "std {:.4} (1/√d = {:.4}), effective rank {:.1} of {:.0}",
        c.std,
        c.std_ideal,
        c.effective_rank,
        c.std_ideal.powi(-2)
    );
    if let Some(p) = prototypes {
        say!("prototypes without an image: {} of {} ({} images)", p.dead, p.prototypes, p.images);
    }
    if let Some(l) = loss {
        say!("loss at the end {:.3}; guessing gives {:.3}", l.loss, l.chance);
    }
    for verdict in verdicts {
        say!("{}: {}", verdict.state(), verdict.advice());
    }
    Ok(())
}
