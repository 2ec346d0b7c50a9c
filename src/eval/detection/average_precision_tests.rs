use super::*;
use crate::eval::detection::Rect;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// Rows are image, class, x, y, width, height, then crowd or score.
#[derive(Deserialize)]
struct Case {
    name: String,
    images: usize,
    classes: usize,
    truths: Vec<(usize, usize, f64, f64, f64, f64, bool)>,
    found: Vec<(usize, usize, f64, f64, f64, f64, f64)>,
    ap: f64,
    ap50: f64,
    ap75: f64,
    by_class: Vec<Option<f64>>,
}

fn rect(x: f64, y: f64, width: f64, height: f64) -> Rect {
    Rect { x, y, width, height }
}

#[test]
fn the_numbers_are_those_of_pycocotools() {
    let text = include_str!("../../../tests/golden/detection/average_precision.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    assert!(golden.cases.len() >= 5);
    for case in golden.cases {
        let (mut truths, mut found) = (vec![Vec::new(); case.images], vec![Vec::new(); case.images]);
        for (image, class, x, y, w, h, crowd) in case.truths {
            truths[image].push(Truth { rect: rect(x, y, w, h), class, crowd, ignore: false });
        }
        for (image, class, x, y, w, h, score) in case.found {
            found[image].push(Found { rect: rect(x, y, w, h), class, score });
        }
        let got = average_precision(&truths, &found, case.classes).unwrap();
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{}: {got} {want}", case.name);
        near(got.ap, case.ap);
        near(got.ap50, case.ap50);
        near(got.ap75, case.ap75);
        assert_eq!(got.by_class.len(), case.by_class.len());
        for (got, want) in got.by_class.iter().zip(&case.by_class) {
            assert_eq!(got.is_some(), want.is_some(), "{}", case.name);
            near(got.unwrap_or(0.0), want.unwrap_or(0.0));
        }
    }
}

/// One object found at IoU 0.8, and half of the objects: AP by hand.
#[test]
fn by_hand() {
    let truth = |x| Truth { rect: rect(x, 0.0, 10.0, 10.0), class: 0, crowd: false, ignore: false };
    let near = Found { rect: rect(0.0, 0.0, 10.0, 8.0), class: 0, score: 0.5 };
    let got = average_precision(&[vec![truth(0.0)]], &[vec![near]], 1).unwrap();
    // Right at .50 to .80, seven of ten thresholds.
    assert!((got.ap - 0.7).abs() < 1e-12 && got.ap50 > 1.0 - 1e-12, "{got:?}");
    // Of two objects one: levels 0 to 0.50, 51 of 101.
    let half = average_precision(&[vec![truth(0.0), truth(50.0)]], &[vec![near]], 1).unwrap();
    assert!((half.ap50 - 51.0 / 101.0).abs() < 1e-12, "{half:?}");
}

/// What is to be ignored costs nothing, found or not; what finds it does not count as wrong.
#[test]
fn difficult_objects_do_not_count() {
    let at = |x, ignore| Truth { rect: rect(x, 0.0, 10.0, 10.0), class: 0, crowd: false, ignore };
    let hit = |x, score| Found { rect: rect(x, 0.0, 10.0, 10.0), class: 0, score };
    let truths = [vec![at(0.0, false), at(50.0, true)]];
    let score = |found: Vec<Found>| average_precision(&truths, &[found], 1).unwrap().ap;
    assert_eq!(score(vec![hit(0.0, 0.5)]), score(vec![hit(0.0, 0.5), hit(50.0, 0.9)]));
    // A second detection of it is wrong, as it would be of any object; a crowd takes any number.
    assert!(score(vec![hit(0.0, 0.5), hit(50.0, 0.9), hit(50.0, 0.8)]) < 0.6);
    let crowd = [vec![at(0.0, false), Truth { crowd: true, ..at(50.0, false) }]];
    let found = vec![hit(0.0, 0.5), hit(50.0, 0.9), hit(50.0, 0.8)];
    assert!(average_precision(&crowd, &[found], 1).unwrap().ap > 1.0 - 1e-12);
}

#[test]
fn what_cannot_be_judged_is_said() {
    let truth = Truth { rect: rect(0.0, 0.0, 1.0, 1.0), class: 0, crowd: false, ignore: false };
    let found = Found { rect: truth.rect, class: 0, score: f64::NAN };
    let say = |t: &[Vec<Truth>], f: &[Vec<Found>], k| average_precision(t, f, k).unwrap_err().to_string();
    assert!(say(&[vec![truth]], &[vec![found]], 1).contains("NaN"));
    assert!(say(&[vec![truth]], &[], 1).contains("1 images with objects, 0"));
    assert!(say(&[vec![truth]], &[vec![]], 0).contains("class 0 of 0"));
    assert!(say(&[vec![]], &[vec![]], 1).contains("no object to find"));
}
