//! Several runs side by side: one page as self-contained as a run's report, a markdown table, and JSON.

mod curves;
mod figure;
mod group;
mod read;
mod table;
#[cfg(test)]
mod tests;

pub use figure::layers_svg;
pub use read::{EXTRAS, Run};

use super::html::{DASH, escape, missing};
use super::plot::{BASELINE, class};
use super::{Section, page};
use group::{Group, groups};
use serde_json::{Value, json};
use std::fmt::Write;

/// The page.
pub fn compare(runs: &[Run]) -> String {
    let groups = groups(runs);
    let lacking = |has: fn(&Run) -> bool, how: &str| -> String {
        let without: Vec<&str> = runs.iter().filter(|r| !has(r)).map(|r| r.folder.as_str()).collect();
        if without.is_empty() {
            return String::new();
        }
        format!(
            "<p class=\"note\">Not measured for {}. To add it: <code>{}</code></p>",
            escape(&without.join(", ")),
            escape(how)
        )
    };
    let section =
        |id, name, heading, lead: &str, beside: &[(&str, &str)], drawn: Option<String>, note: String| {
            let drawn = match drawn {
                Some(drawn) => legend(&groups, beside) + &drawn,
                None => missing("Nothing to draw yet."),
            };
            Section { id, name, heading, content: format!("<p class=\"lead\">{lead}</p>{drawn}{note}") }
        };
    let untrained = [(BASELINE, "untrained encoder")];
    let [layers, diagnostics, few] = EXTRAS.map(|(_, command)| command);
    let sections = [
        Section {
            id: "result",
            name: "Result",
            heading: "How good are the features?",
            content: result(&groups),
        },
        Section { id: "collapse", name: "Collapse", heading: "Collapse monitor", content: collapse(&groups) },
        section(
            "spectrum",
            "Spectrum",
            "Spectrum of the features",
            "Singular values of the l2-normalised features of held-out images, largest first. A curve that falls \
             off a cliff fills few directions (dimensional collapse); a slow fall fills many.",
            &[],
            curves::spectrum(&groups),
            lacking(|r| r.spectrum.is_some(), &format!("rusa compare … --data PATH, or {diagnostics}")),
        ),
        section(
            "invariance",
            "Invariance",
            "What the features ignore",
            "Cosine between an image and its changed self, relative to different images: 1 if the change does not \
             show, 0 if the changed image is no nearer to itself than to any other. Relative, since an encoder that \
             gives every image the same feature is “invariant” to everything.",
            &untrained,
            curves::invariance(&groups),
            lacking(|r| r.diagnostics.is_some(), diagnostics),
        ),
        section(
            "layers",
            "Layers",
            "Where the knowledge sits",
            "A linear probe on every layer. Pretext tasks often drop in the last layers, which serve the task; \
             methods that learn invariance rise to the end. Bands are 95\u{202f}% intervals.",
            &untrained,
            curves::layers(&groups),
            lacking(|r| r.layers.is_some(), layers),
        ),
        section(
            "few",
            "Few labels",
            "With few labels",
            "A linear probe trained on a few labels a class, over several draws; bands are 95\u{202f}% intervals.",
            &[untrained[0], (curves::PIXELS, "raw pixels")],
            curves::few(&groups),
            lacking(|r| r.few.is_some(), few),
        ),
        section(
            "training",
            "Training",
            "Loss",
            "A panel a method, for losses of different methods are different things: only their course compares. A \
             line a seed; the pale band runs from the lowest to the highest value.",
            &[],
            curves::losses(&groups),
            lacking(|r| !r.losses.is_empty(), "rusa pretrain writes metrics.jsonl"),
        ),
    ];
    let header = format!(
        "<header><div class=\"top\"><p class=\"brand\">rusa <span>self-supervised pretraining</span></p>\
         <button id=\"theme\" type=\"button\" hidden=\"hidden\" aria-label=\"Switch between light and dark\">◐</button></div>\
         <h1>{}</h1>{}</header>\n",
        title(&groups),
        conditions(runs)
    );
    page("Methods side by side", &header, &sections)
}

/// One line a method, with intervals.
pub fn compare_markdown(runs: &[Run]) -> String {
    table::markdown(&groups(runs))
}

/// The table's figures, for programs.
pub fn compare_json(runs: &[Run]) -> Value {
    json!({"methods": groups(runs).iter().map(Group::to_json).collect::<Vec<_>>()})
}

fn title(groups: &[Group]) -> String {
    match groups {
        [only] => escape(&only.name),
        _ => format!("{} methods side by side", groups.len()),
    }
}

/// What the runs have in common, and a warning about what they have not: only equal budgets compare.
fn conditions(runs: &[Run]) -> String {
    let mut chips = String::new();
    let mut differ = Vec::new();
    for (key, name) in [
        ("dataset", "data"),
        ("encoder", "encoder"),
        ("encoder_width", "width"),
        ("epochs", "epochs"),
        ("batch", "batch"),
        ("train_images", "images"),
        ("device", "device"),
        ("precision", "precision"),
    ] {
        let mut values: Vec<String> = runs.iter().map(|run| super::html::text(&run.summary, key)).collect();
        values.dedup();
        if let [value] = &values[..] {
            if value != DASH {
                let _ = write!(chips, "<div><dt>{name}</dt><dd>{value}</dd></div>");
            }
        } else {
            differ.push(name);
        }
    }
    let warning = if differ.is_empty() {
        String::new()
    } else {
        format!(
            "<p class=\"note\">The runs differ in {}: part of a difference in accuracy or speed may come from that.</p>",
            differ.join(", ")
        )
    };
    format!("<dl class=\"chips\">{chips}</dl>{warning}")
}

fn result(groups: &[Group]) -> String {
    let gaps: String =
        groups.iter().flat_map(Group::gaps).map(|gap| format!("<li>{}</li>", escape(&gap))).collect();
    let gaps = if gaps.is_empty() { gaps } else { format!("<ul class=\"note\">{gaps}</ul>") };
    format!(
        "<p class=\"lead\">The encoder is frozen; a linear layer and the vote of the nearest neighbours are trained on \
         its features and tested on images kept aside. In the bars a solid stroke marks the same encoder untrained, a \
         dotted one the raw pixels.</p><div class=\"card scroll\">{}</div>{}{gaps}\
         <p class=\"note\">One run: Wilson’s interval, how far another draw of test images could move the figure. Several \
         seeds: their mean, and Student’s interval over seeds.</p>",
        table::bars(groups),
        table::html(groups)
    )
}

fn collapse(groups: &[Group]) -> String {
    let mut out = String::from("<ul class=\"states\">");
    for (i, group) in groups.iter().enumerate() {
        let (state, advice) = group.verdict();
        let advice = if state == "unknown" { "The run recorded no collapse figures." } else { &advice };
        let _ = write!(
            out,
            "<li>{}<b>{}</b> <span class=\"state {state}\">{state}</span> {}</li>",
            swatch(&class(i)),
            escape(&group.name),
            escape(advice)
        );
    }
    out + "</ul>"
}

/// A stroke in the colour of a line.
fn swatch(class: &str) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 24 10\" aria-hidden=\"true\"><g class=\"{class}\"><path class=\"curve\" \
         d=\"M0 5h24\"/></g></svg>"
    )
}

fn legend(groups: &[Group], more: &[(&str, &str)]) -> String {
    let item = |class: &str, name: &str| format!("<li>{}{}</li>", swatch(class), escape(name));
    let own: String = groups.iter().enumerate().map(|(i, group)| item(&class(i), &group.name)).collect();
    let more: String = more.iter().map(|(class, name)| item(class, name)).collect();
    format!("<ul class=\"legend lines\">{own}{more}</ul>")
}
