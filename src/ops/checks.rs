//! What kernels cannot refuse, refused on the host: parameters where an op is recorded, values where `op run` has them.

use super::table::OpSpec;
use crate::tensor::{DType, HostTensor, Values};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// An error unless a divisor of logits is positive and its inverse, which kernels multiply by, is an f32.
pub(super) fn divisor(op: &'static str, name: &str, value: f32) -> Result<()> {
    if value > 0.0 && value.is_finite() && (1.0 / value).is_finite() {
        return Ok(());
    }
    Err(Error::op(op, format!("{name} must be positive and finite, as must its inverse, but is {value}")))
}

/// An error unless what is added to variances, or bounds lengths from below, is a number and not negative.
pub(crate) fn not_negative(op: &'static str, name: &str, value: f32) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::op(op, format!("{name} must be finite and not negative, but is {value}")))
}

/// An error unless a weight is a number; it may have either sign.
pub(crate) fn finite(op: &'static str, name: &str, value: f32) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    Err(Error::op(op, format!("{name} must be finite, but is {value}")))
}

/// An error naming input, row and value unless every index is a row of what it indexes. Shapes have passed the op's shape
/// rule.
pub(super) fn indices(spec: &'static OpSpec, inputs: &BTreeMap<String, HostTensor>) -> Result<()> {
    for operand in spec.inputs {
        let (Some(range), Some(tensor)) = (operand.index_of, inputs.get(operand.name)) else { continue };
        let Some(indexed) = inputs.get(range.input) else { continue };
        let (name, count) = (operand.name, indexed.shape[range.axis] as i64);
        for (row, value) in whole(spec.name, name, tensor)?.into_iter().enumerate() {
            if !(0..count).contains(&value) {
                let (input, ty) = (range.input, indexed.ty());
                let what =
                    format!("`{name}`[{row}] is {value}, must be from 0 to {}: `{input}` is {ty}", count - 1);
                return Err(Error::op(spec.name, what));
            }
        }
    }
    Ok(())
}

/// The tensor as type `want`: whole numbers may come as any type, floating-point tensors must be f32. A tensor without
/// axes has one, of length 1.
pub(super) fn convert(op: &'static str, name: &str, tensor: &HostTensor, want: DType) -> Result<HostTensor> {
    let shape = if tensor.shape.is_empty() { vec![1] } else { tensor.shape.clone() };
    let misfit = |row: usize, value: i64| {
        Error::op(op, format!("`{name}`[{row}] is {value}, which cannot be taken as {want}"))
    };
    let values = match (&tensor.values, want) {
        (Values::F32(v), DType::F32) => Values::F32(v.clone()),
        (Values::U8(v), DType::F32) => Values::F32(v.iter().map(|&x| f32::from(x)).collect()),
        (_, DType::I64) => Values::I64(whole(op, name, tensor)?),
        (_, DType::U32) => {
            let whole = whole(op, name, tensor)?.into_iter().enumerate();
            Values::U32(
                whole.map(|(i, x)| u32::try_from(x).map_err(|_| misfit(i, x))).collect::<Result<_>>()?,
            )
        }
        (_, DType::U8) => {
            let whole = whole(op, name, tensor)?.into_iter().enumerate();
            Values::U8(whole.map(|(i, x)| u8::try_from(x).map_err(|_| misfit(i, x))).collect::<Result<_>>()?)
        }
        _ => {
            let ty = tensor.ty();
            return Err(Error::op(op, format!("input `{name}` is {ty}, which cannot be taken as {want}")));
        }
    };
    Ok(HostTensor { shape, values })
}

/// A tensor's whole numbers, or an error that names the first that is none.
fn whole(op: &'static str, name: &str, tensor: &HostTensor) -> Result<Vec<i64>> {
    let one = |(row, &x): (usize, &f32)| {
        if x.fract() == 0.0 && x.abs() < 1e15 {
            return Ok(x as i64);
        }
        Err(Error::op(op, format!("`{name}`[{row}] is {x}, must be a whole number")))
    };
    match &tensor.values {
        Values::I64(v) => Ok(v.clone()),
        Values::U32(v) => Ok(v.iter().map(|&x| i64::from(x)).collect()),
        Values::U8(v) => Ok(v.iter().map(|&x| i64::from(x)).collect()),
        Values::F32(v) => v.iter().enumerate().map(one).collect(),
        Values::Bf16(_) => {
            let ty = tensor.ty();
            Err(Error::op(op, format!("input `{name}` is {ty}, which holds no whole numbers")))
        }
    }
}

/// The first element that is NaN or infinite, as in `` `loss`[0] is NaN ``.
pub fn not_finite(tensors: &BTreeMap<String, HostTensor>) -> Option<String> {
    tensors.iter().find_map(|(name, tensor)| {
        let values: Vec<f32> = match &tensor.values {
            Values::F32(v) => v.clone(),
            Values::Bf16(v) => v.iter().map(|x| x.to_f32()).collect(),
            Values::U8(_) | Values::U32(_) | Values::I64(_) => return None,
        };
        let at = values.iter().position(|x| !x.is_finite())?;
        Some(format!("`{name}`{:?} is {}", place(at, &tensor.shape), values[at]))
    })
}

/// The index of an element along each axis.
fn place(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&n| {
            let i = at % n;
            at /= n;
            i
        })
        .collect();
    place.reverse();
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_that_is_no_number_is_named_by_its_place() {
        let good = HostTensor::f32([2], vec![0.0, -1.0]);
        let mut bad = vec![0.0; 12];
        (bad[7], bad[9]) = (f32::NEG_INFINITY, f32::NAN);
        let index = HostTensor::i64([1], vec![i64::MAX]);
        let mut tensors = BTreeMap::from([("a".to_string(), good), ("index".to_string(), index)]);
        assert_eq!(not_finite(&tensors), None);
        tensors.insert("y".into(), HostTensor::f32([2, 3, 2], bad));
        assert_eq!(not_finite(&tensors).unwrap(), "`y`[1, 0, 1] is -inf");
    }
}
