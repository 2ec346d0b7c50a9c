//! Images beside their views, and images beside their neighbours.

use super::html::{escape, missing};
use super::picture::img;
use super::{NeighbourRow, ReportData};
use std::fmt::Write;

/// Rows shown at most.
const MAX_VIEWS: usize = 24;
const MAX_QUERIES: usize = 16;
const MAX_FOUND: usize = 12;

pub(super) fn views(data: &ReportData) -> String {
    if data.views.is_empty() {
        return missing("No pictures of views were made.");
    }
    let mut out = String::from(
        "<p class=\"lead\">What each step makes of an image. From views, the encoder learns to give all of them the same \
         feature, so it must ignore what the augmentation changes (position, size, brightness …) and keep what it \
         leaves: what the thing is. A pretext task asks what was done: how tiles were shuffled, where a patch lay.</p>\
         <div class=\"views\">",
    );
    for (i, pictures) in data.views.iter().take(MAX_VIEWS).enumerate() {
        let Some((image, views)) = pictures.split_first() else { continue };
        let n = i + 1;
        let image = img(image, &format!("image {n}"));
        let _ = write!(out, "<figure>{image}<span class=\"arrow\" aria-hidden=\"true\">→</span>");
        for (v, view) in views.iter().enumerate() {
            out += &img(view, &format!("view {} of image {n}", v + 1));
        }
        out += "</figure>";
    }
    out + "</div>"
}

pub(super) fn neighbours(data: &ReportData) -> String {
    if data.neighbours.iter().all(|row| row.found.is_empty()) {
        return missing("No neighbours were looked up.");
    }
    let rows = &data.neighbours[..data.neighbours.len().min(MAX_QUERIES)];
    let shown =
        || rows.iter().flat_map(|row| row.found.iter().take(MAX_FOUND).map(move |f| f.1 == row.query.1));
    let (same, all) = (shown().filter(|same| *same).count(), shown().count());
    let mut out = format!(
        "<p class=\"lead\">Test images (left) and the images whose features are most similar, best first. A <span \
         class=\"key same\">✓ solid</span> frame is the same class, a <span class=\"key other\">✗ dashed</span> one \
         another: here {same} of {all} agree, though the encoder never saw a class. The number is the cosine of the \
         angle between the features: 1 is the same direction.</p><div class=\"neighbours\">"
    );
    rows.iter().for_each(|row| neighbour_row(data, row, &mut out));
    out + "</div>"
}

fn neighbour_row(data: &ReportData, row: &NeighbourRow, out: &mut String) {
    let name = data.class(row.query.1);
    let _ = write!(
        out,
        "<div class=\"row\"><figure class=\"query\">{}<figcaption>{}</figcaption></figure>\
         <span class=\"arrow\" aria-hidden=\"true\">→</span>",
        img(&row.query.0, &format!("query: {name}")),
        escape(&name)
    );
    for (picture, label, similarity) in row.found.iter().take(MAX_FOUND) {
        let (class, sign) = if *label == row.query.1 { ("same", "✓") } else { ("other", "✗") };
        let name = data.class(*label);
        let cosine = if similarity.is_finite() { format!("{similarity:.2}") } else { "–".into() };
        let _ = write!(
            out,
            "<figure class=\"{class}\" title=\"{0}, cosine {cosine}\">{1}<figcaption>{sign} {cosine}<span>{0}</span>\
             </figcaption></figure>",
            escape(&name),
            img(picture, &name)
        );
    }
    out.push_str("</div>");
}
