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

    /// The part within a picture of `width` × `height` pixels; `None` if nothing is left, nor if there was nothing.
    pub fn within(&self, width: f64, height: f64) -> Option<Self> {
        let inside =
            self.x >= 0.0 && self.y >= 0.0 && self.x + self.width <= width && self.y + self.height <= height;
        // As it is where it can be: an extent from the difference of two ends is rounded.
        let rect = if inside {
            *self
        } else {
            let (x, y) = (self.x.max(0.0), self.y.max(0.0));
            let (right, low) = ((self.x + self.width).min(width), (self.y + self.height).min(height));
            Self { x, y, width: right - x, height: low - y }
        };
        (rect.width > 0.0 && rect.height > 0.0).then_some(rect)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_cut_to_the_picture() {
        let rect = |x, y, width, height| Rect { x, y, width, height };
        let inside = rect(0.1, 0.2, 0.7, 9.8);
        assert_eq!(inside.within(10.0, 10.0), Some(inside));
        assert_eq!(rect(-2.0, -3.0, 5.0, 5.0).within(10.0, 10.0), Some(rect(0.0, 0.0, 3.0, 2.0)));
        assert_eq!(rect(8.0, 9.0, 5.0, 5.0).within(10.0, 12.0), Some(rect(8.0, 9.0, 2.0, 3.0)));
        assert_eq!(rect(-5.0, -5.0, 90.0, 90.0).within(4.0, 3.0), Some(rect(0.0, 0.0, 4.0, 3.0)));
        for none in [rect(10.0, 0.0, 5.0, 5.0), rect(-5.0, 0.0, 5.0, 5.0), rect(2.0, 2.0, 0.0, 5.0)] {
            assert_eq!(none.within(10.0, 10.0), None, "{none:?}");
        }
        // From right to left, as in a file that mixed up its corners.
        assert_eq!(rect(6.0, 2.0, -3.0, 5.0).within(10.0, 10.0), None);
    }
}
