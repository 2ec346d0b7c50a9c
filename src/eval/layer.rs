//! Which activations of a network to look at, and how a spatial one becomes a row of features.

use crate::graph::TensorId;
use crate::nn::{Encoded, Projector};
use crate::{Error, Result};
use rayon::prelude::*;

/// The spatial layers of an encoder, from the first on.
pub const SPATIAL_LAYERS: [&str; 5] = ["conv1", "res2", "res3", "res4", "res5"];

/// Features that a layer is pooled down to at most, as far as its channels allow.
pub const GRID_FEATURES: usize = 1024;

/// What to read off the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The encoder's output after global average pooling.
    Features,
    /// conv1, res2, res3, res4 or res5, averaged over the whole image; `features`; or `projector.0`, `projector.1`, …:
    /// the projector's linear layers in order, each with the norm and the ReLU behind it.
    Named(String),
    /// As `Named`, but a spatial layer is averaged over the cells of a g × g grid: the largest g, up to the layer's own
    /// size, with g²·C ≤ [`GRID_FEATURES`]. So early layers keep some of where things are, and none wins by its size
    /// alone: the protocol of Goyal et al. (ICCV 2019, "Scaling and benchmarking self-supervised visual representation
    /// learning", section 4.1), who pool each layer to about 9,000 features, for smaller images.
    Grid(String),
}

impl Layer {
    /// Every layer of an encoder and its projector, from the image on, spatial ones on grids.
    pub fn all(projector: Option<&Projector>) -> Vec<Self> {
        let spatial = SPATIAL_LAYERS.iter().map(|name| Self::Grid(name.to_string()));
        let head = (0..projector.map_or(0, |p| p.layers)).map(Self::of_projector);
        spatial.chain([Self::Features]).chain(head).collect()
    }

    /// The projector's linear layer `index`, from 0, with what follows it.
    pub fn of_projector(index: usize) -> Self {
        Self::Named(projector_layer(index))
    }

    /// `conv1`, …, `features`, `projector.0`, ….
    pub fn name(&self) -> &str {
        match self {
            Self::Features => "features",
            Self::Named(name) | Self::Grid(name) => name,
        }
    }

    /// The tensor of that name, with the grid it is to be pooled to (0: it is a row of features already).
    pub(super) fn find(
        &self,
        encoded: &Encoded,
        head: &[TensorId],
        shape: impl Fn(TensorId) -> Vec<usize>,
    ) -> Result<(TensorId, usize)> {
        let name = self.name();
        if name == "features" {
            return Ok((encoded.features, 0));
        }
        if let Some(&(_, tensor)) = encoded.layers.iter().find(|(n, _)| *n == name) {
            let shape = shape(tensor);
            let grid =
                if matches!(self, Self::Grid(_)) { grid_side(shape[1], shape[2], shape[3]) } else { 1 };
            return Ok((tensor, grid));
        }
        if let Some(at) = (0..head.len()).find(|&i| projector_layer(i) == name) {
            return Ok((head[at], 0));
        }
        let spatial = encoded.layers.iter().map(|(name, _)| name.to_string());
        let names: Vec<_> =
            spatial.chain(["features".into()]).chain((0..head.len()).map(projector_layer)).collect();
        let hint = if name.starts_with("projector") && head.is_empty() {
            "; layers of the projector are read from a run folder whose projector works on these features"
        } else {
            ""
        };
        Err(Error::config(
            "layer",
            format!("there is no layer `{name}`; there are {}{hint}", names.join(", ")),
        ))
    }
}

fn projector_layer(index: usize) -> String {
    format!("projector.{index}")
}

/// The largest g ≤ min(h, w) with g²·c ≤ [`GRID_FEATURES`], and at least 1.
pub(super) fn grid_side(h: usize, w: usize, c: usize) -> usize {
    (1..=h.min(w)).rev().find(|g| g * g * c <= GRID_FEATURES).unwrap_or(1)
}

/// Averages x \[N,H,W,C\] over the cells of a g × g grid to \[N, g·g·C\], cells as torch's `AdaptiveAvgPool2d` cuts them:
/// cell i covers rows ⌊i·H/g⌋ to ⌈(i+1)·H/g⌉, so neighbours share a row where g does not divide H.
pub(super) fn pool_to_grid(x: &[f32], [h, w, c]: [usize; 3], g: usize) -> Vec<f32> {
    let range = |i: usize, size: usize| i * size / g..((i + 1) * size).div_ceil(g);
    let mut out = vec![0.0; x.len() / (h * w * c) * g * g * c];
    out.par_chunks_mut(g * g * c).zip(x.par_chunks(h * w * c)).for_each(|(out, image)| {
        for (cell, out) in out.chunks_exact_mut(c).enumerate() {
            let (rows, columns) = (range(cell / g, h), range(cell % g, w));
            let pixels = (rows.len() * columns.len()) as f32;
            for row in rows {
                for pixel in image[(row * w + columns.start) * c..(row * w + columns.end) * c].chunks_exact(c)
                {
                    out.iter_mut().zip(pixel).for_each(|(o, x)| *o += x);
                }
            }
            out.iter_mut().for_each(|o| *o /= pixels);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::nn::{Encoder, Mode};
    use crate::tensor::TensorType;

    #[test]
    fn cells_are_those_of_torch() {
        // torch.nn.functional.adaptive_avg_pool2d(torch.arange(15.).reshape(1, 1, 3, 5), 2): both cells hold the
        // middle row and column.
        let x: Vec<f32> = (0..15u8).map(f32::from).collect();
        assert_eq!(pool_to_grid(&x, [3, 5, 1], 2), [3.5, 5.5, 8.5, 10.5]);
        // Two images of two channels, the second channel minus the first.
        let two: Vec<f32> = x.iter().chain(&x).flat_map(|&v| [v, -v]).collect();
        let row = [3.5, -3.5, 5.5, -5.5, 8.5, -8.5, 10.5, -10.5];
        assert_eq!(pool_to_grid(&two, [3, 5, 2], 2), [row, row].concat());
        assert_eq!(pool_to_grid(&x, [3, 5, 1], 1), [7.0]);
        assert_eq!(pool_to_grid(&x[..9], [3, 3, 1], 3), x[..9]);
    }

    #[test]
    fn grids_stay_below_the_limit_and_the_layer() {
        assert_eq!(grid_side(28, 28, 16), 8);
        assert_eq!(grid_side(4, 4, 16), 4);
        assert_eq!(grid_side(4, 4, 512), 1);
        assert_eq!(grid_side(7, 5, 2048), 1);
        assert_eq!(grid_side(7, 5, 1), 5);
    }

    #[test]
    fn layers_have_the_names_that_are_recorded() {
        let encoder = Encoder { width: 2, ..Encoder::new("resnet10", 8) };
        let projector = Projector { layers: 3, hidden: 5, out: 4, batch_norm: true, ..Default::default() };
        let mut graph = Graph::new();
        let images = graph.input("images", TensorType::f32([2, 8, 8, 1])).unwrap();
        let encoded = encoder.record(&mut graph, images, Mode::Eval).unwrap();
        let head = projector.record_layers(&mut graph, encoded.features, Mode::Eval).unwrap();
        let shape = |t: TensorId| graph.ty(t).shape.clone();
        let width = |layer: &Layer| {
            let (t, g) = layer.find(&encoded, &head, shape).unwrap();
            if g == 0 { shape(t)[1] } else { g * g * shape(t)[3] }
        };
        let all = Layer::all(Some(&projector));
        let names: Vec<_> = all.iter().map(Layer::name).collect();
        let head_names = ["features", "projector.0", "projector.1", "projector.2"];
        assert_eq!(names, [&SPATIAL_LAYERS[..], &head_names].concat());
        assert_eq!(all.iter().map(width).collect::<Vec<_>>(), [128, 128, 64, 32, 16, 16, 5, 5, 4]);
        assert_eq!(width(&Layer::Named("res3".into())), 4);

        let say = |name: &str, head: &[TensorId]| {
            Layer::Named(name.into()).find(&encoded, head, shape).unwrap_err().to_string()
        };
        let known = "conv1, res2, res3, res4, res5, features, projector.0, projector.1, projector.2";
        assert!(say("res9", &head).contains(known) && say("projector.3", &head).ends_with(known));
        assert!(say("projector.0", &[]).contains("run folder"));
    }
}
