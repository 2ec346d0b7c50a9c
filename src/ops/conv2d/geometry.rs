//! The shape of a convolution, and which technique computes each of its passes.

use crate::{Error, Result};

/// Sizes of a 2-D convolution: `x[N,H,W,C]` with `w[K,R,S,C]` gives `y[N,P,Q,K]` (NHWC, KRSC, NPQK as in cuDNN).
///
/// ```text
/// y[n,p,q,k] = Σ_r Σ_s Σ_c x[n, p·stride₀ + r·dilation₀ − padding₀, q·stride₁ + s·dilation₁ − padding₁, c] · w[k,r,s,c]
/// ```
/// with `x` zero outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub k: usize,
    pub r: usize,
    pub s: usize,
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
}

/// The three computations of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    Forward,
    BwdInput,
    BwdWeight,
}

impl Pass {
    pub const ALL: [Self; 3] = [Self::Forward, Self::BwdInput, Self::BwdWeight];

    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::BwdInput => "bwd_input",
            Self::BwdWeight => "bwd_weight",
        }
    }
}

/// How a pass is computed. The choice depends on the shape alone, so that runs are reproducible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Technique {
    /// Register tiles of pixels × channels read straight from a zero-padded image; takes every shape.
    Direct,
    /// Winograd's minimal filtering F(4×4, 3×3): a quarter of the multiplications. 3×3, stride 1, dilation 1, channels
    /// in multiples of 16.
    Winograd,
}

impl Technique {
    pub const ALL: [Self; 2] = [Self::Direct, Self::Winograd];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Winograd => "winograd",
        }
    }

    /// Whether this technique can compute `g` at all.
    pub fn accepts(self, g: &Geometry) -> bool {
        match self {
            Self::Direct => true,
            Self::Winograd => {
                let taps = [g.r, g.s] == [3, 3] && g.padding[0] <= 2 && g.padding[1] <= 2;
                let steps = g.stride == [1, 1] && g.dilation == [1, 1];
                taps && steps && g.c.is_multiple_of(16) && g.k.is_multiple_of(16)
            }
        }
    }

    /// The faster technique for `g`, by measurement.
    pub fn choose(g: &Geometry) -> Self {
        // 36 products per 4×4 tile against 144: what a ragged border wastes must not eat the gain, and there must be
        // tiles enough to pay for the transform of the filters.
        let tiles = g.p().div_ceil(4) * g.q().div_ceil(4);
        let pays = 16 * tiles <= 2 * g.p() * g.q() && g.n * tiles >= 12;
        if Self::Winograd.accepts(g) && pays { Self::Winograd } else { Self::Direct }
    }
}

impl Geometry {
    /// Rejects, by name, what no convolution can be: an empty dimension, a zero step, a filter larger than its image.
    pub fn check(&self) -> Result<()> {
        let fail = |what: String| Err(Error::op("conv2d", what));
        let sizes = [
            ("N", self.n),
            ("H", self.h),
            ("W", self.w),
            ("C", self.c),
            ("K", self.k),
            ("R", self.r),
            ("S", self.s),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return fail(format!("{name} is 0; x is [N,H,W,C] and w is [K,R,S,C], all at least 1"));
        }
        if self.stride.contains(&0) || self.dilation.contains(&0) {
            return fail(format!(
                "stride {:?} and dilation {:?} must be at least 1",
                self.stride, self.dilation
            ));
        }
        for (axis, size, taps) in [(0, self.h, self.r), (1, self.w, self.s)] {
            let reach = self.dilation[axis].checked_mul(taps - 1).and_then(|reach| reach.checked_add(1));
            let padded = self.padding[axis].checked_mul(2).and_then(|padding| padding.checked_add(size));
            match (reach, padded) {
                (Some(reach), Some(padded)) if reach <= padded => {}
                _ => {
                    return fail(format!(
                        "{} taps with dilation {} do not fit {} {size} with padding {}; raise the padding",
                        taps,
                        self.dilation[axis],
                        ["height", "width"][axis],
                        self.padding[axis]
                    ));
                }
            }
        }
        let lengths = [
            [self.n, self.h, self.w, self.c],
            [self.k, self.r, self.s, self.c],
            [self.n, self.p(), self.q(), self.k],
        ];
        for dims in lengths {
            let length = dims.iter().try_fold(1usize, |length, &dim| length.checked_mul(dim));
            if length.is_none_or(|length| length > isize::MAX as usize / 16) {
                return fail(format!("a tensor of shape {dims:?} is too large to address"));
            }
        }
        Ok(())
    }

    /// Rejects what the CUDA kernels, which count in 32 bits, cannot index. Limits hold for every rung.
    pub fn check_kernels(&self) -> Result<()> {
        /// Rows of the implicit matrices: a tile of 128 may reach beyond the last.
        const ROWS: usize = (1 << 31) - 128;
        const ELEMENTS: usize = 1 << 31;
        const COORDINATES: usize = 1 << 30;
        let reach = |axis: usize, size: usize| size + 2 * self.padding[axis];
        let limits = [
            ("N·P·Q", self.n * self.p() * self.q(), ROWS),
            ("N·H·W", self.n * self.h * self.w, ROWS),
            ("one image, H·W·C", self.h * self.w * self.c, ELEMENTS),
            ("one output, P·Q·K", self.p() * self.q() * self.k, ELEMENTS),
            ("the weights, K·R·S·C", self.w_len(), ELEMENTS),
            ("the padded height", reach(0, self.h), COORDINATES),
            ("the padded width", reach(1, self.w), COORDINATES),
        ];
        for (what, size, limit) in limits {
            if size >= limit {
                return Err(Error::op(
                    "conv2d",
                    format!(
                        "{what} is {size}; the CUDA kernels take less than {limit}: use a smaller batch or image"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Output height.
    pub fn p(&self) -> usize {
        (self.h + 2 * self.padding[0] - self.dilation[0] * (self.r - 1) - 1) / self.stride[0] + 1
    }

    /// Output width.
    pub fn q(&self) -> usize {
        (self.w + 2 * self.padding[1] - self.dilation[1] * (self.s - 1) - 1) / self.stride[1] + 1
    }

    /// Elements of `x`, `w` and `y`.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    pub fn w_len(&self) -> usize {
        self.k * self.r * self.s * self.c
    }

    pub fn y_len(&self) -> usize {
        self.n * self.p() * self.q() * self.k
    }

    /// Floating-point operations of any one pass by the definition (a multiply-add is two), padding included.
    pub fn flops(&self) -> u64 {
        2 * self.y_len() as u64 * (self.r * self.s * self.c) as u64
    }
}
