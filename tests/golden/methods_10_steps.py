#!/usr/bin/env python
"""Ten training steps by lightly's modules in PyTorch: python tests/golden/methods_10_steps.py [METHOD ...]

Losses, prototypes, memory bank and moving averages are those of lightly; the encoder is simclr_10_steps.py's,
with its initial weights, and each method has heads of its own. The two views go through the network one after the
other. SGD with momentum. Everything is computed in f64 from f32 numbers.

Views are those of simclr_10_steps.safetensors (rows 0 to 7 the first view of each image, 8 to 15 the second), their
pixels turned: pixel p of a view, counted in row order, comes to place (p + roll[step]) mod 256. The turn is the first
that keeps the student's activations MARGIN away from ReLU's kink, for the reason simclr_10_steps.py gives.

<method>_10_steps.safetensors, the file of each method
  roll [10] i64, lr [10], loss [10] f64
  momentum [11] of the teacher: before each step, and once after the last
  initial.<name>  what the encoder of simclr_10_steps.safetensors lacks: heads, prototypes, queue. Teachers begin as
                  students.
  final.<name>    all weights, running statistics and states: `encoder.`, `projector.`, `predictor.`, `prototypes.`,
                  `queue`, and the teacher's below `teacher.`
Metadata: method, projector, loss, optimizer (JSON, rusa's settings), lightly, torch.
"""

import copy
import json
import sys
from pathlib import Path

import lightly
import numpy as np
import torch
import torch.nn.functional as F
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss, VICRegLoss
from lightly.models.modules import SwaVPrototypes
from lightly.models.utils import update_momentum
from lightly.utils.scheduler import cosine_schedule
from safetensors.torch import load_file
from torch import nn

import optimizers
from simclr_10_steps import MODEL, NOISE, SEED, STEPS, WARMUP, Encoder, as_input
from vectors import f32, save

from simclr import mlp  # simclr_10_steps puts benches/peers on the path.

HERE = Path(__file__).parent
OUT = 32
MARGIN = 2.5e-5  # Least |activation| in front of a ReLU, as a share of the layer's root mean square.
HEAD_MARGIN = 2e-4  # The heads' batch norms, over 8 rows that differ little, make more of rounding.
HEAD = {"hidden": 64, "out": OUT}
TEACHER = {"momentum": 0.9, "momentum_end": 1.0}
# method -> rusa's settings of head and loss, peak learning rate
METHODS = {
    "moco-v2": (HEAD, {"temperature": 0.2, "queue": 32, "symmetric": False, **TEACHER}, 0.03),
    "moco-v2+": (HEAD, {"temperature": 0.2, "queue": 32, "symmetric": True, **TEACHER}, 0.03),
    # A quarter of the paper's loss is lightly's.
    "byol": (HEAD | {"batch_norm": True}, {"predictor_hidden": 48, "scale": 0.25, **TEACHER}, 0.02),
    "simsiam": (
        HEAD | {"layers": 3, "batch_norm": True, "batch_norm_last": True},
        {"predictor_hidden": 16},
        0.005,
    ),
    "barlow-twins": (HEAD | {"layers": 3, "batch_norm": True}, {"lambda": 0.005, "scale": 0.1}, 0.0005),
    "vicreg": (HEAD | {"layers": 3, "batch_norm": True}, {"sim": 25.0, "std": 25.0, "cov": 1.0}, 0.001),
    "swav": (
        HEAD | {"batch_norm": True},
        {"prototypes": 12, "temperature": 0.1, "epsilon": 0.05, "iterations": 3},
        0.005,
    ),
}


def attribute(method):
    """The method's name in Python and in file names."""
    return method.replace("-", "_").replace("+", "_plus")


class Network(nn.Module):
    """Encoder, head, and what else the method has a gradient for."""

    def __init__(self, head, loss, encoder):
        super().__init__()
        self.encoder = Encoder(MODEL["encoder"], MODEL["width"], MODEL["stem"], MODEL["channels"])
        self.encoder.load_state_dict(encoder, strict=False)
        torch.manual_seed(SEED)
        self.projector = mlp(self.encoder.features, **head)
        if "predictor_hidden" in loss:
            self.predictor = mlp(OUT, loss["predictor_hidden"], OUT, batch_norm=True)
        if "prototypes" in loss:
            self.prototypes = SwaVPrototypes(OUT, loss["prototypes"])
            # The paper's prototypes have no bias, lightly's do.
            self.prototypes.heads[0].bias = None
            self.prototypes.normalize()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                # Else some of them, which get no gradient, would stay 0 but for rounding.
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0.0, 0.2)

    def forward(self, view):
        return self.projector(self.encoder(view))


class Trainer:
    """One method's network with its optimiser, and what it did so far."""

    def __init__(self, method, encoder, dtype):
        head, self.settings, self.peak = METHODS[method]
        self.net = Network(head, self.settings, encoder).to(dtype).train()
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.method, self.dtype, self.run = method, dtype, getattr(self, attribute(method))
        if "queue" in self.settings:
            size = (self.settings["queue"], OUT)
            self.nt_xent = NTXentLoss(self.settings["temperature"], memory_bank_size=size).to(dtype)
        self.params = list(self.net.parameters())
        self.optimizer = optimizers.build("sgd", self.params, optimizers.SETTINGS["sgd"])
        self.lr, self.loss, self.momentum = [], [], []

    def moco_v2(self, a, b):
        q = self.net(a)
        with torch.no_grad():
            k = self.teacher(b)
        return self.nt_xent(q, k)

    def moco_v2_plus(self, a, b):
        q = [self.net(view) for view in (a, b)]
        with torch.no_grad():
            k = [F.normalize(self.teacher(view), dim=1) for view in (b, a)]
        bank = self.nt_xent.memory_bank
        # lightly's loss would put the first term's keys into the bank before the second reads it.
        bank._dequeue_and_enqueue = lambda keys: None
        loss = 0.5 * (self.nt_xent(q[0], k[0]) + self.nt_xent(q[1], k[1]))
        del bank._dequeue_and_enqueue
        if loss.requires_grad:
            for keys in k:
                bank._dequeue_and_enqueue(keys)
        return loss

    def byol(self, a, b):
        p = [self.net.predictor(self.net(view)) for view in (a, b)]
        with torch.no_grad():
            z = [self.teacher(view) for view in (a, b)]
        similarity = NegativeCosineSimilarity()
        return 0.5 * (similarity(p[0], z[1]) + similarity(p[1], z[0]))

    def simsiam(self, a, b):
        z = [self.net(view) for view in (a, b)]
        p = [self.net.predictor(x) for x in z]
        similarity = NegativeCosineSimilarity()
        return 0.5 * (similarity(p[0], z[1].detach()) + similarity(p[1], z[0].detach()))

    def barlow_twins(self, a, b):
        return self.settings["scale"] * BarlowTwinsLoss(self.settings["lambda"])(self.net(a), self.net(b))

    def vicreg(self, a, b):
        s = self.settings
        return VICRegLoss(s["sim"], s["std"], s["cov"])(self.net(a), self.net(b))

    def swav(self, a, b):
        s = self.settings
        self.net.prototypes.normalize()
        scores = [self.net.prototypes(F.normalize(self.net(view), dim=1)) for view in (a, b)]
        return SwaVLoss(s["temperature"], s["iterations"], s["epsilon"])(scores, [])

    def follow(self):
        """The teacher's moving average, with the momentum of the step that begins."""
        if "momentum" not in self.settings:
            return
        ends = (self.settings["momentum"], self.settings["momentum_end"])
        m = float(np.float32(cosine_schedule(len(self.momentum), STEPS + 1, *ends)))
        update_momentum(self.net.encoder, self.teacher.encoder, m)
        update_momentum(self.net.projector, self.teacher.projector, m)
        self.momentum.append(m)

    def step(self, views):
        self.follow()
        lr = float(np.float32(self.peak * min(1.0, (len(self.lr) + 1) / WARMUP)))
        loss = self.run(*views.to(self.dtype).chunk(2))
        self.optimizer.zero_grad()
        loss.backward()
        optimizers.set_lr(self.optimizer, lr)
        self.optimizer.step()
        self.lr.append(lr)
        self.loss.append(loss.item())

    def finish(self):
        """What the next step would begin with, as rusa does it at the end of this one."""
        self.follow()
        if "prototypes" in self.settings:
            self.net.prototypes.normalize()

    def clear_of_kinks(self, views):
        """Whether every |activation| in front of the student's ReLUs is above its margin, were these views the next."""
        clear = []
        probe = copy.deepcopy(self)
        probe.run = getattr(probe, self.run.__name__)
        for name, module in probe.net.named_modules():
            if isinstance(module, nn.ReLU):
                margin = MARGIN if name.startswith("encoder.") else HEAD_MARGIN
                hook = lambda _, x, m=margin: clear.append((x[0].abs().min() > m * x[0].square().mean().sqrt()).item())
                module.register_forward_pre_hook(hook)
        with torch.no_grad():
            probe.run(*views.to(self.dtype).chunk(2))
        return all(clear)

    def add_noise(self, seed):
        """From here on, every layer's output is off by NOISE of its root mean square."""
        generator = torch.Generator().manual_seed(seed)

        def hook(module, inputs, y):
            return y + NOISE * y.detach().square().mean().sqrt() * torch.randn(y.shape, generator=generator)

        for module in [*self.net.modules(), *self.teacher.modules()]:
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.Linear)):
                module.register_forward_hook(hook)

    def state(self):
        """Weights, running statistics and states under rusa's names."""
        state = {k.replace(".heads.0.", "."): v for k, v in self.net.state_dict().items()}
        if "momentum" in self.settings:
            kept = ("encoder.", "projector.")
            state |= {f"teacher.{k}": v for k, v in self.teacher.state_dict().items() if k.startswith(kept)}
        if "queue" in self.settings:
            state["queue"] = self.nt_xent.memory_bank.bank
        return {k: v.detach().clone() for k, v in state.items() if v.is_floating_point()}

    def errors(self, exact):
        """The worst |a - b| / |b| of a tensor of the state, and |a - b| / max(1, |b|) of a step's loss."""
        mine, theirs = self.state(), exact.state()
        state = max(((mine[k].double() - b).norm() / b.norm()).item() for k, b in theirs.items())
        return state, max(abs(a - b) / max(1, abs(b)) for a, b in zip(self.loss, exact.loss))


def turned(views, roll):
    """Pixels of u8 [N,H,W,C] in row order, turned by `roll`; as the network sees them."""
    return as_input(views.flatten(1, 2).roll(roll, 1).view(views.shape))


def make(method, views, encoder):
    t = Trainer(method, encoder, torch.float64)
    others = [Trainer(method, encoder, torch.float32)] + [Trainer(method, encoder, torch.float64) for _ in range(8)]
    initial = {k: v for k, v in t.state().items() if not k.startswith(("encoder.", "teacher."))}
    begin, rolls = t.state(), []
    for seed, other in enumerate(others):
        if "queue" in t.settings:
            other.nt_xent.memory_bank.bank = initial["queue"].to(other.dtype).clone()
        if seed > 0:
            other.add_noise(seed)
    for step in views:
        roll = next(k for k in range(256) if t.clear_of_kinks(turned(step, k)))
        for trainer in [t, *others]:
            trainer.step(turned(step, roll))
        rolls.append(roll)
    for trainer in [t, *others]:
        trainer.finish()

    end = t.state()
    tensors = {"roll": np.int64(rolls), "lr": np.float32(t.lr), "loss": np.float64(t.loss)}
    tensors |= {"momentum": np.float32(t.momentum)} if t.momentum else {}
    tensors |= {f"initial.{k}": f32(v) for k, v in initial.items()}
    tensors |= {f"final.{k}": f32(v) for k, v in end.items()}
    head, loss, _ = METHODS[method]
    metadata = {
        "method": method.removesuffix("+"),
        "projector": json.dumps(head),
        "loss": json.dumps(loss),
        "optimizer": json.dumps({"name": "sgd", **optimizers.SETTINGS["sgd"]}),
        "lightly": lightly.__version__,
        "torch": torch.__version__,
    }
    path = HERE / f"{attribute(method)}_10_steps.safetensors"
    save(path, tensors, metadata)
    moved = sorted(((end[k] - v).norm() / v.norm().clamp(min=1e-12)).item() for k, v in begin.items() if v.ndim > 1)
    f32_error, *noise = [other.errors(t) for other in others]
    print(
        f"{method}: {path.stat().st_size / 1e6:.2f} MB, {sum(rolls) + STEPS} views tried; loss {t.loss[0]:.4f} -> "
        f"{t.loss[-1]:.4f}; weights moved by {moved[0]:.1e} to {moved[-1]:.1e}; off by (state, loss) "
        f"{f32_error[0]:.1e}, {f32_error[1]:.1e} in f32, with noise up to "
        f"{max(e for e, _ in noise):.1e}, {max(e for _, e in noise):.1e}",
        file=sys.stderr,
    )


def main():
    torch.set_num_threads(1)
    shared = load_file(HERE / "simclr_10_steps.safetensors")
    encoder = {k.removeprefix("initial."): v for k, v in shared.items() if k.startswith("initial.")}
    encoder = {k: v for k, v in encoder.items() if not k.startswith("projector.")}
    for method in sys.argv[1:] or METHODS:
        make(method, shared["views"], encoder)


if __name__ == "__main__":
    main()
