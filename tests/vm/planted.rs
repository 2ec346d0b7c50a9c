//! Each planted bug is found, at its line, by a kind that fits; its mended twin and the clean idioms pass.

use rusa::vm::{Argument, Finding, Kind, Machine, Shape};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Table {
    bugs: Vec<Case>,
    extra_clean: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    entry: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    also_accepted: Vec<String>,
    #[serde(default)]
    lines: BTreeMap<String, u32>,
    grid: u32,
    block: u32,
    shared: u32,
    buffers: BTreeMap<String, Buffer>,
    args: Vec<String>,
    #[serde(default)]
    clean_overrides: Overrides,
}

#[derive(Deserialize, Default)]
struct Overrides {
    grid: Option<u32>,
    block: Option<u32>,
    shared: Option<u32>,
    buffers: Option<BTreeMap<String, Buffer>>,
    args: Option<Vec<String>>,
}

#[derive(Deserialize, Clone)]
struct Buffer {
    dtype: String,
    len: usize,
    fill: Fill,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Fill {
    Named(String),
    Values(Vec<f64>),
}

impl Buffer {
    /// None: allocated, never written.
    fn bytes(&self) -> Option<Vec<u8>> {
        let values: Vec<f64> = match &self.fill {
            Fill::Named(name) => match name.as_str() {
                "iota" => (0..self.len).map(|i| i as f64).collect(),
                "zero" => vec![0.0; self.len],
                _ => return None,
            },
            Fill::Values(values) => values.clone(),
        };
        let bytes = values.iter().flat_map(|&value| match self.dtype.as_str() {
            "f32" => (value as f32).to_le_bytes(),
            "u32" => (value as u32).to_le_bytes(),
            _ => (value as i32).to_le_bytes(),
        });
        Some(bytes.collect())
    }
}

impl Case {
    fn mended(mut self) -> Self {
        let Overrides { grid, block, shared, buffers, args } = std::mem::take(&mut self.clean_overrides);
        self.grid = grid.unwrap_or(self.grid);
        self.block = block.unwrap_or(self.block);
        self.shared = shared.unwrap_or(self.shared);
        self.buffers = buffers.unwrap_or(self.buffers);
        self.args = args.unwrap_or(self.args);
        self
    }

    /// Runs with every check on; `free` frees the first buffer before.
    fn run(&self, ptx: &str, free: bool) -> Vec<Finding> {
        let mut machine = Machine::new();
        let module = machine.load(ptx).unwrap();
        let mut addresses = BTreeMap::new();
        for (name, buffer) in &self.buffers {
            let address = machine.allocate(name, 4 * buffer.len as u64).unwrap();
            if let Some(bytes) = buffer.bytes() {
                machine.write(address, &bytes).unwrap();
            }
            addresses.insert(name.as_str(), address);
        }
        if free {
            machine.free(addresses["a"]).unwrap();
        }
        let arguments: Vec<Argument> = self
            .args
            .iter()
            .map(|text| match text.split_once(':').unwrap() {
                ("buf", name) => Argument::Pointer(addresses[name]),
                ("f32", value) => Argument::F32(value.parse().unwrap()),
                ("u32", value) => Argument::U32(value.parse().unwrap()),
                (_, value) => Argument::I32(value.parse().unwrap()),
            })
            .collect();
        let shape = Shape {
            grid: [self.grid, 1, 1],
            block: [self.block, 1, 1],
            dynamic_shared: self.shared,
            check: true,
            stall_limit: 2_000_000,
            ..Shape::default()
        };
        machine.launch(&module, &self.entry, &shape, &arguments).unwrap().findings
    }
}

/// Names of the table → kinds of the machine.
fn fits(name: &str, kind: Kind) -> bool {
    match kind {
        Kind::OutOfBounds => name.starts_with("oob") || name == "null_pointer",
        Kind::Misaligned => name == "misaligned",
        Kind::UseAfterFree => name == "use_after_free",
        Kind::ReadOnly => name == "write_readonly",
        Kind::UninitialisedRead => name.starts_with("uninit"),
        Kind::Race => name.starts_with("race"),
        Kind::InFlight => name.starts_with("in_flight"),
        Kind::BarrierDivergence => name == "divergent_barrier",
        Kind::Deadlock => name == "deadlock",
        Kind::WarpMask => name == "bad_mask",
        Kind::StackOverflow => name == "stack_overflow",
        Kind::InstructionLimit => name == "instruction_limit",
        Kind::StaleRead | Kind::Trap | Kind::Assertion | Kind::Unsupported => false,
    }
}

fn table() -> Table {
    serde_json::from_str(include_str!("planted/planted.json")).unwrap()
}

#[test]
fn every_planted_bug_is_found_at_its_line() {
    let bugs = table().bugs;
    assert!(bugs.len() > 50);
    for case in &bugs {
        let findings = case.run(include_str!("planted/bugs.ptx"), case.entry == "use_after_free");
        let found = findings.iter().any(|finding| {
            let source = finding.source.as_deref().unwrap_or_default();
            let named = case.lines.values().any(|line| {
                let place = format!("bugs.cu:{line}");
                source.split(", inlined at ").any(|part| part == place)
            });
            named && case.also_accepted.iter().chain([&case.kind]).any(|name| fits(name, finding.kind))
        });
        let all: String = findings.iter().map(|f| format!("\n{f}")).collect();
        assert!(found, "{}: {} at {:?} not found, but:{all}", case.entry, case.kind, case.lines);
    }
}

#[test]
fn what_is_mended_or_idiomatic_passes() {
    let table = table();
    for case in table.bugs.into_iter().map(Case::mended).chain(table.extra_clean) {
        let findings = case.run(include_str!("planted/clean.ptx"), false);
        let all: String = findings.iter().map(|f| format!("\n{f}")).collect();
        assert!(findings.is_empty(), "{} is clean, but:{all}", case.entry);
    }
}
