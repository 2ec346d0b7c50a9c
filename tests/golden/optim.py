#!/usr/bin/env python
"""Golden vectors of the optimisers alone: python tests/golden/optim.py  (rewrites tests/golden/optim.safetensors)

Four parameters, five steps, gradients and learning rates given:
  lr [5], initial.<param>, gradient.<param> [5,...]; and after each step, under sgd, lars, lars_unclipped, adam and adamw:
  <optimizer>.param.<param> [5,...], <optimizer>.momentum.<param> or .exp_avg.<param> and .exp_avg_sq.<param> [5,...].
Metadata: each optimiser's settings as JSON under its name. Computed in f64 from f32 inputs, stored as f32.
"""

import json
from pathlib import Path

import numpy as np
import torch

import optimizers
from vectors import f32, save

SHAPES = {"conv": (6, 3, 3, 4), "linear": (5, 7), "zero": (3, 2), "bias": (9,)}
LR = np.float32([0.1, 0.2, 0.3, 0.3, 0.05])


def main():
    rng = np.random.default_rng(5)
    normal = lambda *shape: rng.standard_normal(shape).astype("<f4")
    initial = {k: normal(*shape) for k, shape in SHAPES.items()}
    initial["zero"][:] = 0  # LARS takes a plain step where a norm is zero.
    gradients = {k: normal(len(LR), *shape) for k, shape in SHAPES.items()}
    gradients["linear"] *= np.float32(0.01)  # Small enough for LARS to clip.
    gradients["conv"][3] = 0

    runs = {name: (name, dict(settings)) for name, settings in optimizers.SETTINGS.items()}
    runs["lars_unclipped"] = ("lars", optimizers.SETTINGS["lars"] | {"clip": False})
    tensors = {"lr": LR}
    tensors |= {f"initial.{k}": v for k, v in initial.items()} | {f"gradient.{k}": v for k, v in gradients.items()}
    for run, (name, settings) in runs.items():
        params = {k: torch.nn.Parameter(torch.from_numpy(v).double()) for k, v in initial.items()}
        optimizer = optimizers.build(name, params.values(), settings)
        history = {}
        for step, lr in enumerate(LR):
            for k, p in params.items():
                p.grad = torch.from_numpy(gradients[k][step]).double()
            optimizers.set_lr(optimizer, float(lr))
            optimizer.step()
            for k, p in params.items():
                for state, value in {"param": p, **optimizers.states(name, optimizer, p)}.items():
                    history.setdefault(f"{run}.{state}.{k}", []).append(f32(value))
        tensors |= {k: np.stack(v) for k, v in history.items()}
    metadata = {run: json.dumps({"optimizer": name, **settings}) for run, (name, settings) in runs.items()}
    save(Path(__file__).parent / "optim.safetensors", tensors, metadata | {"torch": torch.__version__})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
