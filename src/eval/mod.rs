//! How good are frozen features? Protocols (weighted kNN, linear probes of every layer and with few labels, retrieval,
//! clustering), collapse diagnostics and pictures of the feature space, all on plain row-major `[n, d]` matrices.
//!
//! Every result is the same whatever the number of threads: work is cut into fixed blocks and reduced in their order.
//!
//! ```
//! use rusa::eval::{Features, KnnOptions, knn};
//!
//! let train = Features::new(vec![1., 0., 0.9, 0.1, 0., 1., 0.2, 0.8], 2, vec![3, 3, 7, 7])?;
//! let test = Features::new(vec![2., 0.1, 0.1, 5.], 2, vec![3, 7])?;
//! let accuracy = knn(&train, &test, &KnnOptions { k: 2, ..Default::default() })?;
//! assert_eq!(accuracy.top1, 1.0);
//! # Ok::<(), rusa::Error>(())
//! ```

mod accuracy;
mod agreement;
mod clustering;
pub mod detection;
mod diagnostics;
mod draw;
mod embed;
mod features;
mod few;
mod finetune;
mod knn;
mod layer;
mod lbfgs;
mod linear;
mod map;
mod neighbours;
mod protocol;
mod retrieval;
mod row_space;
mod seeds;
mod signs;
mod softmax;
mod spectrum;
mod start;
mod verdict;

pub use accuracy::{Accuracy, wilson_interval};
pub use agreement::{Agreement, agreement};
pub use clustering::{Clustering, clustering};
pub use diagnostics::{
    AGREEMENT_KS, Collapse, Curve, DeadPrototypes, Invariance, NUISANCES, NeighbourAgreement, Nuisance,
    Relation, StuckLoss, Sweep, alignment, dead_prototypes, feature_std, invariance, neighbour_agreement,
    stuck_loss, uniformity,
};
pub use draw::{Labels, balanced_draw};
pub use embed::{Embedder, raw_pixels};
pub use features::{Features, Standardizer, l2_normalize_rows};
pub use few::{FEW_LABELS, few_labels};
pub use finetune::{FinetuneOptions, Finetuner, Network, finetune};
pub use knn::{KnnOptions, knn};
pub use layer::{GRID_FEATURES, Layer, SPATIAL_LAYERS};
pub use linear::{LinearOptions, LinearProbe, linear_probe};
pub use map::{MAP_MAX_POINTS, map2d};
pub use neighbours::{Neighbour, neighbours};
pub use protocol::{LayerScore, Scores, judge, judge_layer, linear_over_seeds};
pub use retrieval::{Recall, Retrieval, retrieval};
pub use seeds::Spread;
pub use signs::Signs;
pub use spectrum::{effective_rank, singular_values};
pub use verdict::{Verdict, final_verdict, verdict};
