//! A training step as a few parts: all that one application of one network records is one of them.

use crate::graph::{Graph, Init, Kind, Node, TEACHER, TensorId, TensorInfo};
use crate::ssl::Step;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Comes from outside: views, labels.
    Input,
    /// Keeps its values from step to step: a queue, a bank, a centre.
    State,
    Network,
    /// A network, or an op behind it, that no gradient flows into.
    Teacher,
    Op,
    Loss,
    Backward,
    /// The optimiser, the moving average, queues: behind the backward pass.
    Update,
}

/// A box of the picture.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub role: Role,
    pub title: String,
    pub lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Inputs and states.
    Data,
    /// A gradient flows back.
    Gradient,
    /// None does.
    Stopped,
}

/// A tensor on its way from one part to another.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub from: usize,
    pub to: usize,
    /// Tells apart what leaves a part.
    pub tensor: usize,
    pub label: String,
    pub flow: Flow,
}

/// Parts and edges.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub parts: Vec<Part>,
    pub edges: Vec<Edge>,
}

/// The parts of a step: forward pass, backward pass as one, updates.
pub(super) fn parts(step: &Step) -> Parts {
    let nodes = step.graph.nodes();
    // The walk back begins at the loss, with the one node that reads the loss's own gradient.
    let backward =
        nodes.iter().position(|n| n.inputs.contains(&step.seed_gradient)).unwrap_or(step.update_from);
    let mut builder = Builder::new(step);
    builder.forward(&nodes[..backward]);
    let loss = builder.made.get(&step.loss).copied();
    if let Some(loss) = loss {
        builder.out.parts[loss].role = Role::Loss;
        builder.out.parts[loss].lines.push("the loss".into());
    }
    let walk = builder.backward(&nodes[backward..step.update_from]);
    if let Some(loss) = loss {
        builder.edge(loss, walk, step.loss.0, step.graph.ty(step.loss).to_string(), Flow::Gradient);
    }
    for node in &nodes[step.update_from..] {
        // What guards the updates' numbers is no part of the method.
        match (node.op.name(), node.inputs.as_slice(), node.outputs.as_slice()) {
            ("when_finite", &[_, number], &[guarded]) => {
                builder.guarded.insert(guarded, number);
            }
            _ => builder.update(node, walk),
        }
    }
    builder.out
}

/// `encoder` of `encoder.layer1.0.conv1`, `teacher.encoder` of the teacher's; nothing for ops that stand alone.
fn module(scope: &str) -> Option<&str> {
    let own = scope.strip_prefix(TEACHER).and_then(|rest| rest.strip_prefix('.')).unwrap_or(scope);
    let first = own.split('.').next().filter(|first| !first.is_empty())?;
    Some(&scope[..scope.len() - own.len() + first.len()])
}

struct Builder<'a> {
    step: &'a Step,
    graph: &'a Graph,
    out: Parts,
    /// The part that made a temporary.
    made: HashMap<TensorId, usize>,
    /// Temporaries made of inputs alone: views turned, cut up, normalised.
    data: BTreeSet<TensorId>,
    sources: HashMap<TensorId, usize>,
    /// Numbers as updates get them, and as the step does.
    guarded: HashMap<TensorId, TensorId>,
    /// Weights by the part that first used them.
    owners: BTreeMap<BTreeSet<TensorId>, usize>,
}

impl<'a> Builder<'a> {
    fn new(step: &'a Step) -> Self {
        Self {
            step,
            graph: &step.graph,
            out: Parts::default(),
            made: HashMap::new(),
            data: BTreeSet::new(),
            sources: HashMap::new(),
            guarded: HashMap::new(),
            owners: BTreeMap::new(),
        }
    }

    fn part(&mut self, role: Role, title: impl Into<String>, lines: Vec<String>) -> usize {
        self.out.parts.push(Part { role, title: title.into(), lines });
        self.out.parts.len() - 1
    }

    fn makes(&mut self, part: usize, tensors: &[TensorId]) {
        self.made.extend(tensors.iter().map(|&t| (t, part)));
    }

    fn edge(&mut self, from: usize, to: usize, tensor: usize, label: String, flow: Flow) {
        self.out.edges.push(Edge { from, to, tensor, label, flow });
    }

    /// What holds the tensor's values: past stop-gradients and copies in lower precision.
    fn root(&self, t: TensorId) -> TensorId {
        self.graph.info(self.graph.info(t).storage).master
    }

    fn forward(&mut self, nodes: &[Node]) {
        let mut start = 0;
        while start < nodes.len() {
            let name = module(&nodes[start].scope);
            let alike = |n: &&Node| name.is_some() && module(&n.scope) == name;
            let end = start + nodes[start..].iter().take_while(alike).count().max(1);
            match name {
                // Copies of weights in lower precision: no part of the method.
                Some("weights") => {}
                Some(name) => self.networks(name, &nodes[start..end]),
                None => self.op(&nodes[start]),
            }
            start = end;
        }
    }

    /// Applications of one network that follow one another: nodes that share no temporary are two of them.
    fn networks(&mut self, name: &str, nodes: &[Node]) {
        let first = self.out.parts.len();
        let mut applications: Vec<(usize, Vec<&Node>)> = Vec::new();
        for node in nodes {
            let of = node
                .inputs
                .iter()
                .filter_map(|&t| self.made.get(&self.root(t)).copied())
                .find(|&p| p >= first);
            let part = of.unwrap_or_else(|| {
                let role = if name.starts_with(TEACHER) { Role::Teacher } else { Role::Network };
                let part = self.part(role, name, vec![]);
                applications.push((part, vec![]));
                part
            });
            self.makes(part, &node.outputs);
            let Some((_, own)) = applications.iter_mut().find(|(p, _)| *p == part) else { continue };
            own.push(node);
        }
        for (part, nodes) in applications {
            let weights = self.connect(part, &nodes, false);
            let flops = nodes.iter().map(|n| self.flops(n)).sum();
            let mut lines = vec![format!("{} ops · {}FLOP", nodes.len(), amount(flops))];
            let elements = weights.iter().map(|&t| self.graph.ty(t).elements() as u64).sum();
            let earlier = *self.owners.entry(weights).or_insert(part);
            lines.push(match name.strip_prefix(TEACHER) {
                _ if earlier != part => "the same weights".into(),
                Some(student) => format!("moving average of the {}", student.trim_start_matches('.')),
                None => format!("{} weights", amount(elements).trim_end()),
            });
            self.out.parts[part].lines = lines;
        }
    }

    fn op(&mut self, node: &Node) {
        let role = if node.scope.starts_with(TEACHER) { Role::Teacher } else { Role::Op };
        let part = self.part(role, node.op.name(), settings(&format!("{:?}", node.op)));
        let frozen = |t: &TensorId| !self.graph.info(*t).differentiable && role == Role::Op;
        let kept = |t: &&TensorId| self.graph.info(self.root(**t)).kind == Kind::Param && frozen(t);
        let stopped = node.inputs.iter().find(kept).is_some();
        for weight in self.connect(part, &[node], true) {
            let TensorInfo { name, ty, .. } = self.graph.info(weight);
            let name = name.trim_end_matches(".weight");
            let note = if stopped { ", no gradient" } else { "" };
            self.out.parts[part].lines.push(format!("{name} {ty}{note}"));
        }
        self.makes(part, &node.outputs);
        let is_data = |&t: &TensorId| {
            let root = self.root(t);
            self.graph.info(root).kind == Kind::Input || self.data.contains(&root)
        };
        if node.inputs.iter().all(is_data) {
            self.data.extend(&node.outputs);
        }
    }

    /// Draws the edges of what the nodes read and did not make; gives the weights among it.
    fn connect(&mut self, part: usize, nodes: &[&Node], states: bool) -> BTreeSet<TensorId> {
        let (mut weights, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for &t in nodes.iter().flat_map(|n| &n.inputs) {
            let root = self.root(t);
            let info = self.graph.info(root);
            match (info.kind, info.init) {
                (Kind::Param, _) | (Kind::State, Init::Copy(_)) => {
                    weights.insert(root);
                }
                (Kind::State, _) if !states => {}
                (Kind::State | Kind::Input, _) if seen.insert(t) => {
                    let from = self.source(root);
                    self.edge(from, part, t.0, info.ty.to_string(), Flow::Data);
                }
                (Kind::Temp, _) => {
                    if let Some(&from) = self.made.get(&root).filter(|&&p| p != part)
                        && seen.insert(t)
                    {
                        self.pass(from, part, t);
                    }
                }
                _ => {}
            }
        }
        weights
    }

    fn pass(&mut self, from: usize, to: usize, t: TensorId) {
        let TensorInfo { ty, differentiable, storage, .. } = self.graph.info(t);
        let label = if *storage == t { ty.to_string() } else { "stop-gradient".into() };
        let flow = match (differentiable, self.data.contains(&t)) {
            (true, _) => Flow::Gradient,
            (_, true) => Flow::Data,
            _ => Flow::Stopped,
        };
        self.edge(from, to, t.0, label, flow);
    }

    fn source(&mut self, t: TensorId) -> usize {
        if let Some(&part) = self.sources.get(&t) {
            return part;
        }
        let info = self.graph.info(t);
        let role = if info.kind == Kind::Input { Role::Input } else { Role::State };
        let part = self.part(role, spoken(&info.name), vec![]);
        self.sources.insert(t, part);
        part
    }

    fn backward(&mut self, nodes: &[Node]) -> usize {
        let flops = nodes.iter().map(|n| self.flops(n)).sum();
        let what = format!("{} ops · {}FLOP, from the loss up the solid lines", nodes.len(), amount(flops));
        self.part(Role::Backward, "backward pass", vec![what])
    }

    fn update(&mut self, node: &Node, walk: usize) {
        let part = self.part(Role::Update, node.op.name(), vec![self.updated(node)]);
        let mut trains = false;
        let feeds = &self.step.feeds;
        let ramps: Vec<_> = feeds.ramps.iter().map(|(ramp, _)| *ramp).collect();
        for t in &node.inputs {
            let t = *self.guarded.get(t).unwrap_or(t);
            let root = self.root(t);
            let numbers = t == self.step.schedule || feeds.held_schedule == Some(t) || ramps.contains(&t);
            match (self.graph.info(root).kind, self.made.get(&root)) {
                (Kind::Temp, Some(&from)) => self.pass(from, part, t),
                (Kind::Temp, None) => trains = true,
                (Kind::Input, _) if !numbers => {
                    let from = self.source(root);
                    self.edge(from, part, t.0, self.graph.ty(t).to_string(), Flow::Data);
                }
                _ => {}
            }
        }
        if trains {
            // No tensor has this number.
            self.edge(walk, part, usize::MAX, "gradients".into(), Flow::Gradient);
        }
        let temporary = |t: &&TensorId| self.graph.info(**t).kind == Kind::Temp;
        let made: Vec<_> = node.outputs.iter().filter(temporary).copied().collect();
        self.makes(part, &made);
    }

    /// What an update changes, in words.
    fn updated(&self, node: &Node) -> String {
        let infos = || node.outputs.iter().map(|&t| self.graph.info(self.root(t)));
        let elements =
            |kept: fn(&&TensorInfo) -> bool| infos().filter(kept).map(|i| i.ty.elements() as u64).sum();
        let trained: u64 = elements(|i| i.kind == Kind::Param);
        let taught: u64 = elements(|i| matches!(i.init, Init::Copy(_)));
        if taught > 0 {
            format!("{} weights of the teacher", amount(taught).trim_end())
        } else if infos().any(|i| i.kind == Kind::Temp) {
            "for an update".into()
        } else if node.outputs.len() > 2 {
            format!("{} weights", amount(trained).trim_end())
        } else {
            let names: Vec<_> = infos().map(|i| i.name.trim_end_matches(".weight")).collect();
            format!("updates {}", names.join(", "))
        }
    }

    fn flops(&self, node: &Node) -> u64 {
        node.op.cost(&self.graph.types(&node.inputs), &self.graph.types(&node.outputs)).flops
    }
}

/// The settings that a reader of a loss asks for, out of an op's `Debug` form.
fn settings(op: &str) -> Vec<String> {
    let value = |name: &str| {
        let (_, rest) = op.split_once(&format!("{name}: "))?;
        let end = if rest.starts_with('[') { rest.find(']')? + 1 } else { rest.find([',', ' '])? };
        Some(format!("{name} {}", &rest[..end]))
    };
    ["temperature", "epsilon", "weights"].iter().filter_map(|name| value(name)).collect()
}

/// `views.0-2` as `views 1–2`, `labels.0-1` as `labels`.
fn spoken(name: &str) -> String {
    let range = name.strip_prefix("views.").and_then(|r| r.split_once('-'));
    match range.map(|(from, to)| (from.parse::<usize>(), to.parse::<usize>())) {
        Some((Ok(from), Ok(to))) if to == from + 1 => format!("view {to}"),
        Some((Ok(from), Ok(to))) => format!("views {}–{to}", from + 1),
        _ if name.starts_with("labels.") => "labels".into(),
        _ => name.into(),
    }
}

/// `71.2 G`, `980 `: three digits and the prefix of a unit, which follows.
fn amount(n: u64) -> String {
    let (scale, prefix) = match n {
        0..1_000 => return format!("{n} "),
        1_000..1_000_000 => (1e3, "k"),
        1_000_000..1_000_000_000 => (1e6, "M"),
        1_000_000_000..1_000_000_000_000 => (1e9, "G"),
        _ => (1e12, "T"),
    };
    let x = n as f64 / scale;
    let digits = if x < 9.995 {
        2
    } else if x < 99.95 {
        1
    } else {
        0
    };
    format!("{x:.digits$} {prefix}")
}
