"""SimCLR in plain PyTorch: the encoder, the head and the loss that rusa is compared with; and any method's head.

Imported by step.py and method_steps.py (speed), tests/golden/*_10_steps.py (numbers) and tests/peers/torchvision_load.py
(weights).
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

RESNETS = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}


class Encoder(nn.Module):
    """torchvision's ResNet, its names and its initialisation, of any width, with rusa's two stems and without `fc`.

    Stem "small": 3x3 convolution, stride 1, padding 1, no pooling. "imagenet": 7x7, stride 2, then 3x3 max pooling.
    [N,channels,H,W] -> [N, 8 * width * block.expansion].
    """

    def __init__(self, name, width=64, stem="small", channels=3):
        super().__init__()
        block, depths = RESNETS[name]
        if stem == "small":
            self.conv1 = nn.Conv2d(channels, width, 3, stride=1, padding=1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.stages, c = [], width
        for i, depth in enumerate(depths):
            planes, blocks = width << i, []
            for j in range(depth):
                stride, k = (2 if i > 0 and j == 0 else 1), planes * block.expansion
                shortcut = None
                if stride != 1 or c != k:
                    shortcut = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k))
                blocks.append(block(c, planes, stride, shortcut))
                c = k
            self.stages.append(f"layer{i + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        self.features = c
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x.mean((2, 3))


def mlp(features, hidden, out, layers=2, batch_norm=False, batch_norm_last=False, affine_last=True):
    """Linear layers with ReLU between them; one that a batch norm follows has no bias."""
    modules, widths = [], [features] + [hidden] * (layers - 1) + [out]
    for i in range(layers):
        last = i + 1 == layers
        norm = batch_norm_last if last else batch_norm
        modules.append(nn.Linear(widths[i], widths[i + 1], bias=not norm))
        modules += [nn.BatchNorm1d(widths[i + 1], affine=affine_last or not last)] if norm else []
        modules += [] if last else [nn.ReLU()]
    return nn.Sequential(*modules)


class SimCLR(nn.Module):
    """Encoder and a head of two linear layers, ReLU between them, no batch norm."""

    def __init__(self, encoder, hidden, out):
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(nn.Linear(encoder.features, hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, views):
        return self.projector(self.encoder(views))


def nt_xent(z, temperature):
    """Mean over the 2N rows of z; rows i and i + N are the two views of one image (Chen et al., ICML 2020, eq. 1)."""
    rows = z.shape[0]
    z = F.normalize(z, dim=1)
    similarity = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    partner = torch.arange(rows, device=z.device).roll(rows // 2)
    return F.cross_entropy(similarity, partner)
