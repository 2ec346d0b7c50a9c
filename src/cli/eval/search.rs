//! `rusa eval --retrieval` and `--clustering`: what the feature space brings together without any label.

use super::sources::Sources;
use super::{percent, say};
use anyhow::Result;
use rusa::eval::{clustering, retrieval};
use serde_json::{Value, json};

/// Starts of k-means a seed, the best by its own objective kept.
const RESTARTS: usize = 10;

pub fn retrieve(sources: &Sources) -> Result<Value> {
    let mut results = json!({});
    say!("retrieval by cosine similarity among test images; 95 % intervals over queries");
    say!("{:<14}{:>25}{:>25}{:>10}{:>10}", "features", "mean average precision", "recall@1", "@5", "@10");
    for source in sources.all() {
        let found = retrieval(&source.test)?;
        let recall = &found.recall;
        say!(
            "{:<14}{:>25}{:>25}{:>8.2} %{:>8.2} %",
            source.name,
            percent(found.mean_average_precision, found.map_interval),
            percent(recall[0].share, recall[0].interval),
            100.0 * recall[1].share,
            100.0 * recall[2].share
        );
        results[source.key] = serde_json::to_value(found)?;
    }
    Ok(results)
}

pub fn cluster(sources: &Sources, seed: u64, seeds: usize) -> Result<Value> {
    let mut results = json!({});
    say!("k-means on test images; mean over {seeds} seeds and its 95 % interval (Student's t)");
    say!("{:<14}{:>25}{:>25}{:>25}", "features", "mutual information", "adjusted Rand", "accuracy");
    for source in sources.all() {
        let found = clustering(&source.test, seed, seeds, RESTARTS)?;
        let show = |s: &rusa::eval::Spread| percent(s.mean, (s.low, s.high));
        let [nmi, ari, accuracy] = [show(&found.nmi), show(&found.ari), show(&found.accuracy)];
        say!("{:<14}{nmi:>25}{ari:>25}{accuracy:>25}", source.name);
        results[source.key] = serde_json::to_value(found)?;
    }
    Ok(results)
}
