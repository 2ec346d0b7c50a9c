//! The table of methods, for the page and as markdown.

use super::group::{Figure, Group};
use crate::report::html::{DASH, duration, escape, percent, points, px, significant};
use std::fmt::Write;

fn memory(bytes: Option<f64>) -> String {
    bytes.map_or(DASH.into(), |b| format!("{} MiB", significant((b / 1_048_576.0).round())))
}

fn gain(group: &Group) -> Option<f64> {
    Some(group.share("", "linear_top1")?.value - group.share("untrained.", "linear_top1")?.value)
}

/// What linear probes are compared with: their place in a summary, and their name.
const BASELINES: [(&str, &str); 2] = [("untrained.", "untrained"), ("raw_pixels.", "raw pixels")];

fn baseline(group: &Group, path: &str) -> String {
    percent(group.share(path, "linear_top1").map(|f| f.value))
}

/// With a column for the data set where `data` says so. Baselines that all methods share stand in the caption.
pub(super) fn html(groups: &[Group], data: bool) -> String {
    let shared = |path: &str| {
        groups.len() > 1 && groups.iter().all(|g| baseline(g, path) == baseline(&groups[0], path))
    };
    let (above, columns): (Vec<_>, Vec<_>) = BASELINES.into_iter().partition(|(path, _)| shared(path));
    let with_memory = groups.iter().any(|g| g.mean("planned_memory_bytes").is_some());
    let mut out = String::from(
        "<div class=\"scroll\"><table class=\"methods\"><caption>Top-1 accuracy on held-out images, with \
         95\u{202f}% intervals",
    );
    for (path, name) in above {
        let _ = write!(out, "; linear probe, {name}: {}", baseline(&groups[0], path));
    }
    out.push_str("</caption><thead><tr>");
    let mut names = vec!["Method"];
    names.extend(data.then_some("data"));
    names.extend(["kNN", "Linear probe", "gain over untrained"]);
    names.extend(columns.iter().map(|(_, name)| name));
    names.extend(["Collapse", "images/s", "time"]);
    names.extend(with_memory.then_some("memory"));
    for name in names {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    let figure = |f: Option<Figure>| {
        let range = f.and_then(|f| f.interval).map_or(String::new(), |(low, high)| {
            format!(" <span class=\"range\">[{:.1}, {:.1}]</span>", 100.0 * low, 100.0 * high)
        });
        format!("<td><b>{}</b>{range}</td>", percent(f.map(|f| f.value)))
    };
    for (i, group) in groups.iter().enumerate() {
        let seeds = match group.runs.len() {
            1 => String::new(),
            n => format!(" <small>{n} seeds</small>"),
        };
        let incomplete =
            if group.gaps().is_empty() { "" } else { " <small class=\"gap\">incomplete</small>" };
        let (verdict, _) = group.verdict();
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}{}{seeds}{incomplete}</th>{}{}{}<td>{}</td>",
            super::swatch(&crate::report::plot::class(i)),
            escape(&group.name),
            if data { format!("<td>{}</td>", escape(&group.data())) } else { String::new() },
            figure(group.share("", "knn_top1")),
            figure(group.share("", "linear_top1")),
            points(gain(group)),
        );
        for (path, _) in &columns {
            let _ = write!(out, "<td>{}</td>", baseline(group, path));
        }
        let _ = write!(
            out,
            "<td class=\"state {verdict}\">{verdict}</td><td>{}</td><td>{}</td>",
            group.mean("images_per_second").map_or(DASH.into(), significant),
            duration(group.mean("seconds"))
        );
        if with_memory {
            let _ = write!(out, "<td>{}</td>", memory(group.mean("planned_memory_bytes")));
        }
        out.push_str("</tr>");
    }
    out + "</tbody></table></div>"
}

/// The same as a markdown table, one line a method.
pub(super) fn markdown(groups: &[Group], data: bool) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut out = format!(
        "| method |{} seeds | kNN | linear probe | gain over untrained | untrained | raw pixels | collapse | images/s | seconds | memory |\n\
         |:--|{}:--|--:|--:|--:|--:|--:|:--|--:|--:|--:|\n",
        if data { " data |" } else { "" },
        if data { ":--|" } else { "" },
    );
    let figure = |f: Option<Figure>| {
        let range = f
            .and_then(|f| f.interval)
            .map_or(String::new(), |(low, high)| format!(" [{:.1}, {:.1}]", 100.0 * low, 100.0 * high));
        format!("{}{range}", percent(f.map(|f| f.value)))
    };
    for group in groups {
        let incomplete = if group.gaps().is_empty() { "" } else { " (incomplete)" };
        let _ = writeln!(
            out,
            "| {}{incomplete} |{} {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&group.name),
            if data { format!(" {} |", cell(&group.data())) } else { String::new() },
            group.seeds(),
            figure(group.share("", "knn_top1")),
            figure(group.share("", "linear_top1")),
            points(gain(group)),
            baseline(group, "untrained."),
            baseline(group, "raw_pixels."),
            group.verdict().0,
            group.mean("images_per_second").map_or(DASH.into(), significant),
            group.mean("seconds").map_or(DASH.into(), significant),
            memory(group.mean("planned_memory_bytes")),
        );
    }
    // Thin spaces are for the page; a plain one reads well everywhere.
    out.replace('\u{202f}', " ")
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 70.0;
const STEP: f64 = 30.0;

/// Linear accuracies as bars with whiskers; a stroke marks the untrained encoder, a dotted one the raw pixels.
pub(super) fn bars(groups: &[Group]) -> String {
    let height = groups.len() as f64 * STEP + 34.0;
    let x = |share: f64| LEFT + share * (WIDTH - LEFT - RIGHT);
    let mut out = format!(
        "<svg class=\"bars\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Bars of the linear probe's accuracies in the table below\">"
    );
    for share in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{0} 4V{1}\"/><text class=\"tick mid\" x=\"{0}\" y=\"{2}\">{3:.0}\u{202f}%</text>",
            px(x(share)),
            px(height - 24.0),
            px(height - 6.0),
            100.0 * share
        );
    }
    for (i, group) in groups.iter().enumerate() {
        let (top, middle) = (i as f64 * STEP + 6.0, i as f64 * STEP + 6.0 + 10.0);
        let mut name: String = group.name.chars().take(25).collect();
        if name.len() < group.name.len() {
            name.push('…');
        }
        let _ = write!(
            out,
            "<text class=\"name end\" x=\"{}\" y=\"{}\" dy=\".35em\">{}</text>",
            px(LEFT - 10.0),
            px(middle),
            escape(&name)
        );
        let Some(figure) = group.share("", "linear_top1") else {
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{}\" y=\"{}\" dy=\".35em\">{DASH}</text>",
                px(LEFT + 8.0),
                px(middle)
            );
            continue;
        };
        let _ = write!(
            out,
            "<g class=\"{}\"><rect class=\"fill\" x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"20\" rx=\"3\"/></g>",
            crate::report::plot::class(i),
            px(top),
            px(x(figure.value) - LEFT)
        );
        let mut end = x(figure.value);
        if let Some((low, high)) = figure.interval {
            end = x(high);
            let _ = write!(
                out,
                "<path class=\"whisker\" d=\"M{0} {1}H{2}M{0} {3}v8M{2} {3}v8\"/>",
                px(x(low)),
                px(middle),
                px(x(high)),
                px(middle - 4.0)
            );
        }
        for (path, class) in [(BASELINES[0].0, "level"), (BASELINES[1].0, "level pixels")] {
            if let Some(base) = group.share(path, "linear_top1") {
                let _ = write!(
                    out,
                    "<path class=\"{class}\" d=\"M{} {}v24\"/>",
                    px(x(base.value)),
                    px(top - 2.0)
                );
                end = end.max(x(base.value));
            }
        }
        let _ = write!(
            out,
            "<text class=\"value\" x=\"{}\" y=\"{}\" dy=\".35em\">{}</text>",
            px(end + 7.0),
            px(middle),
            percent(Some(figure.value))
        );
    }
    out + "</svg>"
}
