use super::*;
use crate::report::tests::check_page;
use std::path::Path;

fn run(method: &str, seed: u64, linear: f64) -> Run {
    let scores = |x: f64| json!({"knn_top1": x - 0.05, "linear_top1": x});
    let mut summary = json!({
        "method": method, "encoder": "resnet10", "dataset": "embedded", "epochs": 4, "batch": 128, "seed": seed,
        "test_images": 2000, "images_per_second": 400.0, "seconds": 80.0,
        "untrained": scores(0.7), "raw_pixels": scores(0.8),
        "collapse": {"std": 0.06, "std_ideal": 0.0884, "effective_rank": 28.0, "alignment": 0.4, "uniformity": -1.3},
        "knn_top1": linear - 0.05, "linear_top1": linear,
    });
    if method == "cosine" {
        summary["collapse"] = json!({"std": 1e-4, "std_ideal": 0.0884, "effective_rank": 1.0, "alignment": 0.0, "uniformity": 0.0});
    }
    let losses = (1..500).map(|i| (f64::from(i), 5.0 / f64::from(i))).collect();
    Run { folder: format!("runs/{method}-{seed}"), summary, losses, ..Run::default() }
}

fn with_extras(mut run: Run) -> Run {
    let curve = |b: f64| json!({"mean": [1.0, 0.8], "std": [0.0, 0.1], "relative": [1.0, b]});
    run.layers = Some(json!([
        {"name": "conv1", "features": 64, "linear_top1": 0.6, "interval": [0.58, 0.62], "untrained": 0.5, "untrained_interval": [0.48, 0.52]},
        {"name": "res5", "features": 64, "linear_top1": 0.9, "interval": [0.88, 0.92], "untrained": 0.7, "untrained_interval": [0.68, 0.72]},
    ]));
    let spread = |x: f64| json!({"mean": x, "low": x - 0.1, "high": x + 0.1, "runs": [x, x]});
    run.few = Some(json!([1, 10].map(|n| json!({
        "labels_per_class": n, "pretrained": spread(0.6), "untrained": spread(0.4), "raw_pixels": spread(0.5)
    }))));
    run.diagnostics = Some(json!({"invariance": [{
        "nuisance": "rotation", "unit": "degrees", "values": [0.0, 90.0], "trained": curve(0.6), "untrained": curve(0.2)
    }]}));
    run.spectrum = Some(vec![2.0, 1.0, 0.0]);
    run
}

#[test]
fn seeds_become_one_row() {
    let runs = [run("simclr", 0, 0.80), run("cosine", 0, 0.72), run("simclr", 1, 0.84)];
    let found = groups(&runs);
    assert_eq!(
        found.iter().map(|g| (g.name.as_str(), g.runs.len())).collect::<Vec<_>>(),
        [("simclr", 2), ("cosine", 1)]
    );
    let figure = found[0].share("", "linear_top1").unwrap();
    // t(1) = 12.706 times 0.02, the standard error of 0.80 and 0.84.
    assert!(
        (figure.value - 0.82).abs() < 1e-12 && (figure.interval.unwrap().0 - (0.82 - 0.254124)).abs() < 1e-5
    );
    // One run has Wilson's interval.
    let (low, high) = found[1].share("", "linear_top1").unwrap().interval.unwrap();
    assert!(low > 0.69 && high < 0.75, "{low} {high}");
    let table = compare_markdown(&runs);
    assert!(
        table.contains("| simclr | 0, 1 | 77.0 %") && table.contains("+12.0 points | 70.0 % | 80.0 %"),
        "{table}"
    );
    assert!(table.lines().nth(3).unwrap().contains("| collapsed |"), "{table}");
    let json = compare_json(&runs);
    assert_eq!(json["methods"][0]["trained"]["linear_top1"]["runs"], 2);
    assert_eq!(json["methods"][1]["collapse"]["verdict"], "collapsed");
}

#[test]
fn what_differs_is_no_seed() {
    let mut other = run("simclr", 1, 0.84);
    other.config = "temperature = 0.5".into();
    let runs = [run("simclr", 0, 0.80), other, run("simclr", 0, 0.81)];
    let names: Vec<String> = groups(&runs).into_iter().map(|g| g.name).collect();
    // The last has the first's configuration and seed: no second sample, but a row of its own. The best comes first.
    assert_eq!(names, ["simclr (simclr-1)", "simclr (simclr-0)", "simclr (simclr-0)"]);
}

#[test]
fn best_first_ties_by_name_unknown_last() {
    let mut torn = run("byol", 0, 0.9);
    torn.summary.as_object_mut().unwrap().remove("linear_top1");
    let runs = [torn, run("swav", 0, 0.8), run("dino", 0, 0.7), run("simclr", 0, 0.8)];
    let names: Vec<String> = groups(&runs).into_iter().map(|g| g.name).collect();
    assert_eq!(names, ["simclr", "swav", "dino", "byol"]);
}

#[test]
fn runs_of_different_data_are_not_compared_without_a_word() {
    let same = [run("simclr", 0, 0.8), run("byol", 0, 0.7)];
    assert!(incomparable(&same).is_empty() && !compare_markdown(&same).contains("| data |"));
    let page = check_page(compare(&same));
    assert!(!page.contains("do not compare"));
    // What is the same for all stands once, above the table.
    assert!(page.contains("linear probe, untrained: 70.0") && !page.contains(">raw pixels</th>"));

    let mut other = run("byol", 0, 0.7);
    other.summary["dataset"] = json!("data/cats|dogs");
    other.summary["epochs"] = json!(8);
    other.summary["untrained"]["linear_top1"] = json!(0.6);
    let runs = [run("simclr", 0, 0.8), other];
    let found = incomparable(&runs);
    assert_eq!(
        found,
        [
            "data: embedded (runs/simclr-0), data/cats|dogs (runs/byol-0)",
            "epochs: 4 (runs/simclr-0), 8 (runs/byol-0)"
        ]
    );
    let table = compare_markdown(&runs);
    assert!(table.contains("| method | data | seeds |") && table.contains("| byol | data/cats\\|dogs | 0 |"));
    let page = check_page(compare(&runs));
    assert!(page.contains("do not compare") && page.contains("<td>data/cats|dogs</td>"));
    assert!(page.contains(">untrained</th>") && page.contains("linear probe, raw pixels: 80.0"));
    assert_eq!(compare_json(&runs)["incomparable"][1], found[1]);
}

#[test]
fn curves_are_means_over_seeds() {
    let again = |seed, by: f64| {
        let mut run = with_extras(run("simclr", seed, 0.8));
        run.layers.as_mut().unwrap()[0]["linear_top1"] = json!(0.6 + by);
        run
    };
    let one = check_page(compare(&[again(0, 0.0)]));
    let two = check_page(compare(&[again(0, 0.0), again(1, 0.2)]));
    assert!(!one.contains("runs)</li>"));
    // Spectrum, invariance, layers, few labels, and the losses.
    assert_eq!(two.matches("simclr (2 runs)</li>").count(), 5);
    let only_first = check_page(compare(&[again(0, 0.0), run("simclr", 1, 0.8)]));
    assert_eq!(only_first.matches("simclr (2 runs)</li>").count(), 1);
}

#[test]
fn a_warning_on_other_signs_than_the_features_is_the_methods_verdict() {
    let mut dino = run("dino", 0, 0.8);
    dino.summary["collapse"]["verdict"] = json!("healthy");
    dino.summary["verdicts"] = json!([{"state": "warning", "advice": "506 of 512 prototypes"}]);
    let runs = [dino, run("simclr", 0, 0.7)];
    assert_eq!(groups(&runs)[0].verdict(), ("warning", "506 of 512 prototypes".to_string()));
    assert_eq!(groups(&runs)[1].verdict().0, "healthy");
}

#[test]
fn the_page_shows_what_there_is_and_says_what_is_not() {
    let bare = check_page(compare(&[run("simclr", 0, 0.8)]));
    for command in ["rusa diagnose RUN", "--layers --json RUN/layers.json", "--few --json RUN/few.json"] {
        assert!(bare.contains(command), "{command}");
    }
    assert_eq!(bare.matches("Nothing to draw yet.").count(), 4);
    let full = check_page(compare(&[with_extras(run("simclr", 0, 0.8)), with_extras(run("cosine", 0, 0.7))]));
    assert!(!full.contains("Nothing to draw yet.") && !full.contains("Not measured for"));
    for text in
        ["rotation", "res5", "labels a class", "trivial solution", "2 methods side by side", "raw pixels"]
    {
        assert!(full.contains(text), "{text}");
    }
    let mixed = check_page(compare(&[with_extras(run("simclr", 0, 0.8)), run("byol", 3, 0.7)]));
    assert!(mixed.contains("Not measured for runs/byol-3"));
}

#[test]
fn an_incomplete_or_hostile_summary_is_shown_as_such() {
    let mut torn = run("simclr", 0, 0.8);
    torn.summary.as_object_mut().unwrap().remove("linear_top1");
    torn.losses = vec![(1.0, f64::NAN), (f64::NAN, 1.0)];
    let evil =
        Run { folder: "<img src=x>".into(), summary: json!({"method": "</script>\"'&|"}), ..Run::default() };
    let runs = [torn, evil];
    let page = check_page(compare(&runs));
    assert!(page.contains("runs/simclr-0/summary.json is incomplete: no linear accuracy"));
    assert!(page.contains("incomplete</small>") && !page.contains("<img src=x>"));
    let table = compare_markdown(&runs);
    assert!(table.contains("| simclr (incomplete) |"), "{table}");
    assert!(table.contains("'&\\|") && !table.contains("&|"), "{table}");
    let broken = with_extras(Run { folder: "x".into(), ..Run::default() });
    check_page(compare(&[Run {
        diagnostics: Some(json!({"invariance": [1, {}]})),
        layers: Some(json!([3])),
        ..broken
    }]));
}

#[test]
fn folders_are_read_and_faults_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let fault = |path: &Path| Run::read(path).unwrap_err().to_string();
    assert!(fault(&path).contains("is no run folder"));
    std::fs::create_dir(&path).unwrap();
    assert!(fault(&path).contains("summary.json") && fault(&path).contains("has not come to its end"));
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    write("summary.json", "{\"method\": ");
    assert!(fault(&path).contains("summary.json") && fault(&path).contains("is not the JSON"));
    write("summary.json", "[1]");
    assert!(fault(&path).contains("must hold a JSON object"));
    write("summary.json", "{}");
    assert!(fault(&path).contains("summary.json") && fault(&path).contains("has no `method`"));
    write("summary.json", "{\"method\": \"simclr\", \"seed\": 4}");
    write("config.toml", "seed = 4\nepochs = 2\ndevice = \"cpu\"\n");
    write(
        "metrics.jsonl",
        "{\"kind\":\"step\",\"step\":1,\"loss\":5.5}\n{\"kind\":\"epoch\",\"step\":1}\n{\"kind\"",
    );
    write("layers.json", "{\"data\": \"embedded\"}");
    assert!(fault(&path).contains("layers.json") && fault(&path).contains("has no `layers`"));
    write("layers.json", "{\"layers\": [{\"name\": \"conv1\"}]}");
    write("diagnostics.json", "{\"diagnostics\": {\"collapse\": {\"spectrum_of_features\": [2.0, 1.0]}}}");
    let run = Run::read(&path).unwrap();
    assert_eq!((run.losses, run.config.trim()), (vec![(1.0, 5.5)], "epochs = 2"));
    assert_eq!((run.spectrum, run.layers.is_some(), run.few), (Some(vec![2.0, 1.0]), true, None));
    write("config.toml", "seed = ");
    assert!(fault(&path).contains("config.toml"));
}
