//! What a run's embeddings are assigned to, as its checkpoint holds it.

use crate::tensor::HostTensor;
use std::collections::BTreeMap;

/// One set of prototypes.
pub struct Prototypes<'a> {
    /// \[K,D\], compared with embeddings by their cosine.
    pub rows: &'a [f32],
    pub d: usize,
    /// \[K\], taken off the cosines before the best is sought; nothing if empty.
    pub center: &'a [f32],
}

/// The prototypes of SwAV, those of DINO with their centre, or the centroids of each of DeepCluster's heads; none where
/// the method has none.
pub fn prototypes(state: &BTreeMap<String, HostTensor>) -> Vec<Prototypes<'_>> {
    let mut names =
        std::iter::once("prototypes.weight".to_string()).chain((0..).map(|h| format!("centroids.{h}")));
    let one = |name: String| {
        let tensor = state.get(&name)?;
        let &[k, d] = &tensor.shape[..] else { return None };
        let center = state.get("center").and_then(HostTensor::as_f32).filter(|c| c.len() == k);
        Some(Prototypes { rows: tensor.as_f32()?, d, center: center.unwrap_or_default() })
    };
    let first = names.next().and_then(one);
    first.into_iter().chain(names.map_while(one)).collect()
}
