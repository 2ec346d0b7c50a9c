#!/usr/bin/env python
"""Ten SimCLR training steps by plain PyTorch: python tests/golden/simclr_10_steps.py  (rewrites the three files)

resnet10 of width 8 with the small stem, head 64-64-32, NT-Xent at temperature 0.2, both views in one forward pass (so
batch norm sees all 16 rows), three optimisers on the same views. Weights under torchvision's names and layouts.
Everything is computed in f64 from f32 numbers.

A ReLU's gradient jumps at zero, so one activation of 1e-7 that f32 rounds across it can turn a small network's gradient
by percents, in PyTorch's own f32 as in anyone's. No tolerance would then tell a bug from rounding. Views that bring any
of the three networks' activations within MARGIN of zero are therefore drawn again, and learning rates are such that the
steps do not amplify what rounding is left; the f32 run, and runs with noise in every layer, prove it.

simclr_10_steps.safetensors (SGD; also the inputs that all three share)
  views [10,16,16,16,3] u8      step, row (i and i + 8 are one image), H, W, C; the network sees (u8 - 128) / 64
  initial.<name>                weights and running statistics before the first step
  features [16,64], z [16,32]   encoder's and head's outputs in the first step
simclr_10_steps.safetensors, simclr_10_steps_lars.safetensors, simclr_10_steps_adamw.safetensors
  lr [10], loss [10] f64, loss_f32 [10] f64 (of PyTorch's f32 run)
  gradient_norm.<name> [10] f64 Euclidean norm of each gradient at each step
  final.<name>                  weights and running statistics after the last step
  momentum.<name>               or exp_avg.<name> and exp_avg_sq.<name>
  f32_error.<name> [1]          |a - b| / |b| of final.<name>, f32 against f64: what a tolerance has to leave room for
Metadata: model, optimizer (JSON), torch.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import optimizers
from vectors import f32, save

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "benches" / "peers"))
from simclr import Encoder, SimCLR, nt_xent  # noqa: E402

STEPS, IMAGES, SIZE, SEED = 10, 8, 16, 10
MODEL = {"encoder": "resnet10", "width": 8, "stem": "small", "channels": 3, "hidden": 64, "out": 32, "temperature": 0.2}
PEAK_LR = {"sgd": 0.03, "lars": 0.1, "adamw": 1e-3}
# Adam divides by the gradient: with eps = 1e-8 its first step is the gradient's sign, which rounding turns near 0.
SETTINGS = {name: dict(optimizers.SETTINGS[name]) for name in PEAK_LR}
SETTINGS["adamw"] |= {"eps": 1e-4}
WARMUP = 3
MARGIN = 1.5e-5  # Least |activation| in front of a ReLU, as a share of the layer's root mean square.
NOISE = 3e-7  # Five times f32's unit roundoff.


class Trainer:
    """One network with its optimiser, and what it did so far."""

    def __init__(self, optimizer, dtype):
        torch.manual_seed(SEED)
        encoder = Encoder(MODEL["encoder"], MODEL["width"], MODEL["stem"], MODEL["channels"])
        self.model = SimCLR(encoder, MODEL["hidden"], MODEL["out"]).to(dtype).train()
        self.params = dict(self.model.named_parameters())
        self.name, self.dtype = optimizer, dtype
        self.optimizer = optimizers.build(optimizer, self.params.values(), SETTINGS[optimizer])
        self.lr, self.loss, self.norms = [], [], {k: [] for k in self.params}

    def step(self, views):
        lr = float(np.float32(PEAK_LR[self.name] * min(1.0, (len(self.lr) + 1) / WARMUP)))
        loss = nt_xent(self.model(views.to(self.dtype)), MODEL["temperature"])
        self.optimizer.zero_grad()
        loss.backward()
        for k, p in self.params.items():
            self.norms[k].append(p.grad.norm().item())
        optimizers.set_lr(self.optimizer, lr)
        self.optimizer.step()
        self.lr.append(lr)
        self.loss.append(loss.item())

    def margin(self, views):
        """The least |activation| / rms in front of any ReLU, were these views the next."""
        least = []
        probe = copy.deepcopy(self.model)
        for module in probe.modules():
            if isinstance(module, torch.nn.ReLU):
                hook = lambda _, x: least.append((x[0].abs().min() / x[0].square().mean().sqrt()).item())
                module.register_forward_pre_hook(hook)
        with torch.no_grad():
            probe(views.to(self.dtype))
        return min(least)

    def add_noise(self, seed):
        """From here on, every layer's output is off by NOISE of its root mean square."""
        generator = torch.Generator().manual_seed(seed)

        def hook(module, inputs, y):
            return y + NOISE * y.detach().square().mean().sqrt() * torch.randn(y.shape, generator=generator)

        for module in self.model.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear)):
                module.register_forward_hook(hook)

    def weights(self):
        """Weights and running statistics under torchvision's names; the head keeps `projector.`."""
        state = self.model.state_dict()
        return {name_of(k): v.detach().clone() for k, v in state.items() if v.is_floating_point()}

    def states(self):
        """The optimiser's state tensors, `<state>.<name>`."""
        for k, p in self.params.items():
            for state, value in optimizers.states(self.name, self.optimizer, p).items():
                yield f"{state}.{name_of(k)}", value

    def error(self, exact):
        """|a - b| / |b| of each weight."""
        mine, theirs = self.weights(), exact.weights()
        return {k: ((mine[k].double() - b).norm() / b.norm()).item() for k, b in theirs.items()}


def name_of(key):
    return key.removeprefix("encoder.")


def smooth(rng, n, cells):
    """n pictures of random blobs, [n,3,SIZE,SIZE]."""
    noise = torch.from_numpy(rng.standard_normal((n, 3, cells, cells)))
    return F.interpolate(noise, size=(SIZE, SIZE), mode="bicubic", align_corners=False)


def draw_views(rng, images):
    """Two views of each picture: other contrast and brightness, and blobs of its own. u8 [2N,H,W,C]."""
    contrast = torch.from_numpy(rng.uniform(0.6, 1.4, (2, IMAGES, 1, 1, 1)))
    brightness = torch.from_numpy(rng.uniform(-0.5, 0.5, (2, IMAGES, 3, 1, 1)))
    views = contrast * images + brightness + 0.4 * smooth(rng, 2 * IMAGES, 6).unflatten(0, (2, IMAGES))
    return (views.flatten(0, 1) * 64 + 128).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def as_input(views):
    """What the network sees, NCHW, exact in f32."""
    return (views.permute(0, 3, 1, 2).double() - 128) / 64


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    images = smooth(rng, IMAGES, 4)
    trainers = [Trainer(name, torch.float64) for name in SETTINGS]
    initial, steps, drawn = trainers[0].weights(), [], 0
    for _ in range(STEPS):
        while True:
            views, drawn = draw_views(rng, images), drawn + 1
            if all(t.margin(as_input(views)) > MARGIN for t in trainers):
                break
        if not steps:
            probe = copy.deepcopy(trainers[0].model)
            features = probe.encoder(as_input(views))
            first = {"features": f32(features), "z": f32(probe.projector(features))}
        steps.append(views)
        for t in trainers:
            t.step(as_input(views))
    print(f"{drawn} draws for {STEPS} steps", file=sys.stderr)

    for t in trainers:
        single = Trainer(t.name, torch.float32)
        noisy = [Trainer(t.name, torch.float64) for _ in range(8)]
        for seed, other in enumerate(noisy):
            other.add_noise(seed)
        for other in [single, *noisy]:
            for views in steps:
                other.step(as_input(views))
        errors = single.error(t)
        write(t, single, errors, {"views": torch.stack(steps).numpy(), **first} if t.name == "sgd" else {}, initial)
        worst = [max(other.error(t).values()) for other in noisy]
        print(
            f"{t.name}: loss {t.loss[0]:.3f} -> {t.loss[-1]:.3f}; weights off by {max(errors.values()):.1e} in f32, "
            f"by {' '.join(f'{e:.1e}' for e in worst)} with noise",
            file=sys.stderr,
        )


def write(t, single, errors, shared, initial):
    tensors = {"lr": np.float32(t.lr), "loss": np.float64(t.loss), "loss_f32": np.float64(single.loss), **shared}
    if shared:
        tensors |= {f"initial.{k}": f32(v) for k, v in initial.items()}
    tensors |= {f"final.{k}": f32(v) for k, v in t.weights().items()}
    tensors |= {k: f32(v) for k, v in t.states()}
    tensors |= {f"gradient_norm.{name_of(k)}": np.float64(v) for k, v in t.norms.items()}
    tensors |= {f"f32_error.{k}": np.float32([v]) for k, v in errors.items()}
    metadata = {
        "model": json.dumps(MODEL),
        "optimizer": json.dumps({"name": t.name, **SETTINGS[t.name]}),
        "torch": torch.__version__,
    }
    path = HERE / f"simclr_10_steps{'' if t.name == 'sgd' else '_' + t.name}.safetensors"
    save(path, tensors, metadata)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
