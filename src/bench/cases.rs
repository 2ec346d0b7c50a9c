//! Shapes to time that come from a file, for what an op's own bench cases do not hold: every layer of a network, say.

use crate::ops::table::{Case, Fill, OpSpec, find};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    op: String,
    name: String,
    #[serde(default)]
    params: Value,
    inputs: BTreeMap<String, Vec<usize>>,
}

/// Cases from a JSON list of `{"op", "name", "params", "inputs": {name: shape}}`.
pub fn read_cases(path: &Path) -> Result<Vec<(&'static OpSpec, Case)>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let rows: Vec<Row> = serde_json::from_str(&text).map_err(|e| Error::data(path, e.to_string()))?;
    rows.into_iter().map(|row| row.case(path)).collect()
}

impl Row {
    fn case(self, path: &Path) -> Result<(&'static OpSpec, Case)> {
        let spec = find(&self.op)?;
        let mut case = Case::new(&self.name, self.params).bench_only();
        for (name, shape) in self.inputs {
            let operand = spec.inputs.iter().find(|o| o.name == name).ok_or_else(|| {
                Error::data(path, format!("case `{}`: `{}` has no input `{name}`", self.name, self.op))
            })?;
            let fill = match operand.dtype {
                DType::F32 | DType::Bf16 => Fill::Normal,
                DType::U8 => Fill::Pixels,
                // Labels and places that are valid whatever they number, if that is two at least.
                DType::U32 | DType::I64 => Fill::Labels(2),
            };
            case = case.filled(operand.name, TensorType::new(shape, operand.dtype), fill);
        }
        Ok((spec, case))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(&'static OpSpec, Case)>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_cases(file.path())
    }

    #[test]
    fn a_file_of_shapes_becomes_cases() {
        let cases = read(
            r#"[{"op": "conv2d", "name": "half", "params": {"stride": 2}, "inputs": {"x": [2,8,8,3], "w": [4,3,3,3]}},
                {"op": "softmax_cross_entropy", "name": "two", "inputs": {"logits": [5,2], "labels": [5]}}]"#,
        )
        .unwrap();
        assert_eq!((cases[0].0.name, cases[0].1.params["stride"].as_u64()), ("conv2d", Some(2)));
        let (_, ty, fill) = cases[1].1.inputs.iter().find(|(name, ..)| *name == "labels").unwrap();
        assert!(ty.dtype == DType::I64 && matches!(fill, Fill::Labels(2)), "{ty} {fill:?}");
    }

    #[test]
    fn a_wrong_name_is_an_error_that_says_it() {
        let error = |text| read(text).err().unwrap().to_string();
        let said = error(r#"[{"op": "relu", "name": "a", "inputs": {"z": [1]}}]"#);
        assert!(said.contains("`relu` has no input `z`"), "{said}");
        let said = error(r#"[{"op": "rely", "name": "a", "inputs": {}}]"#);
        assert!(said.contains("no op `rely`"), "{said}");
    }
}
