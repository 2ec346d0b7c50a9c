//! COCO (Lin et al. 2014): one JSON file for all pictures.

use super::super::{Rect, Truth};
use super::{Annotated, Annotations, Names};
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[derive(Deserialize)]
struct File {
    images: Vec<Picture>,
    annotations: Vec<Object>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Picture {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Object {
    image_id: u64,
    category_id: u64,
    /// x, y, width, height.
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// All pictures that the file lists, those without objects too, in order of id.
pub fn read(pictures: &Path, file: &Path) -> Result<Annotations> {
    let text = fs::read_to_string(file).map_err(|e| Error::io(file, e))?;
    let read: File = serde_json::from_str(&text)
        .map_err(|e| Error::data(file, format!("not COCO's object annotations: {e}")))?;
    let names = Names::of(read.categories.iter().map(|c| c.name.as_str()));
    let classes: BTreeMap<u64, usize> = read.categories.iter().map(|c| (c.id, names.0[&c.name])).collect();
    let mut by_id: BTreeMap<u64, Annotated> = read
        .images
        .into_iter()
        .map(|p| (p.id, Annotated { path: pictures.join(p.file_name), truths: Vec::new() }))
        .collect();
    for object in read.annotations {
        let Object { image_id, category_id, bbox: [x, y, width, height], iscrowd } = object;
        let fail = |what: String| Error::data(file, format!("an object of image {image_id}: {what}"));
        let &class = classes
            .get(&category_id)
            .ok_or_else(|| fail(format!("category {category_id} is not in `categories`")))?;
        let picture = by_id.get_mut(&image_id).ok_or_else(|| fail("the image is not in `images`".into()))?;
        let rect = Rect { x, y, width, height };
        picture.truths.push(Truth { rect, class, crowd: iscrowd != 0, ignore: false });
    }
    let pictures = by_id.into_values().collect();
    Ok(Annotations { classes: names.into_names(), pictures, ..Annotations::default() })
}
