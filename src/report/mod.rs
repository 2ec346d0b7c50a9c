//! One self-contained HTML page about a run: no network, no fonts, readable without JavaScript, light and dark.
//!
//! [`render`] is a pure function of [`ReportData`]. Whatever is missing or not finite shows as a dash or a short note,
//! so that a report of an interrupted run is still a report.

mod accuracy;
mod chart;
mod collapse;
mod collect;
mod compare;
mod curves;
mod graph;
mod html;
mod invariance;
mod lines;
mod map;
mod overview;
mod picture;
mod pictures;
mod plot;

pub use collect::{collect, read_metrics};
pub use compare::{EXTRAS, Run, compare, compare_json, compare_markdown, incomparable, layers_svg};
pub use graph::step_svg;
pub use invariance::invariance_svg;
pub use lines::{Lines, Point, Series, lines};

use html::escape;
use serde_json::Value;

/// All that the page shows.
#[derive(Clone, Debug, Default)]
pub struct ReportData {
    pub title: String,
    /// Contents of `summary.json`.
    pub summary: Value,
    /// Objects of `metrics.jsonl`: `"kind"` is `"step"` or `"epoch"`.
    pub metrics: Vec<Value>,
    /// The resolved configuration, shown as it is.
    pub config_toml: String,
    /// The command line that repeats the run; if empty, one is put together from the summary.
    pub command: String,
    /// Class names by label.
    pub classes: Vec<String>,
    /// An image, then its views.
    pub views: Vec<Vec<Picture>>,
    pub neighbours: Vec<NeighbourRow>,
    pub map: Vec<MapPoint>,
}

/// Pixels `[height, width, channels]`, 1 to 4 channels: gray, gray + alpha, RGB, RGB + alpha.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub pixels: Vec<u8>,
}

/// An image and the images nearest to it in feature space, most similar first.
#[derive(Clone, Debug, Default)]
pub struct NeighbourRow {
    pub query: (Picture, i64),
    /// Picture, label, cosine similarity.
    pub found: Vec<(Picture, i64, f32)>,
}

/// A sample's place on the 2-D map, in any units.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapPoint {
    pub x: f32,
    pub y: f32,
    pub label: i64,
}

impl ReportData {
    /// The name of a class, or its number if it has none.
    fn class(&self, label: i64) -> String {
        usize::try_from(label)
            .ok()
            .and_then(|i| self.classes.get(i))
            .cloned()
            .unwrap_or_else(|| format!("class {label}"))
    }
}

/// The whole page.
pub fn render(data: &ReportData) -> String {
    let title = if data.title.trim().is_empty() { "A pretraining run" } else { data.title.trim() };
    let section = |id, name, heading, content| Section { id, name, heading, content };
    let sections = [
        section("result", "Result", "How good are the features?", accuracy::section(data)),
        section("collapse", "Collapse", "Collapse monitor", collapse::section(data)),
        section("training", "Training", "Training", curves::section(data)),
        section("views", "Views", "What the encoder sees", pictures::views(data)),
        section("neighbours", "Neighbours", "Nearest neighbours", pictures::neighbours(data)),
        section("map", "Map", "Map of the feature space", map::section(data)),
        section("reproduce", "Repeat", "How to repeat the run", overview::reproduce(data)),
    ];
    page(title, &overview::header(data, title), &sections)
}

struct Section {
    id: &'static str,
    /// In the navigation.
    name: &'static str,
    heading: &'static str,
    /// HTML.
    content: String,
}

fn page(title: &str, header: &str, sections: &[Section]) -> String {
    let links: String =
        sections.iter().map(|Section { id, name, .. }| format!("<a href=\"#{id}\">{name}</a>")).collect();
    let body: String = sections
        .iter()
        .map(|Section { id, heading, content, .. }| {
            format!("<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{heading}</h2>{content}</section>\n")
        })
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<meta name=\"generator\" content=\"rusa {version}\"/>\n\
         <title>{title} · rusa</title>\n<link rel=\"icon\" href=\"data:,\"/>\n<style>\n{style}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the result</a>\n{header}\
         <nav aria-label=\"Sections\">{links}</nav>\n<main id=\"main\">\n{body}</main>\n\
         <footer>Made by rusa {version}. This page needs no network and no other file.</footer>\n\
         <script>\n{script}</script>\n</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
        title = escape(title),
        style = concat!(include_str!("style.css"), include_str!("compare.css")),
        script = include_str!("script.js"),
    )
}

#[cfg(test)]
mod tests;
