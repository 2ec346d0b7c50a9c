//! Of detections that overlap, the best.

use super::Found;

/// Greedy non-maximum suppression within each class: by falling score, drops what overlaps a better one by more than
/// `iou`; at most `most` are kept over all classes. Ties keep their order.
pub fn non_maximum_suppression(mut found: Vec<Found>, iou: f64, most: usize) -> Vec<Found> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Found> = Vec::new();
    for one in found {
        if kept.len() == most {
            break;
        }
        if kept.iter().all(|k| k.class != one.class || k.rect.iou(&one.rect) <= iou) {
            kept.push(one);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::detection::Rect;

    fn found(x: f64, class: usize, score: f64) -> Found {
        Found { rect: Rect { x, y: 0.0, width: 10.0, height: 10.0 }, class, score }
    }

    #[test]
    fn the_best_of_each_heap_and_class_stays() {
        // 0 and 2 overlap by 8/12; 2 and 6 by 6/14; 0 and 6 by 4/16.
        let all = vec![found(0.0, 0, 0.5), found(2.0, 0, 0.9), found(6.0, 0, 0.4), found(2.0, 1, 0.3)];
        let kept = non_maximum_suppression(all.clone(), 0.5, 100);
        assert_eq!(kept, [all[1], all[2], all[3]]);
        assert_eq!(non_maximum_suppression(all.clone(), 0.7, 100).len(), 4);
        assert_eq!(non_maximum_suppression(all.clone(), 0.4, 100), [all[1], all[3]]);
        assert_eq!(non_maximum_suppression(all.clone(), 0.5, 1), [all[1]]);
    }
}
