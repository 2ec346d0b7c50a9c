//! f32 matrix products on the CPU, over the `gemm` crate's kernels.

use gemm_common::Parallelism;

/// A matrix somewhere in a slice: element (i, j) lies at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A dense row-major matrix.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` elements, `row_stride` apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(),
            "matrix [{rows}, {cols}] stride {row_stride} does not fit {} elements",
            data.len()
        );
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = alpha · a · b`, or `out += alpha · a · b` if `accumulate`; `out` is row-major with `out_stride` between rows.
///
/// With `parallel` the rows and columns are spread over the thread pool. Each element is summed over k in the same
/// order whatever the thread count.
pub fn gemm(
    out: &mut [f32],
    out_stride: usize,
    a: Mat,
    b: Mat,
    alpha: f32,
    accumulate: bool,
    parallel: bool,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "gemm: inner dimensions differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * out_stride + n <= out.len(), "gemm: output too small");
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: every operand's last element is inside its slice (checked here and in `Mat::strided`; `t` only swaps
    // axes), and `out` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_strides_and_transposes() {
        // a is 2x3 inside rows of 4; b is 3x2; the product is written into rows of 5.
        let a = [1., 2., 3., 99., 4., 5., 6., 99.];
        let b = [1., 0., 0., 1., 1., 1.];
        let mut out = [7.0f32; 10];
        gemm(&mut out, 5, Mat::strided(&a, 2, 3, 4), Mat::new(&b, 3, 2), 2.0, false, false);
        assert_eq!(out, [8., 10., 7., 7., 7., 20., 22., 7., 7., 7.]);
        gemm(&mut out, 5, Mat::strided(&a, 2, 3, 4), Mat::new(&b, 3, 2), 1.0, true, true);
        assert_eq!(out[..2], [12., 15.]);
        let mut gram = [0.0; 9];
        let a = Mat::strided(&a, 2, 3, 4);
        gemm(&mut gram, 3, a.t(), a, 1.0, false, false);
        assert_eq!(gram, [17., 22., 27., 22., 29., 36., 27., 36., 45.]);
    }
}
