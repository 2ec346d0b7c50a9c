//! Pascal VOC (Everingham et al. 2010): an XML file a picture.

use super::super::{Rect, Truth};
use super::{Annotated, Annotations, Names, image_sets};
use crate::{Error, Result};
use roxmltree::{Document, Node};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Endings that are tried for a picture that is named without one.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// One object of a file: its class by name.
struct Object {
    name: String,
    rect: Rect,
    difficult: bool,
}

/// Every `*.xml` of `annotations`, in order of name, with its picture in `pictures`; and the set's own split, if
/// `ImageSets/Main` beside `annotations` has one.
pub fn read(pictures: &Path, annotations: &Path) -> Result<Annotations> {
    let entries = fs::read_dir(annotations).map_err(|e| Error::io(annotations, e))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(annotations, e))?.path();
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("xml")) {
            files.push(path);
        }
    }
    files.sort();
    let mut read = Vec::with_capacity(files.len());
    let mut numbers = BTreeMap::new();
    for file in &files {
        let text = fs::read_to_string(file).map_err(|e| Error::io(file, e))?;
        let (name, objects) = parse(&text).map_err(|what| Error::data(file, what))?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // Some sets leave `filename` out.
        let path = picture(pictures, name.as_ref().unwrap_or(&stem));
        numbers.insert(stem, read.len());
        read.push((path, objects));
    }
    let names = Names::of(read.iter().flat_map(|(_, objects)| objects).map(|object| object.name.as_str()));
    let truth =
        |o: &Object| Truth { rect: o.rect, class: names.0[&o.name], crowd: false, ignore: o.difficult };
    let pictures = read
        .iter()
        .map(|(path, objects)| Annotated { path: path.clone(), truths: objects.iter().map(truth).collect() })
        .collect();
    let lists = annotations.parent().unwrap_or(Path::new("")).join("ImageSets/Main");
    let (split, notes) = image_sets::read(&lists, &numbers)?;
    Ok(Annotations { pictures, classes: names.into_names(), split, notes })
}

/// The file of that name in `folder`: as it stands, else with one of [`ENDINGS`]; some sets leave the ending out.
fn picture(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let with = |ending: &str| folder.join(format!("{name}.{ending}"));
    if path.is_file() {
        return path;
    }
    if let Some(found) = ENDINGS.iter().map(|ending| with(ending)).find(|path| path.is_file()) {
        return found;
    }
    // Not there: whoever reads it will say so, under the name that VOC would give it.
    let ends = path.extension().is_some_and(|e| ENDINGS.iter().any(|ending| e.eq_ignore_ascii_case(ending)));
    if ends { path } else { with(ENDINGS[0]) }
}

fn parse(text: &str) -> Result<(Option<String>, Vec<Object>), String> {
    let document = Document::parse(text).map_err(|e| e.to_string())?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        return Err(format!("<{}> where Pascal VOC has <annotation>", root.tag_name().name()));
    }
    let objects =
        root.children().filter(|n| n.has_tag_name("object")).map(object).collect::<Result<_, _>>()?;
    Ok((child(root, "filename").ok(), objects))
}

fn object(node: Node) -> Result<Object, String> {
    let name = child(node, "name")?;
    let bounds = node
        .children()
        .find(|n| n.has_tag_name("bndbox"))
        .ok_or_else(|| format!("the object `{name}` has no <bndbox>"))?;
    let edge = |tag: &str| -> Result<f64, String> {
        let text = child(bounds, tag)?;
        let value = text.parse().ok().filter(|value: &f64| value.is_finite());
        value.ok_or_else(|| format!("<{tag}>{text}</{tag}> of `{name}` is no number"))
    };
    // Pixels count from 1, and both ends belong to the box.
    let (x, y) = (edge("xmin")? - 1.0, edge("ymin")? - 1.0);
    let (width, height) = (edge("xmax")? - x, edge("ymax")? - y);
    let difficult = child(node, "difficult").is_ok_and(|text| text == "1");
    Ok(Object { name, rect: Rect { x, y, width, height }, difficult })
}

/// The text of the child of that name.
fn child(node: Node, tag: &str) -> Result<String, String> {
    let found = node.children().find(|n| n.has_tag_name(tag)).and_then(|n| n.text());
    match found.map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("<{}> has no <{tag}>", node.tag_name().name())),
    }
}
