//! The collapse monitor's numbers and what they mean.

use super::ReportData;
use super::html::{at, escape, facts, missing, number, percent, significant};
use crate::eval::{Collapse, final_verdict};
use serde_json::Value;

/// `healthy`, `warning`, `collapsed` or `unknown`, and a sentence (not escaped): the run's verdict on all its signs, or
/// on its collapse figures in summaries that have no more.
pub(super) fn judgement(data: &ReportData) -> (String, String) {
    let computed = at(&data.summary, "collapse")
        .and_then(|c| serde_json::from_value::<Collapse>(c.clone()).ok())
        .map(|c| final_verdict(&c));
    let first = at(&data.summary, "verdicts").and_then(|all| all.get(0));
    let given = first.or(at(&data.summary, "collapse.verdict"));
    let state = given
        .and_then(|v| v.as_str().or_else(|| v.get("state").and_then(Value::as_str)))
        .map(str::to_lowercase)
        .and_then(|s| ["healthy", "warning", "collapsed"].into_iter().find(|name| s.starts_with(name)))
        .or(computed.as_ref().map(|v| v.state()))
        .unwrap_or("unknown");
    let advice = given
        .and_then(|v| v.get("advice").and_then(Value::as_str))
        .or_else(|| at(&data.summary, "collapse.advice").and_then(Value::as_str))
        .or_else(|| computed.as_ref().filter(|v| v.state() == state).map(|v| v.advice()))
        .unwrap_or_default();
    (state.into(), advice.into())
}

pub(super) fn section(data: &ReportData) -> String {
    let (state, advice) = judgement(data);
    if state == "unknown" {
        return missing("The run recorded no collapse figures.");
    }
    let (sign, headline) = match state.as_str() {
        "healthy" => ("✓", "Healthy: the features have not collapsed"),
        "warning" => ("!", "Warning: watch this run"),
        _ => ("✗", "Collapsed: images are no longer told apart"),
    };
    let get = |key: &str| number(&data.summary, &format!("collapse.{key}"));
    let show = |key: &str| get(key).map_or("–".into(), significant);
    let share = get("std").zip(get("std_ideal")).filter(|(_, i)| *i > 0.0).map(|(s, i)| s / i);
    let rank = match get("std_ideal").filter(|i| *i > 0.0) {
        Some(ideal) => format!("{} of {:.0}", show("effective_rank"), (1.0 / ideal).powi(2).min(1e9)),
        None => show("effective_rank"),
    };
    let mut rows = vec![
        (
            "Spread (std)",
            format!("{} <small>{} of ideal</small>", show("std"), percent(share)),
            "How much a feature differs between images; 1/√d if images cover the sphere evenly, 0 if they all coincide.",
        ),
        (
            "Effective rank",
            rank,
            "How many directions the features fill. One would mean that images differ along a single line.",
        ),
        (
            "Alignment",
            show("alignment"),
            "Mean squared distance between the two views of an image: small means robust to augmentation. Between 0 and \
             4.",
        ),
        (
            "Uniformity",
            show("uniformity"),
            "How evenly images cover the sphere: 0 for a single point, towards −4 for an even cover. Good features are \
             aligned and uniform at once.",
        ),
    ];
    let measured = |key: &str| number(&data.summary, key);
    if let (Some(dead), Some(all)) = (measured("prototypes.dead"), measured("prototypes.prototypes")) {
        let value = format!("{} of {}", significant(dead), significant(all));
        rows.push((
            "Prototypes without an image",
            value,
            "Answers of the task that no held-out image calls for.",
        ));
    }
    if let (Some(loss), Some(chance)) =
        (measured("loss_beside_chance.loss"), measured("loss_beside_chance.chance"))
    {
        let value = format!("{} <small>guessing: {}</small>", significant(loss), significant(chance));
        rows.push(("Loss at the end", value, "Beside that of an encoder to which all images are the same."));
    }
    let others: String = at(&data.summary, "verdicts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .skip(1)
        .filter_map(|v| v.get("advice")?.as_str())
        .map(|advice| format!("<p class=\"note\">{}</p>", escape(advice)))
        .collect();
    format!(
        "<p class=\"lead\">Training for similarity alone has a trivial solution: give every image the same feature. It \
         is perfectly invariant to augmentation and useless for anything. These numbers tell whether the run is \
         sliding there.</p>\
         <div class=\"verdict {state}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span>\
         <div><h3>{headline}</h3><p>{}</p></div></div>{others}{}",
        escape(&advice),
        facts(rows)
    )
}
