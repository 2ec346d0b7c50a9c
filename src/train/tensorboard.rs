//! TensorBoard's event files: each scalar of `metrics.jsonl` once more, for who watches many runs side by side.
//!
//! A file is a row of TFRecords: u64 length, its masked CRC-32C, the bytes, theirs. The bytes are a protobuf `Event`
//! (wall_time = 1, step = 2, file_version = 3, summary = 5) whose summary holds values of (tag = 1, simple_value = 2).

use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// Protobuf wire types, in the low bits of a field's key.
const VARINT: u8 = 0;
const BITS_64: u8 = 1;
const BYTES: u8 = 2;
const BITS_32: u8 = 5;

/// What every file begins with.
pub fn header() -> Vec<u8> {
    let mut event = wall_time();
    field_bytes(&mut event, 3, b"brain.Event:2");
    record(&event)
}

/// The numbers of one object of `metrics.jsonl`, as `train/loss` or `epoch/collapse/std`; nothing if it has none.
pub fn scalars(object: &Value) -> Vec<u8> {
    let group = if object["kind"] == "epoch" { "epoch" } else { "train" };
    let mut summary = Vec::new();
    add(&mut summary, group, object);
    if summary.is_empty() {
        return summary;
    }
    let mut event = wall_time();
    event.push(2 << 3 | VARINT);
    varint(&mut event, object["step"].as_u64().unwrap_or(0));
    field_bytes(&mut event, 5, &summary);
    record(&event)
}

fn add(summary: &mut Vec<u8>, prefix: &str, object: &Value) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let tag = format!("{prefix}/{key}");
        match value {
            Value::Object(_) => add(summary, &tag, value),
            Value::Number(number) if key != "step" && key != "epoch" => {
                let mut one = Vec::new();
                field_bytes(&mut one, 1, tag.as_bytes());
                one.push(2 << 3 | BITS_32);
                one.extend((number.as_f64().unwrap_or(f64::NAN) as f32).to_le_bytes());
                field_bytes(summary, 1, &one);
            }
            _ => {}
        }
    }
}

fn wall_time() -> Vec<u8> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
    let mut event = vec![1 << 3 | BITS_64];
    event.extend(seconds.to_le_bytes());
    event
}

fn field_bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | BYTES);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), event, &masked_crc(event)].concat()
}

/// TFRecord rotates and shifts its checksums, since checksums of data that hold checksums are weak.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Written out by hand from the protobuf encoding.
    #[test]
    fn bytes_of_an_event() {
        let bytes = scalars(&json!({"kind": "step", "step": 300, "epoch": 1, "loss": 1.5}));
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 8 + 4 + length + 4);
        assert_eq!(bytes[8..12], masked_crc(&bytes[..8]));
        let event = &bytes[12..12 + length];
        assert_eq!(bytes[12 + length..], masked_crc(event));
        assert_eq!(event[0], 0x09);
        let value = [&[0x0a, 10][..], b"train/loss", &[0x15], &1.5f32.to_le_bytes()].concat();
        let want = [&[0x10, 0xac, 0x02, 0x2a, 19, 0x0a, 17][..], &value].concat();
        assert_eq!(event[9..], want);
    }

    #[test]
    fn masked_checksum_of_a_known_string() {
        // CRC-32C of "123456789" is e3069283.
        let masked = 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_crc(b"123456789"), masked.to_le_bytes());
    }

    #[test]
    fn nested_numbers_have_paths_and_text_is_left_out() {
        let bytes =
            scalars(&json!({"kind": "epoch", "step": 1, "collapse": {"std": 0.1, "verdict": "healthy"}}));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("epoch/collapse/std") && !text.contains("verdict"));
        assert!(scalars(&json!({"kind": "step", "step": 1})).is_empty());
    }
}
