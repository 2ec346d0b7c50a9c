"""The losses that ops.py writes out, by the libraries people know them from: lightly and solo-learn, where importable.

`compare` runs them in f64 on a golden file's inputs and asserts that outputs and gradients are ours to 1e-5 of each
tensor's largest value. A library that is not there is left out, and ops.py says so.
"""

import importlib.util
import runpy
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F

TOLERANCE = 1e-5
HERE = [name for name in ("lightly", "solo") if importlib.util.find_spec(name)]


def lightly():
    from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, VICRegLoss
    from lightly.loss.swav_loss import sinkhorn
    from lightly.loss.wmse_loss import Whitening2d

    def queue(t, p):
        loss = NTXentLoss(p["temperature"], memory_bank_size=tuple(t["queue"].shape))
        loss.memory_bank.bank = F.normalize(t["queue"], dim=1)
        return loss(t["q"], t["k"])

    return {
        "barlow_twins": lambda t, p: p.get("scale", 1.0) * BarlowTwinsLoss(p.get("lambda", 5e-3))(t["a"], t["b"]),
        "vicreg": lambda t, p: VICRegLoss(*(p.get(k, w) for k, w in VICREG))(t["a"], t["b"]),
        "sinkhorn": lambda t, p: sinkhorn(stacked(t), p["iterations"], p["epsilon"])[-len(t["scores"]) :],
        "nt_xent": lambda t, p: NTXentLoss(p["temperature"])(*t["z"].chunk(2)),
        # Its loss of a batch without a queue is nt_xent's.
        "info_nce": lambda t, p: queue(t, p) if "queue" in t else None,
        "whiten": lambda t, p: Whitening2d(t["x"].shape[1], eps=p.get("eps", 0.0))(t["x"]),
        "cosine_loss": lambda t, p: NegativeCosineSimilarity()(t["p"], t["z"]),
    }


def solo():
    # File by file: importing the package would want all that its trainers do.
    root = Path(importlib.util.find_spec("solo").submodule_search_locations[0])
    load = lambda file, name: runpy.run_path(str(root / file))[name]
    barlow_loss_func = load("losses/barlow.py", "barlow_loss_func")
    moco_loss_func = load("losses/moco.py", "moco_loss_func")
    simclr_loss_func = load("losses/simclr.py", "simclr_loss_func")
    vicreg_loss_func = load("losses/vicreg.py", "vicreg_loss_func")
    wmse_loss_func = load("losses/wmse.py", "wmse_loss_func")
    SinkhornKnopp = load("utils/sinkhorn_knopp.py", "SinkhornKnopp")
    Whitening2d = load("utils/whitening.py", "Whitening2d")

    def vicreg(t, p):
        sim, std, cov = (p.get(k, w) for k, w in VICREG)
        # The variance terms of both views without the half.
        return vicreg_loss_func(t["a"], t["b"], sim, std / 2, cov)

    def queue(t, p):
        q, k, others = (F.normalize(t[name], dim=1) for name in ("q", "k", "queue"))
        return moco_loss_func(q, k, others.T, p["temperature"])

    def whiten(t, p):
        # It calls two functions that PyTorch has renamed and dropped since.
        solve = lambda b, a, upper: (torch.linalg.solve_triangular(a, b, upper=upper),)
        with mock.patch.multiple(torch, cholesky=torch.linalg.cholesky, triangular_solve=solve):
            return Whitening2d(t["x"].shape[1], p.get("eps", 0.0))(t["x"])

    return {
        "barlow_twins": lambda t, p: barlow_loss_func(t["a"], t["b"], p.get("lambda", 5e-3), p.get("scale", 1.0)),
        "vicreg": vicreg,
        "sinkhorn": lambda t, p: SinkhornKnopp(p["iterations"], p["epsilon"])(stacked(t))[-len(t["scores"]) :],
        "nt_xent": lambda t, p: simclr_loss_func(*t["z"].chunk(2), p["temperature"]),
        "info_nce": lambda t, p: queue(t, p) if "queue" in t else None,
        "whiten": whiten,
        # 2 - 2 cos, of which the op is -cos.
        "cosine_loss": lambda t, p: wmse_loss_func(t["p"], t["z"], simplified=False) / 2 - 1,
    }


VICREG = [("sim", 25.0), ("std", 25.0), ("cov", 1.0)]


def stacked(t):
    return torch.cat([t[k] for k in ("queue_scores", "scores") if k in t])


LIBRARIES = {name: make() for name, make in (("lightly", lightly), ("solo", solo)) if name in HERE}


def compare(case, op, inputs, params, trained, output, upstream, gradients, worst):
    """Asserts that every library's op gives this output, and from this upstream gradient these gradients.

    Keeps the largest difference under (library, op) in `worst`, as a share of the tensor's largest value.
    """
    for library, ops in LIBRARIES.items():
        if op not in ops:
            continue
        tensors = {k: v.detach().clone().requires_grad_(k in trained) for k, v in inputs.items()}
        torch.set_default_dtype(torch.float64)
        theirs = ops[op](tensors, params)
        torch.set_default_dtype(torch.float32)
        if theirs is None:
            continue
        theirs = theirs.reshape(output.shape)
        pairs = [(op, theirs, output)]
        if trained:
            by = torch.autograd.grad(theirs, [tensors[k] for k in trained], upstream)
            pairs += zip([f"d_{k}" for k in trained], by, gradients)
        for name, got, want in pairs:
            off = ((got - want).abs().max() / want.abs().max()).item()
            assert off <= TOLERANCE, f"{case}: {library} gives another {name}, off by {off:.1e}"
            worst[library, op] = max(worst.get((library, op), 0.0), off)
