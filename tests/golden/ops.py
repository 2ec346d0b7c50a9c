#!/usr/bin/env python
"""Golden vectors of the ops: python tests/golden/ops.py  (rewrites tests/golden/ops/, prints the table of README.md)

Inputs are f32 numbers; PyTorch computes in f64; results are rounded to f32 once. Layouts are rusa's: activations NHWC,
weights KRSC. Each file holds the inputs, the outputs, `d_<output>` (given) and `d_<input>` (result) under the names of
`rusa op list`. Its metadata are `op`, `params` (JSON), `inputs` and `outputs` (JSON lists of names), `torch`, and
`scales` (JSON): for a result that cancellation leaves, the size of what cancels, which errors are a share of.

Where lightly or solo-learn can be imported, their losses must give the same numbers: libraries.py.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import libraries
import optimizers
from vectors import f32, save

OUT = Path(__file__).parent / "ops"

# ---- The ops: f64 tensors by name and parameters -> outputs by name -------------------------------------------------


def conv2d(t, p):
    x, w = t["x"].permute(0, 3, 1, 2), t["w"].permute(0, 3, 1, 2)
    return {"y": F.conv2d(x, w, None, p["stride"], p["padding"], p["dilation"]).permute(0, 2, 3, 1)}


def batch_norm(t, p):
    x, eps = t["x"].movedim(-1, 1), p.get("eps", 1e-5)
    training = p.get("training", True)
    running = [t[k].clone() if k in t else None for k in ("running_mean", "running_var")]
    y = F.batch_norm(x, *running, t["gamma"], t["beta"], training=training, eps=eps).movedim(1, -1)
    if "residual" in t:
        y = y + t["residual"]
    outputs = {"y": F.relu(y) if p.get("relu") else y}
    if training:
        pixels = t["x"].detach().flatten(0, -2)
        outputs |= {"mean": pixels.mean(0), "var": pixels.var(0, correction=0)}
    return outputs


def linear(t, p):
    return {"y": F.linear(t["x"], t["w"], t.get("b"))}


def relu(t, p):
    return {"y": F.relu(t["x"])}


def max_pool(t, p):
    # Contiguous NCHW: there PyTorch's choice between equal values is the first in row order.
    x = t["x"].permute(0, 3, 1, 2).contiguous()
    return {"y": F.max_pool2d(x, p["kernel"], p["stride"], p["padding"]).permute(0, 2, 3, 1)}


def global_avg_pool(t, p):
    return {"y": F.adaptive_avg_pool2d(t["x"].permute(0, 3, 1, 2), 1).flatten(1)}


def add(t, p):
    return {"y": t["a"] + t["b"]}


def l2_normalize(t, p):
    return {"y": F.normalize(t["x"], dim=1, eps=p.get("eps", 1e-12))}


def nt_xent(t, p):
    z = F.normalize(t["z"], dim=1)
    rows = z.shape[0]
    s = z @ z.T / p["temperature"]
    others = s.masked_fill(torch.eye(rows, dtype=torch.bool), -torch.inf)
    partner = torch.arange(rows).roll(rows // 2)
    return {"loss": (others.logsumexp(1) - s[torch.arange(rows), partner]).mean().reshape(1)}


def cosine_loss(t, p):
    return {"loss": -F.cosine_similarity(t["p"], t["z"], dim=1).mean().reshape(1)}


def softmax_cross_entropy(t, p):
    return {"loss": F.cross_entropy(t["logits"], t["labels"]).reshape(1)}


def soft_cross_entropy(t, p):
    log_p = F.log_softmax(t["logits"] / p["temperature"], dim=1)
    return {"loss": -(t["targets"] * log_p).sum(1).mean().reshape(1)}


def softmax(t, p):
    return {"p": F.softmax((t["x"] - t.get("center", 0)) / p["temperature"], dim=1)}


def column_mean(t, p):
    return {"y": t["x"].mean(0)}


def sinkhorn(t, p):
    """SwAV's, step by step as in the paper's appendix A.1: prototypes are rows, samples columns."""
    scores = torch.cat([t[k] for k in ("queue_scores", "scores") if k in t])
    codes = (scores / p["epsilon"]).exp().T
    codes = codes / codes.sum()
    prototypes, samples = codes.shape
    for _ in range(p["iterations"]):
        codes = codes / codes.sum(1, keepdim=True) / prototypes
        codes = codes / codes.sum(0, keepdim=True) / samples
    return {"assignments": (codes * samples).T[-len(t["scores"]) :]}


def matmul(t, p):
    a = t["a"].T if p.get("transpose_a") else t["a"]
    b = t["b"].T if p.get("transpose_b") else t["b"]
    return {"c": p.get("scale", 1.0) * (a @ b)}


def center(t, p):
    return {"y": t["x"] - t["x"].mean(0)}


def mse_loss(t, p):
    return {"loss": F.mse_loss(t["a"], t["b"]).reshape(1)}


def weighted_sum(t, p):
    return {"loss": sum(w * x for w, x in zip(p["weights"], t.values()))}


def barlow_twins(t, p):
    a, b = (F.batch_norm(x, None, None, training=True, eps=1e-5) for x in (t["a"], t["b"]))
    off = (a.T @ b / len(a) - torch.eye(a.shape[1])) ** 2
    on = off.diagonal().sum()
    return {"loss": (p.get("scale", 1.0) * (on + p.get("lambda", 5e-3) * (off.sum() - on))).reshape(1)}


def vicreg(t, p):
    loss = p.get("sim", 25.0) * F.mse_loss(t["a"], t["b"])
    for x in t.values():
        cov = torch.cov(x.T)
        std, off = (x.var(0) + 1e-4).sqrt(), cov - cov.diagonal().diag()
        loss = loss + p.get("std", 25.0) * F.relu(1 - std).mean() / 2 + p.get("cov", 1.0) * (off**2).sum() / len(cov)
    return {"loss": loss.reshape(1)}


def whiten(t, p):
    eps, eye = p.get("eps", 0.0), torch.eye(t["x"].shape[1]).double()
    lower = torch.linalg.cholesky((1 - eps) * torch.cov(t["x"].T) + eps * eye)
    return {"y": torch.linalg.solve_triangular(lower, (t["x"] - t["x"].mean(0)).T, upper=False).T}


def rows(t, p):
    return {"y": t["x"][p["from"] : p["to"]]}


def concat_views(t, p):
    return {"y": torch.cat(t["x"].chunk(p["views"]), dim=1)}


def concat(t, p):
    return {"y": torch.cat((t["a"], t["b"]))}


def rotate(t, p):
    images = [x.rot90(int(k), dims=(0, 1)) for x, k in zip(t["x"], t["turns"])]
    return {"y": torch.stack(images)}


def patch_norm(t, p):
    y = F.instance_norm(t["x"].permute(0, 3, 1, 2), eps=p.get("eps", 1e-5))
    return {"y": y.permute(0, 2, 3, 1)}


def info_nce(t, p):
    """MoCo's with a queue: the positive is class 0. Without, row n's class is n."""
    q, k = F.normalize(t["q"], dim=1), F.normalize(t["k"], dim=1)
    if "queue" in t:
        others = q @ F.normalize(t["queue"], dim=1).T
        logits, labels = torch.cat([(q * k).sum(1, keepdim=True), others], 1), torch.zeros(len(q), dtype=torch.long)
    else:
        logits, labels = q @ k.T, torch.arange(len(q))
    return {"loss": F.cross_entropy(logits / p["temperature"], labels).reshape(1)}


def nearest(t, p):
    return {"y": t["support"][(F.normalize(t["z"], dim=1) @ F.normalize(t["support"], dim=1).T).argmax(1)]}


def gather(t, p):
    return {"y": t["x"][t["index"]]}


# Updates in place: `queue` is given, `new_queue` is what it becomes.


def unit_rows(t, p):
    return {"new_weight": F.normalize(t["weight"], dim=1)}


def enqueue(t, p):
    """Row by row, as a ring takes them."""
    queue, rows = t["queue"].clone(), t["rows"]
    at = (int(t["schedule"][1]) - 1) * len(rows)
    for row in rows:
        queue[at % len(queue)] = row
        at += 1
    return {"new_queue": queue}


def memory_bank(t, p):
    bank, rows = t["bank"].clone(), F.normalize(t["rows"], dim=1)
    bank[t["index"]] = F.normalize(torch.lerp(rows, bank[t["index"]], p.get("momentum", 0.5)), dim=1)
    return {"new_bank": bank}


def ema(t, p):
    return {"new_target": torch.lerp(t["value"], t["target"], t["momentum"])}


def when_finite(t, p):
    return {"y": torch.where(t["gate"].isfinite(), t["x"], p.get("otherwise", 0.0))}


def step_of(name):
    """One step of PyTorch's optimiser (LARS: optimizers.py's), after schedule[1] - 1 others."""

    def op(t, p):
        lr, step = (float(x) for x in t["schedule"])
        param = torch.nn.Parameter(t["param"].clone())
        param.grad = t["grad"]
        optimizer = optimizers.build(name, [param], p)
        optimizers.set_lr(optimizer, lr)
        for theirs, ours in optimizers.STATES[name].items():
            optimizer.state[param][theirs] = t[ours].clone()
        if name == "adamw":
            optimizer.state[param]["step"] = torch.tensor(step - 1)
        optimizer.step()
        new = {"param": param, **optimizers.states(name, optimizer, param)}
        return {f"new_{k}": v for k, v in new.items()}

    op.__name__ = name
    return op


sgd, lars, adamw = (step_of(name) for name in ("sgd", "lars", "adamw"))

# What an op takes that no gradient flows to.
CONSTANTS = {
    "soft_cross_entropy": {"targets"},
    "softmax": {"center"},
    "sinkhorn": {"scores", "queue_scores"},
    "gather": {"x"},
    "rotate": {"x"},
    "patch_norm": {"x"},
    "info_nce": {"queue"},
    "nearest": {"z", "support"},
    "unit_rows": {"weight"},
    "enqueue": {"schedule", "rows", "queue"},
    "memory_bank": {"rows", "bank"},
    "ema": {"momentum", "value", "target"},
    "when_finite": {"gate", "x"},
    "sgd": {"schedule", "grad", "param", "momentum"},
    "lars": {"schedule", "grad", "param", "momentum"},
    "adamw": {"schedule", "grad", "param", "exp_avg", "exp_avg_sq"},
}


# ---- The cases ------------------------------------------------------------------------------------------------------

CASES = []


def case(op, name, params, make, scales=None):
    """`make(normal)` gives the inputs, and the upstream gradient if it is not drawn; `normal(*shape)` draws f32."""
    CASES.append((op, name, params, make, scales or {}))


def conv_case(name, n, h, w, c, k, r=3, s=None, stride=1, padding=0, dilation=1):
    params = {"stride": stride, "padding": padding, "dilation": dilation}
    make = lambda normal: {"x": normal(n, h, w, c), "w": normal(k, r, s or r, c)}
    case(conv2d, name, params, make)


conv_case("3x3", 2, 7, 9, 8, 16, padding=1)
conv_case("3x3_p0", 2, 6, 5, 4, 5)
conv_case("3x3_p2", 2, 4, 5, 5, 6, padding=2)
conv_case("3x3_p3", 1, 3, 2, 3, 4, padding=3)
conv_case("3x3_s2", 2, 9, 7, 8, 16, stride=2, padding=1)
conv_case("3x3_s2_even", 2, 8, 6, 8, 8, stride=2, padding=1)
conv_case("3x3_s2_p0_unread_edge", 2, 8, 6, 4, 8, stride=2)
conv_case("3x3_s3", 1, 10, 11, 4, 6, stride=3, padding=1)
conv_case("3x3_d2", 2, 9, 8, 6, 7, padding=2, dilation=2)
conv_case("3x3_d2_s2", 2, 11, 10, 5, 8, stride=2, padding=1, dilation=2)
conv_case("3x3_d3_p1", 1, 9, 11, 3, 4, padding=1, dilation=3)
conv_case("3x3_gray", 3, 12, 12, 1, 16, padding=1)
conv_case("3x3_rgb", 2, 9, 10, 3, 16, padding=1)
conv_case("3x3_odd_channels", 2, 6, 7, 7, 13, padding=1)
conv_case("3x3_one_output_channel", 2, 5, 6, 8, 1, padding=1)
conv_case("3x3_one_pixel", 1, 1, 1, 8, 8, padding=1)
conv_case("3x3_tall", 1, 17, 3, 8, 12, padding=1)
conv_case("3x3_wide", 1, 2, 33, 8, 12, padding=1)
conv_case("3x3_32_channels", 2, 12, 12, 32, 32, padding=1)
conv_case("3x3_32_channels_odd", 1, 13, 11, 32, 32, padding=1)
conv_case("3x3_32_channels_p0", 1, 8, 8, 32, 32)
conv_case("3x3_64_channels", 2, 6, 6, 64, 64, padding=1)
conv_case("1x1", 2, 5, 7, 16, 24, 1)
conv_case("1x1_s2", 2, 7, 8, 16, 24, 1, stride=2)
conv_case("1x1_p1", 1, 3, 4, 5, 6, 1, padding=1)
conv_case("2x2_s2", 2, 7, 6, 4, 8, 2, stride=2)
conv_case("1x3", 2, 5, 6, 4, 8, 1, 3, padding=1)
conv_case("3x2", 2, 5, 6, 4, 8, 3, 2)
conv_case("5x5", 2, 7, 9, 3, 8, 5, padding=2)
conv_case("5x5_s2_p1", 1, 9, 8, 6, 5, 5, stride=2, padding=1)
conv_case("7x7_s2_p3", 2, 15, 17, 3, 8, 7, stride=2, padding=3)
conv_case("7x7_gray_p3", 1, 9, 8, 1, 10, 7, padding=3)


def norm_case(name, shape, params=(), residual=False, mean=0.0, scales=None):
    c = shape[-1]
    params = dict(params)

    def make(normal):
        x = (normal(*shape) * (0.5 + np.arange(c, dtype="f4") / c) + mean + normal(c)).astype("f4")
        inputs = {"x": x, "gamma": normal(c), "beta": normal(c)}
        if residual:
            inputs["residual"] = normal(*shape)
        if not params.get("training", True):
            inputs |= {"running_mean": normal(c), "running_var": normal(c) ** 2 + np.float32(0.1)}
        return inputs

    case(batch_norm, name, params, make, scales)


RELU, EVAL = {"relu": True}, {"training": False}
norm_case("plain", (2, 4, 6, 8))
norm_case("odd_count", (3, 5, 3, 7))
norm_case("relu", (2, 3, 5, 16), RELU)
norm_case("residual", (2, 4, 3, 10), residual=True)
norm_case("residual_relu", (2, 5, 4, 17), RELU, residual=True)
norm_case("one_channel", (3, 3, 3, 1), RELU)
norm_case("one_image", (1, 3, 4, 8), RELU)
# Two values normalise to +-1 whatever they are: hardly any of gamma dy / sigma, up to 10 here, comes through.
norm_case("two_values", (2, 1, 1, 5), scales={"d_x": 10})
norm_case("large_eps", (2, 3, 3, 4), {"eps": 0.25})
norm_case("far_from_zero", (4, 5, 5, 6), RELU, mean=100.0)
norm_case("rows", (9, 12), RELU)
norm_case("many_pixels", (4, 17, 13, 12), RELU, residual=True)
norm_case("evaluation", (2, 3, 5, 8), EVAL)
norm_case("evaluation_relu", (2, 3, 5, 9), EVAL | RELU)
norm_case("evaluation_residual_relu", (1, 4, 3, 6), EVAL | RELU, residual=True)


def linear_case(name, n, d, k, bias=True):
    make = lambda normal: {"x": normal(n, d), "w": normal(k, d)} | ({"b": normal(k)} if bias else {})
    case(linear, name, {}, make)


linear_case("bias", 5, 7, 9)
linear_case("no_bias", 6, 8, 16, bias=False)
linear_case("batch_1", 1, 33, 10)
linear_case("one_output", 7, 12, 1)
linear_case("square", 32, 64, 64)
linear_case("wide", 9, 130, 67)

case(relu, "images", {}, lambda normal: {"x": normal(2, 3, 5, 7)})
case(relu, "zeros", {}, lambda normal: {"x": np.maximum(normal(4, 9), 0) * np.float32([1, -1] * 4 + [1])})


def pool_case(name, shape, kernel, stride, padding, fill=lambda normal, shape: normal(*shape)):
    params = {"kernel": kernel, "stride": stride, "padding": padding}
    case(max_pool, name, params, lambda normal: {"x": fill(normal, shape)})


pool_case("3_2_1", (2, 8, 8, 8), 3, 2, 1)
pool_case("3_2_1_odd", (2, 9, 7, 5), 3, 2, 1)
pool_case("2_2_0", (2, 6, 8, 8), 2, 2, 0)
pool_case("2_2_0_odd", (1, 7, 5, 3), 2, 2, 0)
pool_case("3_1_1", (1, 5, 6, 4), 3, 1, 1)
pool_case("3_3_0", (1, 7, 8, 2), 3, 3, 0)
pool_case("2_3_1_gaps", (1, 8, 9, 3), 2, 3, 1)
pool_case("one_pixel", (1, 1, 1, 4), 3, 2, 1)
pool_case("negative", (1, 5, 5, 3), 3, 2, 1, lambda normal, shape: -abs(normal(*shape)) - np.float32(1))
pool_case("ties", (2, 7, 6, 5), 3, 2, 1, lambda normal, shape: np.maximum(np.round(normal(*shape)), 0))

for name, shape in [("small", (2, 3, 5, 7)), ("one_pixel", (3, 1, 1, 9)), ("square", (2, 8, 8, 16))]:
    case(global_avg_pool, name, {}, lambda normal, shape=shape: {"x": normal(*shape)})

for name, shape in [("images", (2, 3, 4, 5)), ("vector", (13,))]:
    case(add, name, {}, lambda normal, shape=shape: {"a": normal(*shape), "b": normal(*shape)})


def rows_with_zero(normal):
    x, d_y = normal(4, 6), normal(4, 6)
    x[2], d_y[2] = 0, 0
    return {"x": x, "d_y": d_y}


case(l2_normalize, "small", {}, lambda normal: {"x": normal(5, 7)})
case(l2_normalize, "one_column", {}, lambda normal: {"x": normal(4, 1)}, {"d_x": 1})
case(l2_normalize, "scales", {}, lambda normal: {"x": normal(5, 9) * np.float32([[1e-6], [1e-3], [1], [1e3], [1e6]])})
case(l2_normalize, "large_eps", {"eps": 2.0}, lambda normal: {"x": normal(8, 4)})
case(l2_normalize, "wide", {}, lambda normal: {"x": normal(3, 300)})
case(l2_normalize, "zero_row", {}, rows_with_zero)
# The gradient of a zero row is d_y / eps, as F.normalize has it.
case(l2_normalize, "zero_row_gradient", {"eps": 1e-3}, lambda normal: {"x": normal(3, 5) * np.float32([[1], [0], [1]])})


def contrastive_case(name, n, d, temperature, scale=1.0, scales=()):
    def make(normal):
        image = normal(n, d)
        views = np.concatenate([image, image]) + np.float32(0.5) * normal(2 * n, d)
        return {"z": views * np.float32(scale)}

    # The loss is the difference of a log-sum-exp and a logit, both up to 1 / temperature.
    case(nt_xent, name, {"temperature": temperature}, make, {"loss": 1, **dict(scales)})


contrastive_case("t05", 4, 8, 0.5)
contrastive_case("t02_odd", 5, 7, 0.2)
contrastive_case("t007", 6, 16, 0.07)
contrastive_case("two_images", 2, 5, 0.2, scales={"d_z": 1})  # Told apart with near certainty: 1 - p.
contrastive_case("two_dimensions", 3, 2, 0.1)
contrastive_case("large_z", 7, 9, 0.2, scale=1e4)
contrastive_case("tiny_z", 7, 9, 0.2, scale=1e-4)
contrastive_case("hundred", 33, 40, 0.2)
contrastive_case("many_rows", 151, 12, 0.1)

for name, shape in [("small", (5, 7)), ("batch_1", (1, 33)), ("projector", (31, 64))]:
    case(cosine_loss, name, {}, lambda normal, shape=shape: {"p": normal(*shape), "z": normal(*shape)})
case(cosine_loss, "scales", {}, lambda normal: {"p": normal(6, 9) * 1000, "z": normal(6, 9) / 1000})


def class_case(name, n, classes, scale=1.0):
    def make(normal):
        labels = abs(normal(n) * 1000).astype("<i8") % classes
        return {"logits": normal(n, classes) * np.float32(scale), "labels": labels}

    case(softmax_cross_entropy, name, {}, make)


class_case("small", 5, 7)
class_case("batch_1", 1, 3)
class_case("two_classes", 11, 2)
class_case("hundred_classes", 19, 100)
class_case("large_logits", 8, 10, scale=60.0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def prototype_scores(normal, samples, prototypes, d=8):
    """Cosines, as SwAV's scores are."""
    return (unit(normal(samples, d)) @ unit(normal(prototypes, d)).T).astype("<f4")


def soft_case(name, n, k, temperature, targets, scale=1.0):
    def make(normal):
        logits = normal(n, k) * np.float32(scale)
        return {"logits": logits, "targets": targets(normal, n, k).astype("<f4")}

    case(soft_cross_entropy, name, {"temperature": temperature}, make)


def probabilities(normal, n, k):
    p = np.exp(normal(n, k) / np.float32(0.3))
    return p / p.sum(1, keepdims=True)


def some_labels(normal, n, k):
    """Weight 1/labels on each label of an image."""
    labels = normal(n, k) > 0.5
    labels[:, 0] = True
    return labels / labels.sum(1, keepdims=True)


soft_case("probabilities", 5, 7, 0.1, probabilities)
soft_case("labels", 6, 40, 1.0, some_labels)
soft_case("any_sum", 9, 12, 0.5, lambda normal, n, k: normal(n, k))
soft_case("batch_1", 1, 3, 1.0, probabilities)
soft_case("wide", 3, 301, 0.1, probabilities)
soft_case("large_logits", 8, 10, 1.0, probabilities, scale=60.0)

case(softmax, "plain", {"temperature": 1.0}, lambda normal: {"x": normal(5, 7)})
case(softmax, "center", {"temperature": 0.5}, lambda normal: {"x": normal(6, 40), "center": normal(40)})
case(softmax, "teacher", {"temperature": 0.04}, lambda normal: {"x": normal(4, 33) / 10, "center": normal(33) / 10})
case(softmax, "batch_1", {"temperature": 0.3}, lambda normal: {"x": normal(1, 3)})

for name, shape in [("small", (5, 7)), ("one_row", (1, 9)), ("many_rows", (131, 12))]:
    case(column_mean, name, {}, lambda normal, shape=shape: {"x": normal(*shape)})


def sinkhorn_case(name, n, k, queue=0, epsilon=0.05, iterations=3):
    def make(normal):
        scores = prototype_scores(normal, queue + n, k)
        return {"scores": scores[queue:]} | ({"queue_scores": scores[:queue]} if queue else {})

    case(sinkhorn, name, {"epsilon": epsilon, "iterations": iterations}, make)


sinkhorn_case("more_samples", 24, 7)
sinkhorn_case("more_prototypes", 5, 30)
sinkhorn_case("queue", 8, 16, queue=40)
sinkhorn_case("queue_odd", 5, 13, queue=31, epsilon=0.03)
sinkhorn_case("one_iteration", 9, 6, iterations=1)
sinkhorn_case("batch_1", 1, 4)
for name, a, b, params in [
    ("nn", (5, 7), (7, 3), {}),
    ("nt", (5, 7), (9, 7), {"transpose_b": True, "scale": 0.5}),
    ("tn", (33, 8), (33, 12), {"transpose_a": True, "scale": 0.03125}),
]:
    case(matmul, name, params, lambda normal, a=a, b=b: {"a": normal(*a), "b": normal(*b)})

case(center, "small", {}, lambda normal: {"x": normal(9, 7)})
case(weighted_sum, "three", {"weights": [25.0, 12.5, 1.0]}, lambda normal: {k: normal(1) for k in "abc"})


def views_case(op, name, n, d, params=None, spread=1.0):
    def make(normal):
        image = normal(n, d)
        return {k: (image + np.float32(0.5) * normal(n, d)) * np.float32(spread) for k in "ab"}

    case(op, name, params or {}, make)


for op in (mse_loss, barlow_twins, vicreg):
    views_case(op, "small", 9, 5)
    views_case(op, "projector", 48, 32)
views_case(barlow_twins, "scaled", 12, 6, {"lambda": 0.01, "scale": 0.025})
views_case(vicreg, "weights", 12, 6, {"sim": 10.0, "std": 5.0, "cov": 2.0})
views_case(vicreg, "short", 16, 8, spread=0.3)  # Every standard deviation below one: the hinge is open.

case(whiten, "small", {}, lambda normal: {"x": normal(23, 5)})
case(whiten, "shrunk", {"eps": 0.1}, lambda normal: {"x": normal(40, 12)})

for name, shape, first, end in [("middle", (7, 5), 2, 5), ("images", (3, 2, 3, 8), 0, 2), ("last", (5,), 4, 5)]:
    case(rows, name, {"from": first, "to": end}, lambda normal, shape=shape: {"x": normal(*shape)})

for name, views, n, d in [("two", 2, 5, 7), ("nine", 9, 3, 16), ("one_image", 4, 1, 33)]:
    case(concat_views, name, {"views": views}, lambda normal, n=views * n, d=d: {"x": normal(n, d)})

for name, n, m, d in [("small", 5, 3, 7), ("batch_1", 1, 1, 33), ("packs", 3, 2, 16)]:
    case(concat, name, {}, lambda normal, n=n, m=m, d=d: {"a": normal(n, d), "b": normal(m, d)})

for name, n, s, c in [("rgb", 9, 5, 3), ("batch_1", 1, 4, 8), ("one_pixel", 3, 1, 7)]:
    turns = np.arange(-4, n - 4) if n > 4 else np.arange(1, n + 1)
    case(rotate, name, {}, lambda normal, n=n, s=s, c=c, turns=turns: {"x": normal(n, s, s, c), "turns": turns})

for name, shape, params, shift in [
    ("rgb", (5, 7, 5, 3), {}, 0),
    ("gray", (2, 17, 19, 1), {}, 0),
    ("many_channels", (2, 2, 3, 300), {}, 0),
    ("large_eps", (3, 4, 4, 5), {"eps": 0.25}, 0),
    ("far_from_zero", (2, 5, 5, 3), {}, 100),
]:
    make = lambda normal, shape=shape, shift=shift: {"x": normal(*shape) + np.float32(shift)}
    case(patch_norm, name, params, make)

def gather_case(name, m, d, n):
    rows = lambda normal: {"x": normal(m, d), "index": abs(normal(n) * 1000).astype("<i8") % m}
    case(gather, name, {}, rows)


gather_case("rows", 9, 4, 20)
gather_case("batch_1", 3, 7, 1)


def query_case(name, n, d, temperature, queue=0, scale=1.0):
    def make(normal):
        image = normal(n, d)
        views = [(image + np.float32(0.5) * normal(n, d)) * np.float32(scale) for _ in range(2)]
        return {"q": views[0], "k": views[1]} | ({"queue": normal(queue, d)} if queue else {})

    # The loss is the difference of a log-sum-exp and a logit, both up to 1 / temperature.
    case(info_nce, name, {"temperature": temperature}, make, {"loss": 1})


query_case("queue", 5, 16, 0.2, queue=33)
query_case("queue_moco", 9, 12, 0.07, queue=301)
query_case("queue_batch_1", 1, 7, 0.2, queue=4)
query_case("queue_large_rows", 4, 9, 0.1, queue=10, scale=1e4)
query_case("batch", 8, 8, 0.2)
query_case("batch_odd", 37, 13, 0.2)
query_case("batch_two_rows", 2, 5, 1.0)
query_case("batch_many", 150, 12, 0.1)

for name, n, k, d in [("small", 5, 7, 8), ("many", 40, 300, 12), ("batch_1", 1, 9, 5)]:
    case(nearest, name, {}, lambda normal, n=n, k=k, d=d: {"z": normal(n, d), "support": normal(k, d)})

for name, shape in [("small", (5, 7)), ("one_row", (1, 33)), ("one_column", (4, 1))]:
    case(unit_rows, name, {}, lambda normal, shape=shape: {"weight": normal(*shape)})
case(unit_rows, "scales", {}, lambda normal: {"weight": normal(3, 9) * np.float32([[1e-3], [1], [1e3]])})


def schedule(step, lr=0.25):
    return np.float32([lr, step])


def enqueue_case(name, step, n, k, d):
    make = lambda normal: {"schedule": schedule(step), "rows": normal(n, d), "queue": normal(k, d)}
    case(enqueue, name, {}, make)


enqueue_case("first", 1, 5, 12, 7)
enqueue_case("wraps", 3, 5, 12, 8)
enqueue_case("odd", 9, 7, 13, 33)
enqueue_case("batch_1", 6, 1, 4, 3)
enqueue_case("larger_than_the_queue", 2, 11, 4, 5)


def bank_case(name, n, k, d, params):
    def make(normal):
        index = normal(k).argsort()[:n].astype("<i8")
        return {"rows": normal(n, d), "index": index, "bank": unit(normal(k, d)).astype("<f4")}

    case(memory_bank, name, params, make)


bank_case("small", 5, 9, 8, {})
bank_case("odd", 13, 31, 33, {"momentum": 0.9})
bank_case("whole_bank", 7, 7, 5, {"momentum": 0.25})
bank_case("batch_1", 1, 3, 150, {})
bank_case("replaces", 4, 6, 3, {"momentum": 0.0})

for name, momentum, shape in [("small", 0.9, (5, 7)), ("vector", 0.996, (33,)), ("kept", 1.0, (3, 2))]:
    make = lambda normal, m=momentum, shape=shape: {
        "momentum": np.float32([m]),
        "value": normal(*shape),
        "target": normal(*shape),
    }
    case(ema, name, {}, make)


def rounded(setting):
    """To f32, as inputs are: 1 - 0.999 is off by 1e-5 otherwise."""
    if isinstance(setting, list):
        return [rounded(x) for x in setting]
    return float(np.float32(setting)) if isinstance(setting, float) else setting


def step_case(op, name, shape, params, scale=1.0):
    def make(normal):
        states = optimizers.STATES[op.__name__].values()
        given = {"schedule": schedule(3), "grad": normal(*shape) * np.float32(scale), "param": normal(*shape)}
        return given | {k: normal(*shape) ** 2 if k == "exp_avg_sq" else normal(*shape) for k in states}

    settings = optimizers.SETTINGS[op.__name__] | params
    case(op, name, {k: rounded(v) for k, v in settings.items()}, make)


for op in (sgd, lars, adamw):
    step_case(op, "matrix", (5, 7), {"weight_decay": 0.1})
    step_case(op, "vector", (33,), {"weight_decay": 0.1})  # Not decayed.
    step_case(op, "filters", (6, 3, 3, 5), {})
step_case(lars, "clipped", (5, 7), {"eta": 1.0}, scale=0.01)
step_case(lars, "unclipped", (5, 7), {"eta": 1.0, "clip": False}, scale=0.01)
step_case(adamw, "betas", (4, 9), {"betas": [0.5, 0.9], "eps": 0.1})

# ---- Making them ----------------------------------------------------------------------------------------------------

for name, gate, params, n in [
    ("finite", 2.3, {}, 2),
    ("nan", np.nan, {}, 2),
    ("infinite", -np.inf, {"otherwise": 1.0}, 300),
    ("batch_1", np.inf, {"otherwise": 1.5}, 1),
]:
    case(when_finite, name, params, lambda normal, gate=gate, n=n: {"gate": np.float32([gate]), "x": normal(n)})



def golden(op, name, params, make, worst):
    """Tensors and metadata of one file. `worst` takes what the libraries' results differ by."""
    rng = np.random.default_rng(zlib.crc32(f"{op.__name__}/{name}".encode()))
    normal = lambda *shape: rng.standard_normal(shape).astype("<f4")
    given = make(normal)
    inputs = {k: v for k, v in given.items() if not k.startswith("d_")}
    tensors = {k: torch.from_numpy(v) for k, v in inputs.items()}
    tensors = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
    constants = CONSTANTS.get(op.__name__, set())
    trained = [k for k, v in tensors.items() if v.is_floating_point() and not k.startswith("running_")]
    trained = [k for k in trained if k not in constants]
    for k in trained:
        tensors[k].requires_grad_()

    outputs = op(tensors, params)
    file = dict(inputs)
    file |= {k: f32(v) for k, v in outputs.items()}
    first, value = next(iter(outputs.items()))
    given_gradient, gradients = None, []
    if trained:
        upstream = given.get(f"d_{first}")
        if upstream is None:
            upstream = normal(*value.shape)
        given_gradient = torch.from_numpy(upstream).double()
        gradients = torch.autograd.grad(value, [tensors[k] for k in trained], given_gradient)
        file |= {f"d_{first}": upstream}
        file |= {f"d_{k}": f32(g) for k, g in zip(trained, gradients)}
    case = f"{op.__name__}/{name}"
    libraries.compare(case, op.__name__, tensors, params, trained, value, given_gradient, gradients, worst)
    metadata = {
        "op": op.__name__,
        "params": json.dumps(params),
        "inputs": json.dumps(sorted(inputs)),
        "outputs": json.dumps(sorted(outputs)),
        "torch": torch.__version__,
    }
    return file, metadata


def shown(setting):
    """As few digits as tell an f32."""
    if isinstance(setting, list):
        return [shown(x) for x in setting]
    return float(str(np.float32(setting))) if isinstance(setting, float) else setting


def main():
    torch.set_num_threads(1)
    for old in OUT.glob("*.safetensors"):
        old.unlink()
    worst = {}
    print("| file | inputs | parameters |\n| --- | --- | --- |")
    for op, name, params, make, scales in CASES:
        file, metadata = golden(op, name, params, make, worst)
        if scales:
            metadata["scales"] = json.dumps(scales)
        path = OUT / f"{op.__name__}__{name}.safetensors"
        assert not path.exists(), f"two cases are called {path.stem}"
        save(path, file, metadata)
        shapes = " ".join(f"{k}{list(file[k].shape)}".replace(" ", "") for k in json.loads(metadata["inputs"]))
        print(f"| `{path.stem}` | {shapes} | {', '.join(f'{k} {shown(v)}' for k, v in params.items())} |")
    size = sum(f.stat().st_size for f in OUT.iterdir())
    print(f"{len(CASES)} files, {size / 1e6:.2f} MB", file=sys.stderr)
    for (library, op), off in sorted(worst.items()):
        print(f"{library}'s {op}: off by {off:.1e} at most", file=sys.stderr)
    for library in {"lightly", "solo"} - set(libraries.HERE):
        print(f"{library} cannot be imported: not compared", file=sys.stderr)


if __name__ == "__main__":
    main()
