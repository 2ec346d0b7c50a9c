use super::*;
use serde_json::json;

/// Tags balance, attributes are quoted, no stray `<` or `&`: well-formed XML, bar doctype, style and script.
fn assert_well_formed(page: &str) {
    let body = page.strip_prefix("<!DOCTYPE html>\n").expect("a doctype");
    let mut rest = body;
    let mut open: Vec<&str> = Vec::new();
    let mut ids = std::collections::HashSet::new();
    while let Some(start) = rest.find('<') {
        assert_entities(&rest[..start]);
        let tag = &rest[start + 1..];
        let end = tag.find('>').expect("a tag ends");
        let inside = &tag[..end];
        rest = &tag[end + 1..];
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closing tag; open: {open:?}");
            continue;
        }
        let name = inside.split([' ', '/']).next().unwrap();
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "tag <{inside}>");
        let mut attributes = inside[name.len()..].trim_end_matches('/').trim();
        while !attributes.is_empty() {
            let (key, after) =
                attributes.split_once("=\"").unwrap_or_else(|| panic!("attribute in <{inside}>"));
            assert!(
                key.chars().all(|c| c.is_ascii_lowercase() || "-X".contains(c) || "BHwx".contains(c)),
                "{key:?}"
            );
            let (value, left) = after.split_once('"').unwrap_or_else(|| panic!("quote in <{inside}>"));
            assert_entities(value);
            assert!(key != "id" || ids.insert(value), "id {value} twice");
            attributes = left.trim_start();
        }
        if !inside.ends_with('/') {
            open.push(name);
        }
        if name == "style" || name == "script" {
            let end = rest.find(&format!("</{name}>")).expect("raw text ends");
            rest = &rest[end..];
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

fn assert_entities(text: &str) {
    for (i, _) in text.match_indices('&') {
        let entity = &text[i..text.len().min(i + 8)];
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().any(|e| entity.starts_with(e));
        assert!(known, "{entity:?}");
    }
}

/// Markup without the text of style and script, where words may be anything.
fn markup(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let (body, tail) = rest.split_once("<script>").unwrap();
    let (_, end) = tail.split_once("</script>").unwrap();
    [head, body, end].concat()
}

fn check(data: &ReportData) -> String {
    check_page(render(data))
}

pub(super) fn check_page(page: String) -> String {
    assert_well_formed(&page);
    let text = markup(&page);
    for bad in ["NaN", "inf\"", " inf", "-inf", "undefined", "null", "http://", "https://"] {
        assert!(!text.contains(bad), "{bad:?} in the page: …{}…", excerpt(&text, bad));
    }
    page
}

fn excerpt<'a>(text: &'a str, what: &str) -> &'a str {
    let at = text.find(what).unwrap_or(0);
    let (mut from, mut to) = (at.saturating_sub(80), (at + 80).min(text.len()));
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    while !text.is_char_boundary(to) {
        to += 1;
    }
    &text[from..to]
}

fn picture(seed: usize) -> Picture {
    let pixels = (0..28 * 28).map(|i| ((i * (seed + 3)) % 251) as u8).collect();
    Picture { width: 28, height: 28, channels: 1, pixels }
}

fn full(steps: usize) -> ReportData {
    let mut metrics: Vec<Value> = (0..steps)
        .map(|i| {
            let t = i as f64 / steps as f64;
            json!({"kind": "step", "step": i, "epoch": i * 8 / steps, "loss": 5.5 - 3.0 * t, "lr": 0.3 * (1.0 - t),
                   "std": 0.05 + 0.03 * t, "images_per_second": 870.0 + (i % 7) as f64})
        })
        .collect();
    metrics.extend((0..8).map(|e| {
        json!({"kind": "epoch", "epoch": e, "loss": 3.0, "seconds": 9.0, "collapse":
               {"std": 0.07, "std_ideal": 0.0884, "effective_rank": 10.0 + e as f64, "alignment": 0.2, "uniformity": -2.0}})
    }));
    ReportData {
        title: "simclr on Fashion-MNIST".into(),
        summary: json!({
            "method": "simclr", "encoder": "resnet10", "epochs": 8, "batch": 256, "device": "cpu", "seconds": 92.4,
            "images_per_second": 871.3, "knn_top1": 0.812, "linear_top1": 0.841, "parameters": 305_216,
            "dataset": "fashion-mnist-10k", "classes": 10, "train_images": 8000, "test_images": 2000,
            "untrained": {"knn_top1": 0.7, "linear_top1": 0.743}, "raw_pixels": {"knn_top1": 0.719, "linear_top1": 0.806},
            "collapse": {"std": 0.071, "std_ideal": 0.0884, "effective_rank": 41.7, "alignment": 0.31,
                         "uniformity": -2.6, "verdict": "healthy"}}),
        metrics,
        config_toml: "seed = 0\n[encoder]\nname = \"resnet10\"\nwidth = 16\n".into(),
        command: String::new(),
        classes: (0..10).map(|i| format!("kind {i}")).collect(),
        views: (0..6).map(|i| vec![picture(i), picture(i + 1), picture(i + 2)]).collect(),
        neighbours: (0..4)
            .map(|i| NeighbourRow {
                query: (picture(i), i as i64),
                found: (0..8)
                    .map(|j| (picture(j), if j < 6 { i as i64 } else { 9 }, 0.99 - 0.01 * j as f32))
                    .collect(),
            })
            .collect(),
        map: (0..1500)
            .map(|i| {
                let (class, a) = ((i % 10) as f32, i as f32 * 0.7);
                MapPoint {
                    x: 9.0 * (class * 0.63).cos() + a.cos(),
                    y: 9.0 * (class * 0.63).sin() + a.sin(),
                    label: i as i64 % 10,
                }
            })
            .collect(),
    }
}

#[test]
fn a_full_report_says_what_it_should() {
    let page = check(&full(1000));
    for text in [
        "81.2\u{202f}%",
        "+11.2 points",
        "84.1\u{202f}%",
        "Healthy",
        "kind 9",
        "24 of 32 agree",
        "1/√d",
        "guessing",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.contains("rusa pretrain --method simclr --encoder resnet10 --epochs 8 --batch 256"));
}

#[test]
fn length_of_training_does_not_swell_the_page() {
    let (short, long) = (render(&full(1000)).len(), render(&full(100_000)).len());
    assert!(long < short + 20_000 && long < 400_000, "{short} then {long} bytes");
}

#[test]
fn nothing_at_all_is_still_a_page() {
    let page = check(&ReportData::default());
    assert!(page.contains("No values recorded.") && page.contains("No map was made."));
    for summary in
        [json!({}), json!([]), json!("text"), json!({"collapse": 3, "untrained": "no", "knn_top1": "x"})]
    {
        check(&ReportData {
            summary,
            metrics: vec![json!({}), json!(1), json!({"kind": "step"})],
            ..Default::default()
        });
    }
}

#[test]
fn values_that_are_not_finite_or_alone() {
    let mut data = full(40);
    for (i, m) in data.metrics.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0) {
        m["loss"] = json!(if i % 2 == 0 { f64::NAN } else { f64::INFINITY });
        m["std"] = json!(f64::MAX);
        m["lr"] = json!(-1e-300);
    }
    data.summary["knn_top1"] = json!(f64::NAN);
    data.summary["linear_top1"] = json!(17.0);
    data.summary["collapse"]["std_ideal"] = json!(0.0);
    data.map[3].x = f32::NAN;
    data.map[4].y = f32::INFINITY;
    data.neighbours[0].found[0].2 = f32::NAN;
    data.views[0][1].pixels.pop();
    assert!(check(&data).contains("14 steps without a finite value"));

    let mut one = full(1);
    one.map.truncate(1);
    let page = check(&one);
    assert!(page.contains("<circle class=\"dot\"") && page.contains("All points coincide"));
}

#[test]
fn hostile_text_stays_text() {
    let evil = "</script><img src=x onerror=alert(1)>\"'&";
    let mut data = full(5);
    data.title = evil.into();
    data.config_toml = evil.into();
    data.command = evil.into();
    data.classes = vec![evil.into(); 10];
    for key in ["method", "encoder", "device", "dataset"] {
        data.summary[key] = json!(evil);
    }
    data.summary["collapse"]["verdict"] = json!({"state": "warning", "advice": evil});
    let page = check(&data);
    assert!(!page.contains("<img src=x"));
}

#[test]
fn a_collapsed_run_is_called_so() {
    let mut data = full(10);
    data.summary["collapse"] =
        json!({"std": 1e-4, "std_ideal": 0.0884, "effective_rank": 1.1, "alignment": 0.0, "uniformity": 0.0});
    assert!(check(&data).contains("trivial solution, one point for all inputs"));
    data.summary["collapse"] = json!({"verdict": {"state": "collapsed", "advice": "stop it"}});
    assert!(check(&data).contains("stop it"));
    // Features that are fine do not hide what else the run shows.
    data.summary["collapse"]["verdict"] = json!("healthy");
    data.summary["verdicts"] = json!([{"state": "warning", "advice": "few prototypes"}, {"state": "warning", "advice": "stuck loss"}]);
    data.summary["prototypes"] = json!({"prototypes": 512, "dead": 498, "images": 2000});
    let page = check(&data);
    for words in ["Warning: watch this run", "few prototypes", "stuck loss", "498 of 512"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn many_classes_and_large_pictures() {
    let mut data = full(10);
    data.map.iter_mut().enumerate().for_each(|(i, p)| p.label = (i % 130) as i64 - 5);
    let pixels = vec![90; 224 * 224 * 3];
    let picture = || Picture { width: 224, height: 224, channels: 3, pixels: pixels.clone() };
    data.views = (0..100).map(|_| vec![picture(), picture(), picture()]).collect();
    let page = check(&data);
    assert!(page.contains("and 90 more") && page.contains("class -5"));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}
