//! Boxes: what is there, and what was found.

/// An axis-aligned box in pixels, as COCO stores it: its upper left corner and its extent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    pub fn area(&self) -> f64 {
        self.width * self.height
    }

    /// The area both cover.
    pub fn intersection(&self, other: &Self) -> f64 {
        let w = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let h = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if w > 0.0 && h > 0.0 { w * h } else { 0.0 }
    }

    /// Intersection over union; 0 if both are empty.
    pub fn iou(&self, other: &Self) -> f64 {
        let i = self.intersection(other);
        if i > 0.0 { i / (self.area() + other.area() - i) } else { 0.0 }
    }
}

/// An object that is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    pub rect: Rect,
    pub class: usize,
    /// The box holds many objects of the class (COCO's `iscrowd`): any number of detections may lie in it, and none
    /// counts.
    pub crowd: bool,
    /// Need not be found, and whatever finds it does not count (Pascal VOC's `difficult`). A crowd is ignored anyway.
    pub ignore: bool,
}

/// An object that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    pub rect: Rect,
    pub class: usize,
    pub score: f64,
}
