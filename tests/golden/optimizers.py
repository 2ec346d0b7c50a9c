"""The four optimisers, in the way rusa defines them, on torch tensors of any precision."""

import torch


class Lars(torch.optim.Optimizer):
    """LARS (You, Gitman & Ginsburg 2017) with the order of operations of solo-learn, whose presets we have.

    For p with more than one dimension and both norms above zero:
        ratio = eta * |p| / (|g| + weight_decay * |p| + 1e-8);  with clip: ratio = min(ratio / lr, 1)
        g <- ratio * (g + weight_decay * p)
    then for every p:  v <- momentum * v + g;  p <- p - lr * v.
    """

    def __init__(self, params, lr, momentum, weight_decay, eta, clip):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eta=eta, clip=clip))
        self.clipped = self.scaled = 0

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                g, norm, g_norm = p.grad, p.norm(), p.grad.norm()
                if p.ndim > 1 and norm > 0 and g_norm > 0:
                    decay = group["weight_decay"]
                    ratio = group["eta"] * norm / (g_norm + decay * norm + 1e-8)
                    if group["clip"]:
                        self.clipped += int(ratio / group["lr"] >= 1)
                        ratio = (ratio / group["lr"]).clamp(max=1)
                    self.scaled += 1
                    g = ratio * (g + decay * p)
                v = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                v.mul_(group["momentum"]).add_(g)
                p.sub_(group["lr"] * v)


# name -> (settings without lr, names of the state tensors in torch, names in our files)
SETTINGS = {
    "sgd": {"momentum": 0.9, "weight_decay": 1e-4},
    "lars": {"momentum": 0.9, "weight_decay": 1e-4, "eta": 0.02, "clip": True},
    "adam": {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1},
    "adamw": {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
}
STATES = {
    "sgd": {"momentum_buffer": "momentum"},
    "lars": {"momentum_buffer": "momentum"},
    "adam": {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"},
    "adamw": {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"},
}


def build(name, params, settings):
    """The optimiser of that name; 1-D parameters are not decayed (and LARS does not scale them)."""
    params = list(params)
    many = [p for p in params if p.ndim > 1]
    few = [p for p in params if p.ndim <= 1]
    settings = dict(settings)
    decay = settings.pop("weight_decay")
    groups = [{"params": many, "weight_decay": decay}, {"params": few, "weight_decay": 0.0}]
    if name == "lars":
        return Lars(groups, lr=1.0, weight_decay=0.0, **settings)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(groups, lr=1.0, **settings)


def set_lr(optimizer, lr):
    for group in optimizer.param_groups:
        group["lr"] = lr


def states(name, optimizer, p):
    """The optimiser's state of a parameter, under the names of our files."""
    return {ours: optimizer.state[p][theirs] for theirs, ours in STATES[name].items()}
