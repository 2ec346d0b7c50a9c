//! `rusa compare`.

use super::run::{Trained, open_data};
use super::say;
use anyhow::{Result, bail};
use rusa::data::{Dataset, Image, Options};
use rusa::device::Device;
use rusa::eval::{Embedder, Layer, singular_values};
use rusa::files::write_atomically;
use rusa::ops::augment::ViewParams;
use rusa::report::{Run, compare, compare_json, compare_markdown, incomparable, layers_svg};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Images a spectrum is taken of.
const SPECTRUM_IMAGES: usize = 2048;

/// Put runs side by side: one page, and a markdown table here.
///
/// Runs that differ in nothing but the seed become one row, their mean with its interval; the best linear accuracy comes
/// first. Runs of other data, encoders or epochs are shown with a warning. Beside accuracy, collapse,
/// speed and loss the page shows what the folders hold of these: layers.json (`rusa eval RUN --layers --json
/// RUN/layers.json`), few.json (`rusa eval RUN --few --json RUN/few.json`), diagnostics.json (`rusa diagnose RUN --json
/// RUN/diagnostics.json`). What is missing is left out, with a line on how to get it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run folders.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write.
    #[arg(long, value_name = "FILE.html", default_value = "compare.html")]
    out: PathBuf,
    /// Data to take the spectrum of runs without diagnostics.json from: `embedded`, or a folder of images.
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Also draw the figure of layers, from the runs' layers.json.
    #[arg(long, value_name = "FILE.svg")]
    layers: Option<PathBuf>,
    /// Also write the table as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut seen = Vec::new();
    for path in &arguments.runs {
        let whole = path.canonicalize().unwrap_or(path.clone());
        if seen.contains(&whole) {
            bail!("{} is given twice", path.display());
        }
        seen.push(whole);
    }
    let mut runs = arguments.runs.iter().map(|path| Run::read(path)).collect::<rusa::Result<Vec<Run>>>()?;
    if let Some(data) = &arguments.data {
        let mut opened = BTreeMap::new();
        for (run, path) in runs.iter_mut().zip(&arguments.runs).filter(|(run, _)| run.spectrum.is_none()) {
            eprintln!("spectrum of {}", path.display());
            run.spectrum = Some(spectrum(path, data, &mut opened)?);
        }
    }
    write_atomically(&arguments.out, compare(&runs).as_bytes())?;
    if let Some(path) = &arguments.layers {
        let Some(figure) = layers_svg(&runs) else {
            bail!(
                "none of these runs has a layers.json; `rusa eval RUN --data PATH --layers --json RUN/layers.json` writes one"
            );
        };
        write_atomically(path, figure.as_bytes())?;
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&compare_json(&runs))?;
        write_atomically(path, format!("{text}\n").as_bytes())?;
    }
    for line in incomparable(&runs) {
        eprintln!("warning: accuracies do not compare: the runs differ in {line}");
    }
    say!("{}", compare_markdown(&runs));
    eprintln!("page: {}", arguments.out.display());
    Ok(ExitCode::SUCCESS)
}

/// Singular values of the l2-normalised features of held-out images. Data sets stay open by their channels.
fn spectrum(run: &Path, data: &str, opened: &mut BTreeMap<usize, Dataset>) -> Result<Vec<f64>> {
    let Trained { about, state, .. } = Trained::open(run)?;
    if let std::collections::btree_map::Entry::Vacant(entry) = opened.entry(about.channels) {
        entry.insert(open_data(data, &Options { channels: Some(about.channels), ..Options::default() })?);
    }
    let data = &opened[&about.channels];
    let mut embedder = Embedder::new(
        &about.encoder,
        None,
        &Layer::Features,
        &about.augment,
        about.size,
        about.channels,
        Device::parse("auto")?,
    )?;
    embedder.load(&state)?;
    let as_is = |image: &Image, _: usize| ViewParams::eval(image.height, image.width);
    let features =
        embedder.embed_views(&data.test, data.test.len().min(SPECTRUM_IMAGES), &as_is)?.swap_remove(0);
    Ok(singular_values(&features.l2_normalized(), features.d))
}
