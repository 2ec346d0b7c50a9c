//! Several runs side by side: one page as self-contained as a run's report, a markdown table, and JSON.

mod conditions;
mod curves;
mod figure;
mod group;
mod pool;
mod read;
mod table;
#[cfg(test)]
mod tests;

pub use conditions::incomparable;
pub use figure::layers_svg;
pub use read::{EXTRAS, Run};

use super::html::{escape, missing};
use super::plot::{BASELINE, class};
use super::{Section, page};
use conditions::{conditions, data_differ};
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
    let section = |id,
                   name,
                   heading,
                   lead: &str,
                   beside: &[(&str, &str)],
                   has: fn(&Run) -> bool,
                   drawn: Option<String>,
                   how: &str| {
        let drawn = match drawn {
            Some(drawn) => legend(&groups, has, beside) + &drawn,
            None => missing("Nothing to draw yet."),
        };
        let note = lacking(has, how);
        Section { id, name, heading, content: format!("<p class=\"lead\">{lead}</p>{drawn}{note}") }
    };
    let untrained = [(BASELINE, "untrained encoder")];
    let [layers, diagnostics, few] = EXTRAS.map(|(_, command)| command);
    let sections = [
        Section {
            id: "result",
            name: "Result",
            heading: "How good are the features?",
            content: result(&groups, data_differ(runs)),
        },
        Section { id: "collapse", name: "Collapse", heading: "Collapse monitor", content: collapse(&groups) },
        section(
            "spectrum",
            "Spectrum",
            "Spectrum of the features",
            "Singular values of the l2-normalised features of held-out images, largest first. A curve that falls \
             off a cliff fills few directions (dimensional collapse); a slow fall fills many.",
            &[],
            |r| r.spectrum.is_some(),
            curves::spectrum(&groups),
            &format!("rusa compare … --data PATH, or {diagnostics}"),
        ),
        section(
            "invariance",
            "Invariance",
            "What the features ignore",
            "Cosine between an image and its changed self, relative to different images: 1 if the change does not \
             show, 0 if the changed image is no nearer to itself than to any other. Relative, since an encoder that \
             gives every image the same feature is “invariant” to everything.",
            &untrained,
            |r| r.diagnostics.is_some(),
            curves::invariance(&groups),
            diagnostics,
        ),
        section(
            "layers",
            "Layers",
            "Where the knowledge sits",
            "A linear probe on every layer. Pretext tasks often drop in the last layers, which serve the task; \
             methods that learn invariance rise to the end. Bands are 95\u{202f}% intervals.",
            &untrained,
            |r| r.layers.is_some(),
            curves::layers(&groups),
            layers,
        ),
        section(
            "few",
            "Few labels",
            "With few labels",
            "A linear probe trained on a few labels a class, over several draws; bands are 95\u{202f}% intervals.",
            &[untrained[0], (curves::PIXELS, "raw pixels")],
            |r| r.few.is_some(),
            curves::few(&groups),
            few,
        ),
        section(
            "training",
            "Training",
            "Loss",
            "A panel a method, for losses of different methods are different things: only their course compares. A \
             line a seed; the pale band runs from the lowest to the highest value.",
            &[],
            |r| !r.losses.is_empty(),
            curves::losses(&groups),
            "rusa pretrain writes metrics.jsonl",
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
    table::markdown(&groups(runs), data_differ(runs))
}

/// The table's figures, for programs.
pub fn compare_json(runs: &[Run]) -> Value {
    let methods: Vec<Value> = groups(runs).iter().map(Group::to_json).collect();
    json!({"methods": methods, "incomparable": incomparable(runs)})
}

fn title(groups: &[Group]) -> String {
    match groups {
        [only] => escape(&only.name),
        _ => format!("{} methods side by side", groups.len()),
    }
}

fn result(groups: &[Group], data: bool) -> String {
    let gaps: String =
        groups.iter().flat_map(Group::gaps).map(|gap| format!("<li>{}</li>", escape(&gap))).collect();
    let gaps = if gaps.is_empty() { gaps } else { format!("<ul class=\"note\">{gaps}</ul>") };
    format!(
        "<p class=\"lead\">The encoder is frozen; a linear layer and the vote of the nearest neighbours are trained on \
         its features and tested on images kept aside. In the bars a solid stroke marks the same encoder untrained, a \
         dotted one the raw pixels.</p><div class=\"card scroll\">{}</div>{}{gaps}\
         <p class=\"note\">One run: Wilson’s interval, how far another draw of test images could move the figure. Several \
         seeds: their mean, and Student’s interval over seeds; so too for the bands of the curves below.</p>",
        table::bars(groups),
        table::html(groups, data)
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

/// The methods with something to show, and how many runs are behind each where that is more than one.
fn legend(groups: &[Group], has: fn(&Run) -> bool, more: &[(&str, &str)]) -> String {
    let item = |class: &str, name: &str| format!("<li>{}{}</li>", swatch(class), escape(name));
    let own =
        groups.iter().enumerate().map(|(i, group)| match group.runs.iter().filter(|r| has(r)).count() {
            0 => String::new(),
            1 => item(&class(i), &group.name),
            n => item(&class(i), &format!("{} ({n} runs)", group.name)),
        });
    let own: String = own.collect();
    let more: String = more.iter().map(|(class, name)| item(class, name)).collect();
    format!("<ul class=\"legend lines\">{own}{more}</ul>")
}
