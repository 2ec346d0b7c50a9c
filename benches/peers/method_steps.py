"""What each method does in a training step, in PyTorch: its network, its loss, its moving averages and memories.

The loss is lightly's module wherever lightly has one, and otherwise the paper's formula; `loss_by` says which. Views go
through the network as in src/ssl/*.rs: SimCLR's in one forward pass, other methods' one after the other, a task's tiles
all at once. Tasks, and PIRL, which sees tiles too, are in method_tasks.py.
"""

import copy

import torch
import torch.nn.functional as F
from lightly.loss import (
    BarlowTwinsLoss,
    DINOLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    SwaVLoss,
    VICRegLoss,
    WMSELoss,
)
from lightly.models.modules import NNMemoryBankModule, SwaVPrototypes
from lightly.models.utils import update_momentum
from torch import nn

from method_settings import settings
from method_tasks import IMAGES, Tasks
from simclr import mlp

TASK = "plain PyTorch: cross-entropy"
LOSS_BY = {
    "simclr": "lightly NTXentLoss",
    "moco-v2": "lightly NTXentLoss, memory bank",
    "moco-v3": "plain PyTorch: Chen et al. 2021, algorithm 1",
    "nnclr": "lightly NNMemoryBankModule, NTXentLoss",
    "pirl": "plain PyTorch: Misra & van der Maaten 2020, equation 5",
    "swav": "lightly SwaVPrototypes, SwaVLoss",
    "deepcluster-v2": "plain PyTorch: solo-learn's deepclusterv2_loss_func",
    "byol": "lightly NegativeCosineSimilarity",
    "simsiam": "lightly NegativeCosineSimilarity",
    "dino": "lightly DINOLoss",
    "barlow-twins": "lightly BarlowTwinsLoss",
    "vicreg": "lightly VICRegLoss",
    "w-mse": "lightly WMSELoss",
    "rotation": TASK,
    "relative-position": TASK,
    "jigsaw": TASK,
}


class Step(Tasks, nn.Module):
    """One method's networks. Called on its groups of views it gives the loss; `after` is what follows the optimiser."""

    def __init__(self, method, encoder, batch):
        super().__init__()
        head, s, _ = settings(method)
        self.method, self.batch, self.head, self.s = method, batch, head, s
        self.run = getattr(self, method.replace("-", "_"))
        self.encoder = encoder
        d, features = head["out"], encoder.features
        if method != "rotation":
            self.projector = mlp(features, **head)
        if "predictor_hidden" in s:
            last = method == "moco-v3"
            self.predictor = mlp(d, s["predictor_hidden"], d, batch_norm=True, batch_norm_last=last)
        getattr(self, f"make_{self.run.__name__}", lambda d: None)(d)
        self.teacher = None
        if "momentum" in s and method != "pirl":
            self.teacher = nn.ModuleDict({"encoder": encoder, "projector": self.projector})
            self.teacher = copy.deepcopy(self.teacher).requires_grad_(False)
        self.register_buffer("index", torch.arange(batch))

    def forward(self, *groups):
        return self.run(*groups)

    def embed(self, view):
        return self.projector(self.encoder(view))

    def two(self, views):
        return [self.embed(view) for view in views.chunk(2)]

    @torch.no_grad()
    def taught(self, views):
        """The teacher's embedding of each view."""
        return [self.teacher["projector"](self.teacher["encoder"](view)) for view in views.chunk(2)]

    @torch.no_grad()
    def after(self):
        if self.teacher is not None:
            update_momentum(self.encoder, self.teacher["encoder"], self.s["momentum"])
            update_momentum(self.projector, self.teacher["projector"], self.s["momentum"])
        if self.method == "swav":
            self.prototypes.normalize()

    # Contrastive.

    def make_simclr(self, d):
        self.loss = NTXentLoss(self.s["temperature"])

    def simclr(self, views):
        return self.loss(*self.embed(views).chunk(2))

    def make_moco_v2(self, d):
        self.loss = NTXentLoss(self.s["temperature"], memory_bank_size=(self.s["queue"], d))

    def moco_v2(self, views):
        q, k = self.two(views), self.taught(views)
        return 0.5 * (self.loss(q[0], k[1]) + self.loss(q[1], k[0]))

    def moco_v3(self, views):
        q, k, t = [self.predictor(z) for z in self.two(views)], self.taught(views), self.s["temperature"]
        loss = 0.0
        for a, b in [(q[0], k[1]), (q[1], k[0])]:
            logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / t
            loss = loss + 2 * t * F.cross_entropy(logits, self.index)
        return loss

    def make_nnclr(self, d):
        self.loss = NTXentLoss(self.s["temperature"])
        self.neighbour = NNMemoryBankModule(size=(self.s["queue"], d))

    def nnclr(self, views):
        z = self.two(views)
        p = [self.predictor(x) for x in z]
        near = [self.neighbour(z[0].detach(), update=False), self.neighbour(z[1].detach(), update=True)]
        return 0.5 * (self.loss(near[0], p[1]) + self.loss(near[1], p[0]))

    # Clustering.

    def make_swav(self, d):
        self.prototypes = SwaVPrototypes(d, self.s["prototypes"])
        # The paper's prototypes have no bias, lightly's do.
        self.prototypes.heads[0].bias = None
        self.prototypes.normalize()
        self.loss = SwaVLoss(self.s["temperature"], self.s["iterations"], self.s["epsilon"])

    def swav(self, views):
        return self.loss([self.prototypes(F.normalize(z, dim=1)) for z in self.two(views)], [])

    def make_deepcluster_v2(self, d):
        self.register_buffer("bank", F.normalize(torch.randn(IMAGES, d), dim=1))
        centroids = [F.normalize(torch.randn(k, d), dim=1) for k in self.s["prototypes"]]
        for i, rows in enumerate(centroids):
            self.register_buffer(f"centroids{i}", rows)

    def deepcluster_v2(self, views):
        unit = F.normalize(torch.cat(self.two(views)), dim=1)
        heads, loss = len(self.s["prototypes"]), 0.0
        for i in range(heads):
            scores = unit @ getattr(self, f"centroids{i}").T / self.s["temperature"]
            loss = loss + F.cross_entropy(scores, torch.zeros_like(self.index).repeat(2))
        with torch.no_grad():
            self.bank[self.index] = unit[: self.batch]
        return loss / heads

    # Distillation.

    def make_byol(self, d):
        self.loss = NegativeCosineSimilarity()

    def byol(self, views):
        p, z = [self.predictor(z) for z in self.two(views)], self.taught(views)
        return 2 * (self.loss(p[0], z[1]) + self.loss(p[1], z[0]))

    make_simsiam = make_byol

    def simsiam(self, views):
        z = self.two(views)
        p = [self.predictor(x) for x in z]
        return 0.5 * (self.loss(p[0], z[1].detach()) + self.loss(p[1], z[0].detach()))

    def make_dino(self, d):
        # In the first epoch, which rusa times, the last layer stays as it was drawn: the teacher's is the same one.
        self.prototypes = nn.Linear(d, self.s["prototypes"], bias=False).requires_grad_(False)
        temperatures = {"teacher_temp": self.s["teacher_temperature"], "student_temp": self.s["temperature"]}
        self.loss = DINOLoss(self.s["prototypes"], center_momentum=self.s["center_momentum"], **temperatures)

    def dino(self, views):
        classes = lambda z: self.prototypes(F.normalize(z, dim=1))
        student = [classes(z) for z in self.two(views)]
        return self.loss([classes(z) for z in self.taught(views)], student)

    # Redundancy reduction.

    def make_barlow_twins(self, d):
        self.loss = BarlowTwinsLoss(self.s["lambda"])

    def barlow_twins(self, views):
        return self.s["scale"] * self.loss(*self.two(views))

    def make_vicreg(self, d):
        self.loss = VICRegLoss(self.s["sim"], self.s["std"], self.s["cov"])

    def vicreg(self, views):
        return self.loss(*self.two(views))

    def make_w_mse(self, d):
        size = min(self.s["slice"], self.batch)
        self.loss = WMSELoss(d, eps=self.s["eps"], track_running_stats=False, w_size=size)

    def w_mse(self, views):
        return self.loss(torch.cat(self.two(views)))
