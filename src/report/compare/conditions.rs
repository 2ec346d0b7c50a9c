//! What runs have in common, and what keeps their figures from being compared.

use super::read::Run;
use crate::report::html::{DASH, at, escape, text};
use serde_json::Value;
use std::fmt::Write;

/// Where these differ, accuracies do not compare.
const DECISIVE: [(&str, &str); 5] = [
    ("dataset", "data"),
    ("test_images", "held-out images"),
    ("encoder", "encoder"),
    ("encoder_width", "width"),
    ("epochs", "epochs"),
];
/// Where these do, a part of a difference may come from that.
const MINOR: [(&str, &str); 4] =
    [("batch", "batch"), ("train_images", "images"), ("device", "device"), ("precision", "precision")];
/// Runs that are named one by one.
const NAMED: usize = 3;

/// A line for each condition under which the runs were not all made, with who has what; such runs' accuracies do not
/// compare. A run that did not record a condition is left out of its line.
pub fn incomparable(runs: &[Run]) -> Vec<String> {
    let line = |(key, name): (&str, &str)| {
        let mut found: Vec<(&Value, Vec<&str>)> = Vec::new();
        for run in runs {
            let Some(value) = at(&run.summary, key) else { continue };
            match found.iter_mut().find(|(v, _)| *v == value) {
                Some((_, folders)) => folders.push(&run.folder),
                None => found.push((value, vec![&run.folder])),
            }
        }
        let side = |(value, folders): &(&Value, Vec<&str>)| {
            let value = value.as_str().map_or(value.to_string(), String::from);
            match folders.len() {
                ..=NAMED => format!("{value} ({})", folders.join(", ")),
                n => format!("{value} ({n} runs)"),
            }
        };
        let sides: Vec<String> = found.iter().map(side).collect();
        (sides.len() > 1).then(|| format!("{name}: {}", sides.join(", ")))
    };
    DECISIVE.into_iter().filter_map(line).collect()
}

/// Whether the runs were made on more than one data set.
pub(super) fn data_differ(runs: &[Run]) -> bool {
    let mut found = runs.iter().filter_map(|run| at(&run.summary, "dataset"));
    let first = found.next();
    found.any(|other| Some(other) != first)
}

/// The head of the page: what is the same for all, and warnings about what is not.
pub(super) fn conditions(runs: &[Run]) -> String {
    let (mut chips, mut differ) = (String::new(), Vec::new());
    for (key, name) in DECISIVE.into_iter().chain(MINOR) {
        let mut values: Vec<String> = runs.iter().map(|run| text(&run.summary, key)).collect();
        values.dedup();
        match &values[..] {
            [value] if value == DASH => {}
            [value] => {
                let _ = write!(chips, "<div><dt>{name}</dt><dd>{value}</dd></div>");
            }
            _ if MINOR.contains(&(key, name)) => differ.push(name),
            _ => {}
        }
    }
    let lines: String = incomparable(runs).iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    let decisive = if lines.is_empty() {
        lines
    } else {
        format!(
            "<div class=\"note gap\">These runs were not made under the same conditions; their accuracies do not \
             compare.<ul>{lines}</ul></div>"
        )
    };
    let minor = if differ.is_empty() {
        String::new()
    } else {
        format!(
            "<p class=\"note\">The runs differ in {}: part of a difference in accuracy or speed may come from that.</p>",
            differ.join(", ")
        )
    };
    format!("<dl class=\"chips\">{chips}</dl>{decisive}{minor}")
}
