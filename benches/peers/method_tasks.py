"""The methods of method_steps.py that turn an image or cut it into tiles: pretext tasks, and PIRL."""

import torch
import torch.nn.functional as F
from torch import nn

# Rows of a memory bank, one an image of the data set: what `rusa bench step` takes where there is no data.
IMAGES = 50_000
TURNS, TILES, SIDES = 4, 9, 8


def view_sizes(method, image):
    """(count, pixels) of the views of an image, in groups of one size. A tile has half a view's pixels."""
    half = -(-image // 2)
    special = {
        "rotation": [(TURNS, image)],
        "relative-position": [(2, half)],
        "jigsaw": [(TILES, half)],
        "pirl": [(1, image), (TILES, half)],
    }
    return special.get(method, [(2, image)])


class Tasks:
    """Their part of Step."""

    def make_rotation(self, d):
        self.classifier = nn.Linear(self.encoder.features, TURNS)
        self.register_buffer("turns", torch.arange(TURNS).repeat_interleave(self.batch))

    def rotation(self, views):
        # In the layout of the views, which rot90 alone would not keep.
        turned = torch.empty_like(views)
        for turns, (view, place) in enumerate(zip(views.chunk(TURNS), turned.chunk(TURNS))):
            place.copy_(torch.rot90(view, turns, (2, 3)))
        return F.cross_entropy(self.classifier(self.encoder(turned)), self.turns)

    def make_relative_position(self, d):
        self.solve(2 * d, SIDES)

    def relative_position(self, patches):
        return self.answer(patches, 2)

    def make_jigsaw(self, d):
        self.solve(TILES * d, self.s["permutations"])

    def jigsaw(self, tiles):
        return self.answer(tiles, TILES)

    def solve(self, d, classes):
        hidden = self.s["hidden"]
        self.solver = nn.Sequential(nn.Linear(d, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU())
        self.classifier = nn.Linear(hidden, classes)

    def answer(self, patches, count):
        # Each patch to mean 0 and deviation 1.
        deviation, mean = torch.std_mean(patches, (2, 3), correction=0, keepdim=True)
        whole = beside(self.embed((patches - mean) / (deviation + 1e-5)), count)
        return F.cross_entropy(self.classifier(self.solver(whole)), torch.zeros_like(self.index))

    def make_pirl(self, d):
        self.transformed = nn.Linear(TILES * d, d)
        self.register_buffer("bank", F.normalize(torch.randn(IMAGES, d), dim=1))
        self.register_buffer("others", torch.arange(self.batch, self.batch + self.s["negatives"]))

    def pirl(self, view, tiles):
        plain = F.normalize(self.embed(view), dim=1)
        jigsaw = F.normalize(self.transformed(beside(self.embed(tiles), TILES)), dim=1)
        own, others = self.bank[self.index], self.bank[self.others]
        loss, share = 0.0, self.s["lambda"]
        for weight, z in [(share, jigsaw), (1 - share, plain)]:
            logits = torch.cat([(z * own).sum(1, keepdim=True), z @ others.T], 1) / self.s["temperature"]
            loss = loss + weight * F.cross_entropy(logits, torch.zeros_like(self.index))
        with torch.no_grad():
            self.bank[self.index] = F.normalize(torch.lerp(plain, own, self.s["momentum"]), dim=1)
        return loss


def beside(rows, count):
    """[count * N, D], the first patch's N rows first, to [N, count * D]."""
    return torch.cat(rows.chunk(count), 1)
