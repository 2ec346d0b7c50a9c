//! The top of the page: the run in a sentence and four figures; and its bottom: how to run it again.

use super::ReportData;
use super::collapse::judgement;
use super::html::{DASH, at, duration, escape, missing, number, percent, points, significant, text};
use serde_json::Value;
use std::fmt::Write;

pub(super) fn header(data: &ReportData, title: &str) -> String {
    let s = &data.summary;
    let mut chips = String::new();
    for (name, value) in [
        ("method", text(s, "method")),
        ("encoder", text(s, "encoder")),
        ("parameters", count(s, "parameters")),
        ("data", text(s, "dataset")),
        ("epochs", text(s, "epochs")),
        ("batch", text(s, "batch")),
        ("device", text(s, "device")),
    ] {
        let _ = write!(chips, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    format!(
        "<header><div class=\"top\"><p class=\"brand\">rusa <span>self-supervised pretraining</span></p>\
         <button id=\"theme\" type=\"button\" hidden=\"hidden\" aria-label=\"Switch between light and dark\">◐</button></div>\
         <h1>{}</h1><p class=\"story\">{}</p><dl class=\"chips\">{chips}</dl>{}</header>\n",
        escape(title),
        story(s),
        cards(data)
    )
}

/// The run in one or two sentences, with what is known.
fn story(s: &Value) -> String {
    let known = |key: &str| Some(text(s, key)).filter(|t| t != DASH);
    let mut out = format!(
        "<b>{}</b> trained {}",
        known("method").unwrap_or("A self-supervised method".into()),
        known("encoder").map_or("an encoder".into(), |e| format!("the encoder <b>{e}</b>"))
    );
    if let Some(n) = number(s, "train_images") {
        let _ = write!(out, " on {} images", significant(n));
    }
    if let Some(name) = known("dataset") {
        let _ = write!(out, " of {name}");
    }
    out.push_str(", without looking at a single label.");
    if let Some(linear) = number(s, "linear_top1") {
        let _ = write!(
            out,
            " A linear classifier on its frozen features is right on <b>{}</b>",
            percent(Some(linear))
        );
        match number(s, "test_images") {
            Some(n) => out += &format!(" of {} images it has never seen", significant(n)),
            None => out += " of images it has never seen",
        }
        if let Some(untrained) = number(s, "untrained.linear_top1") {
            let _ = write!(
                out,
                "; on the features of the same encoder before training, on {}",
                percent(Some(untrained))
            );
        }
        out.push('.');
    }
    out
}

fn cards(data: &ReportData) -> String {
    let s = &data.summary;
    let gain = |key: &str| {
        let difference = number(s, key).zip(number(s, &format!("untrained.{key}"))).map(|(a, b)| a - b);
        difference.map_or("untrained baseline not measured".into(), |d| {
            format!("{} over the untrained encoder", points(Some(d)))
        })
    };
    let (state, _) = judgement(data);
    let share = number(s, "collapse.std").zip(number(s, "collapse.std_ideal")).filter(|(_, i)| *i > 0.0);
    let spread = share.map_or("spread not measured".into(), |(std, ideal)| {
        format!("spread {:.0}\u{202f}% of an even sphere", 100.0 * std / ideal)
    });
    let speed = number(s, "images_per_second").map_or(DASH.into(), significant);
    let mut out = String::from("<div class=\"cards\">");
    for (class, name, value, below) in [
        ("", "kNN accuracy", percent(number(s, "knn_top1")), gain("knn_top1")),
        ("", "Linear probe accuracy", percent(number(s, "linear_top1")), gain("linear_top1")),
        ("", "Images a second", speed, format!("{} in all", duration(number(s, "seconds")))),
        (state.as_str(), "Collapse monitor", state.clone(), spread),
    ] {
        let _ = write!(
            out,
            "<div class=\"card {class}\"><p class=\"label\">{name}</p><p class=\"big\">{value}</p>\
             <p class=\"below\">{below}</p></div>"
        );
    }
    out + "</div>"
}

pub(super) fn reproduce(data: &ReportData) -> String {
    let command =
        if data.command.trim().is_empty() { command_of(&data.summary) } else { data.command.clone() };
    let config = if data.config_toml.trim().is_empty() {
        missing("The configuration was not recorded.")
    } else {
        format!(
            "<details open=\"open\"><summary>config.toml</summary><pre><code>{}</code></pre></details>",
            escape(data.config_toml.trim_end())
        )
    };
    format!(
        "<p class=\"lead\">Every random draw is keyed by the seed, the epoch and the image, and sums are taken in a fixed \
         order: on the same device the same command gives the same weights, bit for bit.</p>\
         <pre class=\"command\"><code>{}</code></pre>\
         <p>The resolved configuration, with every default spelled out:</p>{config}",
        escape(&command)
    )
}

fn command_of(s: &Value) -> String {
    let mut out = String::from("rusa pretrain");
    for (flag, key) in [
        ("data", "data"),
        ("method", "method"),
        ("encoder", "encoder"),
        ("epochs", "epochs"),
        ("batch", "batch"),
        ("seed", "seed"),
    ] {
        match at(s, key) {
            Some(Value::String(v)) => out += &format!(" --{flag} {v}"),
            Some(Value::Number(v)) => out += &format!(" --{flag} {v}"),
            _ => {}
        }
    }
    out
}

/// A large whole number as `1.23 M`.
fn count(s: &Value, key: &str) -> String {
    match number(s, key) {
        Some(n) if n >= 1e6 => format!("{:.2} M", n / 1e6),
        Some(n) => significant(n),
        None => DASH.into(),
    }
}
