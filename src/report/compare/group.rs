//! Runs that differ in nothing but the seed are one row.

use super::read::Run;
use crate::eval::{Spread, wilson_interval};
use crate::report::html::{at, number};
use serde_json::{Value, json};
use std::path::Path;

/// A method, or a configuration of it, and its runs.
pub(super) struct Group<'a> {
    pub name: String,
    pub runs: Vec<&'a Run>,
}

/// What a complete summary holds, and how to say that it is not there.
const EXPECTED: [(&str, &str); 5] = [
    ("knn_top1", "kNN accuracy"),
    ("linear_top1", "linear accuracy"),
    ("collapse.std", "collapse figures"),
    ("images_per_second", "images a second"),
    ("seconds", "time"),
];

/// The best linear accuracy first, without one last, equals by name. A run with the configuration and the seed of an earlier one is a row of its own.
pub(super) fn groups(runs: &[Run]) -> Vec<Group<'_>> {
    let seed = |run: &Run| at(&run.summary, "seed").cloned();
    let mut groups: Vec<Vec<&Run>> = Vec::new();
    for run in runs {
        let same = |other: &Run| {
            other.config == run.config && at(&other.summary, "method") == at(&run.summary, "method")
        };
        let home = groups.iter_mut().find(|g| same(g[0]) && g.iter().all(|r| seed(r) != seed(run)));
        match home {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    let method = |run: &Run| match at(&run.summary, "method") {
        Some(Value::String(name)) => name.clone(),
        _ => "unknown method".into(),
    };
    let names: Vec<String> = groups.iter().map(|g| method(g[0])).collect();
    let alone = |name: &String| names.iter().filter(|n| *n == name).count() == 1;
    let name = |(name, runs): (&String, Vec<&'_ Run>)| {
        let folder = Path::new(&runs[0].folder)
            .file_name()
            .map_or(runs[0].folder.clone(), |f| f.to_string_lossy().into());
        if alone(name) { name.clone() } else { format!("{name} ({folder})") }
    };
    let named: Vec<String> = names.iter().zip(groups.clone()).map(name).collect();
    let mut groups: Vec<Group> =
        named.into_iter().zip(groups).map(|(name, runs)| Group { name, runs }).collect();
    let linear = |g: &Group| g.share("", "linear_top1").map_or(-1.0, |figure| figure.value);
    groups.sort_by(|a, b| linear(b).total_cmp(&linear(a)).then_with(|| a.name.cmp(&b.name)));
    groups
}

/// A figure of a group with its 95 % interval, where that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
    pub runs: usize,
}

impl Group<'_> {
    /// The values of the runs that have the key.
    pub fn values(&self, key: &str) -> Vec<f64> {
        self.runs.iter().filter_map(|run| number(&run.summary, key)).collect()
    }

    /// The mean over runs of a share at `{path}{key}`. Several runs: Student's interval over seeds. One: Wilson's over
    /// test images.
    pub fn share(&self, path: &str, key: &str) -> Option<Figure> {
        let values: Vec<f64> =
            self.values(&format!("{path}{key}")).into_iter().filter(|v| (0.0..=1.0).contains(v)).collect();
        match values[..] {
            [] => None,
            [value] => {
                let images = self.runs.iter().find_map(|run| number(&run.summary, "test_images"));
                let interval = images.filter(|n| *n >= 1.0).map(|n| wilson_interval(value, n as usize));
                Some(Figure { value, interval, runs: 1 })
            }
            _ => {
                let Spread { mean, low, high, runs } = Spread::of(values, [0.0, 1.0]);
                Some(Figure { value: mean, interval: Some((low, high)), runs: runs.len() })
            }
        }
    }

    /// Mean over the runs that have the key.
    pub fn mean(&self, key: &str) -> Option<f64> {
        let values = self.values(key);
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// The worst verdict of its runs, and that one's advice.
    pub fn verdict(&self) -> (&'static str, String) {
        let of = |run: &&Run| {
            let data = crate::report::ReportData { summary: run.summary.clone(), ..Default::default() };
            crate::report::collapse::judgement(&data)
        };
        let all: Vec<(String, String)> = self.runs.iter().map(of).collect();
        for state in ["collapsed", "warning", "healthy"] {
            if let Some((_, advice)) = all.iter().find(|(s, _)| s == state) {
                return (state, advice.clone());
            }
        }
        ("unknown", String::new())
    }

    /// Sentences on what the summaries of its runs lack.
    pub fn gaps(&self) -> Vec<String> {
        let lacking = |run: &&Run| {
            let missing: Vec<&str> = EXPECTED
                .iter()
                .filter(|(key, _)| number(&run.summary, key).is_none())
                .map(|(_, what)| *what)
                .collect();
            (!missing.is_empty())
                .then(|| format!("{}/summary.json is incomplete: no {}", run.folder, missing.join(", no ")))
        };
        self.runs.iter().filter_map(lacking).collect()
    }

    /// The data set, as it was given.
    pub fn data(&self) -> String {
        let name = at(&self.runs[0].summary, "dataset").and_then(Value::as_str);
        name.map_or(crate::report::html::DASH.into(), String::from)
    }

    /// The lists that its runs have, empty ones left out.
    pub fn lists(&self, of: impl Fn(&Run) -> Option<&Value>) -> Vec<&[Value]> {
        let lists = self.runs.iter().filter_map(|run| of(run)?.as_array());
        lists.map(Vec::as_slice).filter(|list| !list.is_empty()).collect()
    }

    pub fn seeds(&self) -> String {
        let seed = |run: &&Run| number(&run.summary, "seed").map_or("?".into(), |s| s.to_string());
        self.runs.iter().map(seed).collect::<Vec<_>>().join(", ")
    }

    pub fn to_json(&self) -> Value {
        let figure =
            |f: Option<Figure>| f.map(|f| json!({"value": f.value, "interval": f.interval, "runs": f.runs}));
        let (verdict, advice) = self.verdict();
        let mut out = json!({
            "name": self.name,
            "method": at(&self.runs[0].summary, "method"),
            "dataset": at(&self.runs[0].summary, "dataset"),
            "runs": self.runs.iter().map(|r| &r.folder).collect::<Vec<_>>(),
            "seeds": self.runs.iter().map(|r| at(&r.summary, "seed")).collect::<Vec<_>>(),
            "collapse": {"verdict": verdict, "advice": advice},
            "images_per_second": self.mean("images_per_second"),
            "seconds": self.mean("seconds"),
            "planned_memory_bytes": self.mean("planned_memory_bytes"),
            "incomplete": self.gaps(),
        });
        for (key, path) in [("trained", ""), ("untrained", "untrained."), ("raw_pixels", "raw_pixels.")] {
            out[key] = json!({
                "knn_top1": figure(self.share(path, "knn_top1")),
                "linear_top1": figure(self.share(path, "linear_top1")),
            });
        }
        out
    }
}
