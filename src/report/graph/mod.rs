//! A training step as a picture: networks, loss, states and updates as boxes, tensors as lines between them. One SVG file,
//! without scripts or fonts of its own, light or dark as its reader is.

mod layout;
mod parts;

use super::html::{escape, px};
use crate::ssl::Step;
use layout::{Layout, Request, layout};
use parts::{Edge, Flow, Part, Parts, Role, parts};
use std::fmt::Write;

const MARGIN: f64 = 24.0;
const HEAD: f64 = 70.0;
const FOOT: f64 = 34.0;
/// What a label may stick out beside the outermost box.
const LABEL: f64 = 48.0;
const LINE: f64 = 16.0;
const STYLE: &str = include_str!("style.css");

/// The picture, with a title and a line below it.
pub fn step_svg(step: &Step, title: &str, summary: &str) -> String {
    let Parts { parts, edges } = parts(step);
    let sizes: Vec<_> = parts.iter().map(size).collect();
    let found = layout(&Request {
        sizes: &sizes,
        edges: &edges.iter().map(|e| (e.from, e.to)).collect::<Vec<_>>(),
        sources: &parts.iter().map(|p| matches!(p.role, Role::Input | Role::State)).collect::<Vec<_>>(),
        last: &parts.iter().map(|p| p.role == Role::Update).collect::<Vec<_>>(),
    });
    let legend = "solid blue: a gradient flows back · dashed: none does · gray: inputs and states";
    let written = [wide(title, 8.6), wide(summary, 6.4), wide(legend, 6.0)];
    let least = written.into_iter().fold(0.0, f64::max);
    let width = (found.width + 2.0 * LABEL).max(least) + 2.0 * MARGIN;
    let height = found.height + HEAD + FOOT + MARGIN;
    let left = (width - found.width) / 2.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\" \
         aria-labelledby=\"t d\">\n<title id=\"t\">{title}</title>\n<desc id=\"d\">{summary}</desc>\n<style>\n{STYLE}</style>\n\
         <rect class=\"page\" width=\"{w}\" height=\"{h}\"/>\n\
         <text class=\"head\" x=\"{MARGIN}\" y=\"30\">{title}</text>\n<text x=\"{MARGIN}\" y=\"48\">{summary}</text>\n\
         <g transform=\"translate({x} {HEAD})\">\n",
        w = px(width),
        h = px(height),
        x = px(left),
        title = escape(title),
        summary = escape(summary),
    );
    let ends = ends(&edges, &found, &sizes);
    for (i, edge) in edges.iter().enumerate() {
        let _ = writeln!(svg, "{}", line(edge, ends[i], &found.bends[i]));
    }
    for ((part, size), at) in parts.iter().zip(&sizes).zip(&found.boxes) {
        svg += &block(part, *size, *at);
    }
    svg += &labels(&edges, &ends, &found.bends);
    let _ = write!(
        svg,
        "</g>\n<text class=\"small\" x=\"{MARGIN}\" y=\"{}\">{legend}</text>\n</svg>\n",
        px(height - MARGIN / 2.0)
    );
    svg
}

/// Pixels that a text takes, about.
fn wide(text: &str, each: f64) -> f64 {
    text.chars().count() as f64 * each
}

fn size(part: &Part) -> [f64; 2] {
    let lines = part.lines.iter().map(|l| wide(l, 6.2)).fold(wide(&part.title, 8.4), f64::max);
    [(lines + 24.0).max(92.0), 14.0 + LINE * (1 + part.lines.len()) as f64]
}

/// Where each edge begins and ends.
fn ends(edges: &[Edge], found: &Layout, sizes: &[[f64; 2]]) -> Vec<[[f64; 2]; 2]> {
    let mut ends: Vec<_> = edges
        .iter()
        .map(|e| {
            let ([x, y], [x2, y2]) = (found.boxes[e.from], found.boxes[e.to]);
            [[x, y + sizes[e.from][1]], [x2, y2]]
        })
        .collect();
    let port = |b: usize, place: usize, of: usize| {
        let step = ((sizes[b][0] - 24.0) / of as f64).min(44.0);
        found.boxes[b][0] + (place as f64 - (of - 1) as f64 / 2.0) * step
    };
    for b in 0..sizes.len() {
        // Where an edge is heading: its first bend, or the other box.
        let out = |i: usize| found.bends[i].first().map_or(found.boxes[edges[i].to][0], |b| b[0]);
        let mut leaving: Vec<usize> = (0..edges.len()).filter(|&i| edges[i].from == b).collect();
        leaving.sort_by(|&i, &j| out(i).total_cmp(&out(j)));
        let mut tensors: Vec<usize> = Vec::new();
        leaving.iter().map(|&i| edges[i].tensor).for_each(|t| {
            if !tensors.contains(&t) {
                tensors.push(t);
            }
        });
        for i in leaving {
            let place = tensors.iter().position(|&t| t == edges[i].tensor).unwrap_or(0);
            ends[i][0][0] = port(b, place, tensors.len());
        }
        let into = |i: usize| found.bends[i].last().map_or(found.boxes[edges[i].from][0], |b| b[0]);
        let mut coming: Vec<usize> = (0..edges.len()).filter(|&i| edges[i].to == b).collect();
        coming.sort_by(|&i, &j| into(i).total_cmp(&into(j)));
        for (place, &i) in coming.iter().enumerate() {
            ends[i][1][0] = port(b, place, coming.len());
        }
    }
    ends
}

fn class(flow: Flow) -> &'static str {
    match flow {
        Flow::Data => "data",
        Flow::Gradient => "gradient",
        Flow::Stopped => "stopped",
    }
}

/// A curve from box to box, straight past the layers between, with an arrow at its end.
fn line(edge: &Edge, [from, to]: [[f64; 2]; 2], bends: &[[f64; 3]]) -> String {
    let mut path = format!("M{} {}", px(from[0]), px(from[1]));
    let mut at = from;
    let arrow = [to[0], to[1] - 7.0];
    for &[x, y, past] in bends.iter().chain([&[arrow[0], arrow[1], arrow[1]]]) {
        let middle = px((at[1] + y) / 2.0);
        let _ = write!(path, "C{} {middle} {} {middle} {} {}V{}", px(at[0]), px(x), px(x), px(y), px(past));
        at = [x, past];
    }
    let [x, y] = to;
    let tip = format!("M{} {}H{}L{} {}Z", px(x - 4.0), px(y - 8.0), px(x + 4.0), px(x), px(y));
    let class = class(edge.flow);
    format!("<path class=\"edge {class}\" d=\"{path}\"/><path class=\"tip {class}\" d=\"{tip}\"/>")
}

fn block(part: &Part, [width, height]: [f64; 2], [x, y]: [f64; 2]) -> String {
    let class = match part.role {
        Role::Input => "input",
        Role::State => "state",
        Role::Network => "network",
        Role::Teacher => "teacher",
        Role::Op => "op",
        Role::Loss => "loss",
        Role::Backward => "backward",
        Role::Update => "update",
    };
    let round = if part.role == Role::Input { height / 2.0 } else { 6.0 };
    let mut out = format!(
        "<g class=\"{class}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>\
         <text class=\"name\" x=\"{}\" y=\"{}\">{}</text>",
        px(x - width / 2.0),
        px(y),
        px(width),
        px(height),
        px(round),
        px(x),
        px(y + 19.0),
        escape(&part.title)
    );
    for (i, text) in part.lines.iter().enumerate() {
        let y = y + 19.0 + LINE * (i + 1) as f64;
        let _ = write!(out, "<text class=\"mid\" x=\"{}\" y=\"{}\">{}</text>", px(x), px(y), escape(text));
    }
    out + "</g>\n"
}

/// Shapes, once for each tensor that leaves a box, where it leaves; on the side to which none of its edges turns.
fn labels(edges: &[Edge], ends: &[[[f64; 2]; 2]], bends: &[Vec<[f64; 3]>]) -> String {
    let mut out = String::new();
    let mut written: Vec<(usize, usize)> = Vec::new();
    let mut order: Vec<usize> = (0..edges.len()).collect();
    order.sort_by(|&i, &j| ends[i][0][0].total_cmp(&ends[j][0][0]));
    for &i in &order {
        let Edge { from, tensor, label, .. } = &edges[i];
        if written.contains(&(*from, *tensor)) {
            continue;
        }
        let [x, y] = ends[i][0];
        let next = |j: usize| bends[j].first().map_or(ends[j][1][0], |bend| bend[0]);
        let turns_right =
            |&j: &usize| (edges[j].from, edges[j].tensor) != (*from, *tensor) || next(j) > x + 4.0;
        // Neighbours on one box would write over each other: every other one stands a line lower.
        let row = written.iter().filter(|(b, _)| b == from).count() % 2;
        written.push((*from, *tensor));
        let (class, x) =
            if order.iter().all(turns_right) { ("label end", x - 5.0) } else { ("label", x + 5.0) };
        let y = y + 14.0 + 13.0 * row as f64;
        let _ =
            writeln!(out, "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>", px(x), px(y), escape(label));
    }
    out
}

#[cfg(test)]
mod tests;
