//! docs/methods has a page and a picture for every method, and tells every setting with its default.

use super::{METHODS, Method};
use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::PathBuf;
use toml::{Table, Value};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/methods")
}

fn page(method: &Method) -> String {
    let path = folder().join(format!("{}.md", method.name));
    read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `tile.size` of a table `tile`.
fn flat(table: &Table) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                all.extend(flat(inner).into_iter().map(|(n, v)| (format!("{name}.{n}"), v)))
            }
            _ => all.push((name.clone(), value.clone())),
        }
    }
    all
}

/// Alike as f32, which settings are.
fn alike(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| v.as_float().or(v.as_integer().map(|i| i as f64)).map(|x| x as f32);
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        _ => a == b || number(a).is_some_and(|a| number(b) == Some(a)),
    }
}

#[test]
fn every_method_has_a_page_and_every_page_a_method() {
    let listed = read_to_string(folder().join("README.md")).unwrap();
    let mut expected = BTreeSet::from(["README.md".to_string()]);
    for method in METHODS {
        let name = method.name;
        assert!(listed.contains(&format!("[`{name}`]({name}.md)")), "README.md does not list {name}");
        let text = page(method);
        assert!(
            text.lines().next().is_some_and(|l| l.ends_with(&format!(": `{name}`"))),
            "{name}: its first line"
        );
        assert!(text.contains(&format!("]({name}.svg)")), "{name} shows no picture");
        expected.extend([format!("{name}.md"), format!("{name}.svg")]);
    }
    let there: BTreeSet<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, expected, "scripts/draw-methods.sh draws the pictures");
}

/// Every number in a value.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(all) => all.iter().flat_map(numbers).collect(),
        Value::Table(all) => all.values().flat_map(numbers).collect(),
        _ => value.as_float().or(value.as_integer().map(|i| i as f64)).into_iter().collect(),
    }
}

#[test]
fn pages_quote_what_the_small_runs_settings_are() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("presets/methods.toml");
    let wants: Table = read_to_string(path).unwrap().parse().unwrap();
    for (method, wants) in &wants {
        let text = page(super::find(method).unwrap());
        let (_, presets) = text.split_once("## Presets").unwrap();
        let quoted: Vec<f64> = presets[..presets.find("\n## ").unwrap()]
            .replace(',', "")
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .filter_map(|word| word.trim_end_matches('.').parse().ok())
            .collect();
        for number in numbers(wants) {
            assert!(quoted.contains(&number), "{method}.md does not say that methods.toml sets {number}");
        }
    }
}

#[test]
fn pages_name_every_setting_with_its_default_and_no_other() {
    for method in METHODS {
        let text = page(method);
        let rows: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0)))
            .collect();
        let settings = flat(&method.settings(&Table::new()).unwrap());
        for (name, value) in &settings {
            let Some((_, said)) = rows.iter().find(|(row, _)| row == name) else {
                panic!("{}.md does not name `{name}`", method.name)
            };
            let parsed: Table =
                format!("x = {said}").parse().unwrap_or_else(|e| panic!("{}: {name}: {e}", method.name));
            assert!(
                alike(&parsed["x"], value),
                "{}.md says {name} is {said}, but it is {value}",
                method.name
            );
        }
        let names: BTreeSet<_> = settings.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(rows.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), names, "{}", method.name);
        assert_eq!(rows.len(), names.len(), "{}: a setting twice", method.name);
    }
}
