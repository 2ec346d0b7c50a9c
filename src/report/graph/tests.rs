use super::parts::{Flow, Parts, Role, parts};
use super::step_svg;
use crate::config::{Facts, Request};
use crate::ssl::{Known, Step};
use crate::train::record_step;
use toml::Table;

fn step(method: &str) -> Step {
    let flags = format!(
        "method = {method:?}\nbatch = 8\n[data]\npath = ''\nsize = 16\nchannels = 3\n[encoder]\nname = 'resnet10'\nwidth = 4"
    );
    let request = Request {
        preset: None,
        file: Table::new(),
        flags: flags.parse().unwrap(),
        sets: vec!["projector.out=4".into()],
    };
    let config = request.resolve(Facts { channels: 3, side: Some(16) }).unwrap();
    record_step(&config, Known::default(), 0, None).unwrap()
}

fn count(parts: &Parts, role: Role, title: &str) -> usize {
    parts.parts.iter().filter(|p| p.role == role && p.title == title).count()
}

#[test]
fn simclr_is_one_encoder_one_head_and_its_loss() {
    let p = parts(&step("simclr"));
    let titles: Vec<_> = p.parts.iter().map(|p| (p.role, p.title.as_str())).collect();
    for expected in [
        (Role::Input, "views 1–2"),
        (Role::Network, "encoder"),
        (Role::Network, "projector"),
        (Role::Loss, "nt_xent"),
        (Role::Backward, "backward pass"),
    ] {
        assert_eq!(titles.iter().filter(|t| **t == expected).count(), 1, "{expected:?} in {titles:?}");
    }
    assert_eq!(p.parts.iter().filter(|p| p.role == Role::Update).count(), 1, "{titles:?}");
    assert_eq!(titles.len(), 6);
    assert!(p.edges.iter().all(|e| e.flow != Flow::Stopped));
    let loss = p.parts.iter().find(|p| p.role == Role::Loss).unwrap();
    assert!(loss.lines.iter().any(|l| l.starts_with("temperature 0.")), "{:?}", loss.lines);
}

#[test]
fn byol_shows_each_view_twice_and_dashes_what_leaves_the_teacher() {
    let p = parts(&step("byol"));
    for (role, title) in [
        (Role::Network, "encoder"),
        (Role::Network, "projector"),
        (Role::Network, "predictor"),
        (Role::Teacher, "teacher.encoder"),
        (Role::Teacher, "teacher.projector"),
        (Role::Op, "cosine_loss"),
    ] {
        assert_eq!(count(&p, role, title), 2, "{title}");
    }
    assert_eq!(count(&p, Role::Loss, "weighted_sum"), 1);
    assert_eq!(count(&p, Role::Update, "ema"), 1);
    for edge in &p.edges {
        let stopped = p.parts[edge.from].role == Role::Teacher;
        assert_eq!(edge.flow == Flow::Stopped, stopped, "{edge:?}");
    }
    let same = p.parts.iter().filter(|p| p.lines.iter().any(|l| l == "the same weights")).count();
    assert_eq!(same, 5, "the second application of each network shares its weights");
}

#[test]
fn a_stop_gradient_is_a_dashed_edge_with_its_name() {
    let p = parts(&step("simsiam"));
    let stopped: Vec<_> = p.edges.iter().filter(|e| e.flow == Flow::Stopped).collect();
    assert_eq!(stopped.len(), 2);
    assert!(stopped.iter().all(|e| e.label == "stop-gradient" && p.parts[e.to].title == "cosine_loss"));
}

#[test]
fn the_file_is_whole_and_shows_every_box() {
    let step = step("byol");
    let svg = step_svg(&step, "a < b", "c & d");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("a &lt; b") && svg.contains("c &amp; d") && !svg.contains("<script"));
    let p = parts(&step);
    assert_eq!(svg.matches("class=\"name\"").count(), p.parts.len());
    assert_eq!(svg.matches("class=\"edge ").count(), p.edges.len());
    assert_eq!(
        svg.matches("class=\"edge stopped\"").count(),
        4,
        "teacher.encoder and teacher.projector, two views"
    );
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}
