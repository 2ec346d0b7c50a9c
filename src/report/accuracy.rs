//! How good the features are, beside those of an untrained encoder and of the raw pixels.

use super::ReportData;
use super::html::{DASH, number, percent, points, px};
use crate::eval::wilson_interval;
use std::fmt::Write;

const PROTOCOLS: [(&str, &str); 2] =
    [("knn_top1", "Nearest neighbours (kNN)"), ("linear_top1", "Linear probe")];

struct Row {
    name: &'static str,
    class: &'static str,
    /// Path of the object in the summary that holds the two numbers.
    path: &'static str,
}

const ROWS: [Row; 3] = [
    Row { name: "This encoder", class: "run", path: "" },
    Row { name: "Raw pixels", class: "pixels", path: "raw_pixels." },
    Row { name: "Untrained encoder", class: "untrained", path: "untrained." },
];

fn value(data: &ReportData, row: &Row, protocol: &str) -> Option<f64> {
    number(&data.summary, &format!("{}{protocol}", row.path)).filter(|x| (0.0..=1.0).contains(x))
}

/// The 95 % interval of an accuracy, if the number of test images is known.
fn interval(data: &ReportData, accuracy: f64) -> Option<(f64, f64)> {
    let n = number(&data.summary, "test_images").filter(|n| *n >= 1.0)?;
    Some(wilson_interval(accuracy, n as usize))
}

pub(super) fn section(data: &ReportData) -> String {
    format!(
        "<p class=\"lead\">Pretraining saw no labels. To measure what was learnt, the encoder is frozen and two simple \
         classifiers use its features: <b>kNN</b> lets the most similar training images vote, a <b>linear probe</b> \
         fits one linear layer. Both are tested on images kept aside.</p>\
         <div class=\"card scroll\">{}</div>{}\
         <p class=\"note\">Whiskers and brackets are 95\u{202f}% intervals (Wilson): how far another draw of test images could \
         move the figure. Where two do not overlap, the difference is more than luck.</p>",
        bars(data),
        table(data)
    )
}

fn table(data: &ReportData) -> String {
    let mut out = String::from(
        "<div class=\"scroll\"><table><caption>Top-1 accuracy on test images</caption><thead><tr>\
         <th scope=\"col\">Features</th>",
    );
    for (_, name) in PROTOCOLS {
        let _ = write!(out, "<th scope=\"col\">{name}</th><th scope=\"col\">this encoder gains</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for row in &ROWS {
        let _ = write!(out, "<tr class=\"{}\"><th scope=\"row\">{}</th>", row.class, row.name);
        for (protocol, _) in PROTOCOLS {
            let own = value(data, row, protocol);
            let range = own.and_then(|x| interval(data, x)).map_or(String::new(), |(low, high)| {
                format!(" <span class=\"range\">[{:.1}, {:.1}]</span>", 100.0 * low, 100.0 * high)
            });
            let gain = match (value(data, &ROWS[0], protocol), own) {
                _ if row.path.is_empty() => String::new(),
                (Some(a), Some(b)) => points(Some(a - b)),
                _ => DASH.into(),
            };
            let _ = write!(out, "<td><b>{}</b>{range}</td><td>{gain}</td>", percent(own));
        }
        out.push_str("</tr>");
    }
    out + "</tbody></table></div>"
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 142.0;
const RIGHT: f64 = 64.0;
const BAR: f64 = 24.0;
const STEP: f64 = 31.0;
const GROUP: f64 = 3.0 * STEP + 34.0;

fn bars(data: &ReportData) -> String {
    let height = 2.0 * GROUP + 30.0;
    let x = |share: f64| LEFT + share * (WIDTH - LEFT - RIGHT);
    let mut out = format!(
        "<svg class=\"bars\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Bars of the accuracies in the \
         table below\">"
    );
    for share in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        let at = px(x(share));
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{at} 22V{}\"/><text class=\"tick mid\" x=\"{at}\" y=\"{}\">{:.0}\u{202f}%</text>",
            px(height - 24.0),
            px(height - 6.0),
            100.0 * share
        );
    }
    for (group, (protocol, name)) in PROTOCOLS.iter().enumerate() {
        let top = group as f64 * GROUP + 6.0;
        let _ = write!(out, "<text class=\"group\" x=\"0\" y=\"{}\">{name}</text>", px(top + 12.0));
        for (i, row) in ROWS.iter().enumerate() {
            let y = top + 22.0 + i as f64 * STEP;
            let middle = px(y + BAR / 2.0);
            let _ = write!(
                out,
                "<text class=\"name end\" x=\"{}\" y=\"{middle}\" dy=\".35em\">{}</text>",
                px(LEFT - 10.0),
                row.name
            );
            let Some(share) = value(data, row, protocol) else {
                let _ = write!(
                    out,
                    "<text class=\"tick\" x=\"{}\" y=\"{middle}\" dy=\".35em\">{DASH}</text>",
                    px(LEFT + 8.0)
                );
                continue;
            };
            let _ = write!(
                out,
                "<rect class=\"bar {}\" x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{BAR}\" rx=\"3\"/>",
                row.class,
                px(y),
                px(x(share) - LEFT)
            );
            let mut end = x(share);
            if let Some((low, high)) = interval(data, share) {
                end = x(high);
                let _ = write!(
                    out,
                    "<path class=\"whisker\" d=\"M{0} {middle}H{1}M{0} {2}v8M{1} {2}v8\"/>",
                    px(x(low)),
                    px(x(high)),
                    px(y + BAR / 2.0 - 4.0)
                );
            }
            let _ = write!(
                out,
                "<text class=\"value\" x=\"{}\" y=\"{middle}\" dy=\".35em\">{}</text>",
                px(end + 7.0),
                percent(Some(share))
            );
        }
    }
    if let Some(classes) = number(&data.summary, "classes").filter(|c| *c >= 2.0) {
        let at = x(1.0 / classes);
        let _ = write!(
            out,
            "<path class=\"reference\" d=\"M{0} 22V{1}\"/><text class=\"refname\" x=\"{2}\" y=\"{3}\">guessing</text>",
            px(at),
            px(height - 24.0),
            px(at + 6.0),
            px(GROUP + 18.0)
        );
    }
    out + "</svg>"
}
