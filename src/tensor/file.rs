//! Named tensors in safetensors files.

use super::{DType, HostTensor, TensorType, Values};
use crate::{Error, Result, files};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Reads every tensor of a file, and its metadata. f16, bf16 and f64 become f32; i32 becomes i64.
pub fn read_tensors(path: &Path) -> Result<(BTreeMap<String, HostTensor>, BTreeMap<String, String>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let bad = |e: safetensors::SafeTensorError| {
        Error::checkpoint(path, format!("not a readable safetensors file: {e}"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(bad)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(&bytes).map_err(bad)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        tensors.insert(name.to_string(), from_view(path, &name, &view)?);
    }
    Ok((tensors, metadata.into_iter().collect()))
}

fn from_view(path: &Path, name: &str, view: &TensorView) -> Result<HostTensor> {
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => Values::F32(bytemuck::pod_collect_to_vec(data)),
        Dtype::F64 => Values::F32(each::<f64, _>(data, |x| x as f32)),
        Dtype::F16 => Values::F32(each::<f16, _>(data, f16::to_f32)),
        Dtype::BF16 => Values::F32(each::<bf16, _>(data, bf16::to_f32)),
        Dtype::I64 => Values::I64(bytemuck::pod_collect_to_vec(data)),
        Dtype::U32 => Values::U32(bytemuck::pod_collect_to_vec(data)),
        Dtype::I32 => Values::I64(each::<i32, _>(data, i64::from)),
        Dtype::U8 => Values::U8(data.to_vec()),
        other => {
            return Err(Error::checkpoint(
                path,
                format!("tensor `{name}` has type {other:?}; convert it to f32, u8 or i64"),
            ));
        }
    };
    Ok(HostTensor { shape: view.shape().to_vec(), values })
}

fn each<T: bytemuck::AnyBitPattern + bytemuck::NoUninit, R>(bytes: &[u8], f: impl Fn(T) -> R) -> Vec<R> {
    bytemuck::pod_collect_to_vec::<u8, T>(bytes).into_iter().map(f).collect()
}

/// Writes tensors and metadata atomically: the file is whole or it is the old one.
pub fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<String, HostTensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| {
            let TensorType { shape, dtype } = tensor.ty();
            let dtype = match dtype {
                DType::F32 => Dtype::F32,
                DType::Bf16 => Dtype::BF16,
                DType::U32 => Dtype::U32,
                DType::U8 => Dtype::U8,
                DType::I64 => Dtype::I64,
            };
            TensorView::new(dtype, shape, tensor.bytes()).map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>();
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    let bytes = views
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|e| Error::checkpoint(path, format!("cannot be written: {e}")))?;
    files::write_atomically(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        let tensors = BTreeMap::from([
            ("x".into(), HostTensor::f32([2, 2], vec![1., f32::MIN_POSITIVE, -3., 4.])),
            ("labels".into(), HostTensor::i64([3], vec![1, -2, i64::MAX])),
            ("images".into(), HostTensor::u8([1, 2], vec![0, 255])),
        ]);
        let metadata = BTreeMap::from([("op".to_string(), "conv2d".to_string())]);
        write_tensors(&path, &tensors, &metadata).unwrap();
        assert_eq!(read_tensors(&path).unwrap(), (tensors, metadata));
    }

    #[test]
    fn garbage_is_an_error_with_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.safetensors");
        std::fs::write(&path, b"\xff\xff\xff\xff\xff\xff\xff\x7fnope").unwrap();
        assert!(read_tensors(&path).unwrap_err().to_string().contains("bad.safetensors"));
    }
}
