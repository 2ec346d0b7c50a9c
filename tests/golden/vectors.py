"""Safetensors files that are the same byte for byte whenever they are made from the same numbers."""

import json
import struct

import numpy as np

_DTYPES = {np.dtype("<f4"): "F32", np.dtype("<f8"): "F64", np.dtype("<i8"): "I64", np.dtype("u1"): "U8"}


def save(path, tensors, metadata):
    """Writes arrays in order of name. The safetensors package shuffles metadata, which would make every run a diff."""
    header, blobs, offset = {"__metadata__": dict(sorted(metadata.items()))}, [], 0
    for name, value in sorted(tensors.items()):
        value = np.ascontiguousarray(value)
        blob = value.tobytes()
        header[name] = {
            "dtype": _DTYPES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def f32(tensor):
    """A torch tensor as an f32 array; it must be finite."""
    value = tensor.detach().to("cpu").numpy().astype("<f4")
    assert np.isfinite(value).all()
    return value
