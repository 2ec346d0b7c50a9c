//! The passes on plain slices.

use super::geometry::{Geometry, Pass, Technique};
use super::simd::Isa;
use super::{direct, direct_weight, parallel, winograd_data, winograd_weight};

/// `y = conv(x, w)`.
///
/// Slices have `g.x_len()`, `g.w_len()`, `g.y_len()` and at least `scratch_len(g, Pass::Forward)` floats, and `g` has
/// passed [`Geometry::check`]; here and below, anything else panics.
pub fn forward(g: &Geometry, x: &[f32], w: &[f32], y: &mut [f32], scratch: &mut [f32]) {
    let technique = Technique::choose(g);
    Engine { technique, isa: Isa::best() }.forward(g, x, w, y, scratch);
}

/// `dx = ∂(y·dy)/∂x`, added to what `dx` holds if `accumulate`.
pub fn bwd_input(g: &Geometry, dy: &[f32], w: &[f32], dx: &mut [f32], accumulate: bool, scratch: &mut [f32]) {
    let technique = Technique::choose(g);
    Engine { technique, isa: Isa::best() }.bwd_input(g, dy, w, dx, accumulate, scratch);
}

/// `dw = ∂(y·dy)/∂w`, added to what `dw` holds if `accumulate`.
pub fn bwd_weight(
    g: &Geometry,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    accumulate: bool,
    scratch: &mut [f32],
) {
    let technique = Technique::choose(g);
    Engine { technique, isa: Isa::best() }.bwd_weight(g, x, dy, dw, accumulate, scratch);
}

/// Floats of scratch that a pass needs in the current rayon pool; with less, down to a single worker's share, it runs on
/// fewer threads.
pub fn scratch_len(g: &Geometry, pass: Pass) -> usize {
    let technique = Technique::choose(g);
    Engine { technique, isa: Isa::best() }.scratch_len(g, pass)
}

/// What `forward` (from x to y) and `bwd_input` (from dy to dx) have in common.
pub struct Data<'a> {
    pub g: &'a Geometry,
    pub pass: Pass,
    pub isa: Isa,
    pub from: &'a [f32],
    pub weights: &'a [f32],
    pub to: &'a mut [f32],
    /// Add to what `to` holds.
    pub accumulate: bool,
}

/// A technique on an instruction set, for tests and benchmarks; the free functions pick the best.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    pub technique: Technique,
    /// One of [`Isa::available`].
    pub isa: Isa,
}

impl Engine {
    pub fn scratch_len(self, g: &Geometry, pass: Pass) -> usize {
        let len = match (self.technique, pass) {
            (Technique::Direct, Pass::BwdWeight) => direct_weight::scratch_len(g, self.isa),
            (Technique::Direct, _) => direct::scratch_len(g, pass, self.isa),
            (Technique::Winograd, Pass::BwdWeight) => winograd_weight::scratch_len(g, self.isa),
            (Technique::Winograd, _) => winograd_data::scratch_len(g, pass, self.isa),
        };
        len + parallel::LINE // to start on a cache line
    }

    pub fn forward(self, g: &Geometry, x: &[f32], w: &[f32], y: &mut [f32], scratch: &mut [f32]) {
        self.check(g, x.len(), w.len(), y.len());
        let pass = Pass::Forward;
        let job = Data { g, pass, isa: self.isa, from: x, weights: w, to: y, accumulate: false };
        self.data(job, scratch);
    }

    pub fn bwd_input(
        self,
        g: &Geometry,
        dy: &[f32],
        w: &[f32],
        dx: &mut [f32],
        accumulate: bool,
        scratch: &mut [f32],
    ) {
        self.check(g, dx.len(), w.len(), dy.len());
        let pass = Pass::BwdInput;
        self.data(Data { g, pass, isa: self.isa, from: dy, weights: w, to: dx, accumulate }, scratch);
    }

    pub fn bwd_weight(
        self,
        g: &Geometry,
        x: &[f32],
        dy: &[f32],
        dw: &mut [f32],
        accumulate: bool,
        scratch: &mut [f32],
    ) {
        self.check(g, x.len(), dw.len(), dy.len());
        let scratch = parallel::aligned(scratch);
        match self.technique {
            Technique::Direct => direct_weight::run(g, self.isa, x, dy, dw, accumulate, scratch),
            Technique::Winograd => winograd_weight::run(g, self.isa, x, dy, dw, accumulate, scratch),
        }
    }

    fn data(self, job: Data, scratch: &mut [f32]) {
        let scratch = parallel::aligned(scratch);
        match self.technique {
            Technique::Direct => direct::run(job, scratch),
            Technique::Winograd => winograd_data::run(job, scratch),
        }
    }

    fn check(self, g: &Geometry, x: usize, w: usize, y: usize) {
        assert_eq!([x, w, y], [g.x_len(), g.w_len(), g.y_len()], "conv2d: slice lengths for {g:?}");
        assert!(self.technique.accepts(g), "conv2d: {} does not take {g:?}", self.technique.name());
    }
}
