"""SimCLR pretraining in plain PyTorch on a GPU by the recipe of a rusa run: the peer of `rusa pretrain`.

usage: python benches/peers/pretrain.py RUN --images train-images-idx3-ubyte.gz --out peer.safetensors --json peer.json
RUN is rusa's run folder: its config.toml gives encoder, head, optimiser, schedule, batch and views, and the weights written here
carry what its encoder.safetensors says of itself, so that `rusa eval peer.safetensors` judges both alike. Images lie on the
GPU; every view has its own crop, flip, brightness, contrast and blur, drawn there (bilinear, where rusa antialiases). bf16 autocast,
channels_last, eager or torch.compile, whichever is faster over the first steps after both are warm.
"""

import argparse
import gzip
import json
import math
import time
import tomllib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from simclr import Encoder, SimCLR, nt_xent


def read_images(path, device):
    opened = gzip.open(path) if path.endswith(".gz") else open(path, "rb")
    with opened as file:
        data = file.read()
    count, h, w = np.frombuffer(data, ">u4", 3, 4)
    pixels = np.frombuffer(data, np.uint8, offset=16).reshape(count, 1, h, w)
    return torch.from_numpy(pixels.copy()).to(device)


def blurred(x, sigma, reach):
    """Each image [N,1,H,W] by a Gaussian of its own, along x, then along y, borders reflected."""
    n = len(x)
    at = torch.arange(-reach, reach + 1, device=x.device)
    kernel = torch.exp(-0.5 * (at / sigma.view(n, 1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    x = F.pad(x.view(1, n, *x.shape[2:]), [reach] * 4, mode="reflect")
    x = F.conv2d(x, kernel.view(n, 1, 1, -1), groups=n)
    x = F.conv2d(x, kernel.view(n, 1, -1, 1), groups=n)
    return x.view(n, 1, *x.shape[2:])


def views(images, policy, size):
    """One view of each image u8[N,1,H,W]: random resized crop, flip, brightness, contrast, blur, normalised."""
    n, _, h, w = images.shape
    device = images.device
    uniform = lambda low, high: torch.rand(n, device=device) * (high - low) + low
    area = h * w * uniform(*policy["crop_scale"])
    low, high = (math.log(r) for r in policy["crop_ratio"])
    ratio = torch.exp(uniform(low, high))
    width, height = (area * ratio).sqrt().clamp(1, w), (area / ratio).sqrt().clamp(1, h)
    left, top = uniform(0, 1) * (w - width), uniform(0, 1) * (h - height)
    flip = torch.where(torch.rand(n, device=device) < policy["flip"], -1.0, 1.0)
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 0, 2] = flip * width / w, (2 * left + width) / w - 1
    theta[:, 1, 1], theta[:, 1, 2] = height / h, (2 * top + height) / h - 1
    grid = F.affine_grid(theta, (n, 1, size, size), align_corners=False)
    x = F.grid_sample(images.float() / 255, grid, padding_mode="border", align_corners=False)
    apply = (torch.rand(n, 1, 1, 1, device=device) < policy["jitter"]).float()
    factor = lambda strength: 1 + apply * (uniform(max(-1, -strength), strength).view(n, 1, 1, 1))
    x = (x * factor(policy["brightness"])).clamp(0, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = ((x - mean) * factor(policy["contrast"]) + mean).clamp(0, 1)
    blur = policy["blur"] if isinstance(policy["blur"], float) else policy["blur"][0]
    sigma = torch.where(torch.rand(n, device=device) < blur, uniform(*policy["blur_sigma"]), 1e-3)
    x = blurred(x, sigma, math.ceil(3 * policy["blur_sigma"][1]))
    x = (x - policy["mean"][0]) / policy["std"][0]
    return x.to(memory_format=torch.channels_last)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="rusa's run folder")
    parser.add_argument("--images", required=True, help="IDX file of training images")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--steps", type=int, help="stop after so many: to try the script")
    parser.add_argument("--out", required=True)
    parser.add_argument("--json", required=True)
    args = parser.parse_args()
    with open(f"{args.run}/config.toml", "rb") as file:
        config = tomllib.load(file)
    torch.manual_seed(config["seed"])
    encoder, head, policy = config["encoder"], config["projector"], config["augment"]
    size, batch, rule = config["data"]["size"], config["batch"], config["optimizer"]
    assert config["method"] == "simclr" and rule["name"] == "sgd" and config["data"]["channels"] == 1
    images = read_images(args.images, args.device)
    network = Encoder(encoder["name"], encoder["width"], encoder["stem"], 1)
    model = SimCLR(network, head["hidden"], head["out"]).to(args.device, memory_format=torch.channels_last).train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": rule["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    peak = rule["lr"] * batch / 256
    optimizer = torch.optim.SGD(groups, lr=peak, momentum=rule["momentum"], fused=args.device == "cuda")
    per_epoch = len(images) // batch
    steps, warmup = config["epochs"] * per_epoch, max(1, int(rule["warmup_epochs"] * per_epoch))
    torch.backends.cudnn.benchmark = True

    def rate(step):
        if step < warmup:
            return rule["warmup_start"] + (peak - rule["warmup_start"]) * step / warmup
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    def train(network, step, members):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        picked = images[members]
        both = torch.cat([views(picked, policy, size), views(picked, policy, size)])
        with torch.autocast(args.device, torch.bfloat16):
            z = network(both)
        loss = nt_xent(z.float(), config["loss"]["temperature"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    synchronize = torch.cuda.synchronize if args.device == "cuda" else lambda: None

    def timed(network, count):
        for _ in range(5 if args.device == "cuda" else 1):
            train(network, 0, torch.arange(batch, device=args.device))
        synchronize()
        start = time.perf_counter()
        for _ in range(count):
            train(network, 0, torch.arange(batch, device=args.device))
        synchronize()
        return (time.perf_counter() - start) / count

    # The trials must not train: weights and momentum are put back.
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = {"eager": model}
    if args.device == "cuda":
        modes["compile"] = torch.compile(model)
    trial = {name: timed(network, 20 if args.device == "cuda" else 1) for name, network in modes.items()}
    mode = min(trial, key=trial.get)
    model.load_state_dict(before)
    optimizer.state.clear()

    synchronize()
    start, step, losses = time.perf_counter(), 0, []
    for _ in range(config["epochs"]):
        order = torch.randperm(len(images), device=args.device)
        for k in range(per_epoch):
            loss = train(modes[mode], step, order[k * batch : (k + 1) * batch])
            step += 1
            if step % 50 == 0 or step == steps:
                losses.append((step, float(loss)))
            if step == args.steps:
                break
        if step == args.steps:
            break
    synchronize()
    seconds = time.perf_counter() - start
    assert all(math.isfinite(loss) for _, loss in losses), "the loss is not finite: nothing was measured"

    with safe_open(f"{args.run}/encoder.safetensors", "pt") as ours:
        about, names = ours.metadata(), set(ours.keys())
    state = {k: v.contiguous().cpu() for k, v in model.encoder.state_dict().items()}
    assert set(state) == names, set(state) ^ names
    save_file(state, args.out, about)
    report = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu", "torch": torch.__version__,
        "mode": mode, "trial_seconds_a_step": trial, "steps": step, "seconds": seconds,
        "images_per_second": step * batch / seconds, "losses": losses,
    }
    with open(args.json, "w") as file:
        json.dump(report, file, indent=2)
    print(f"{mode}: {report['images_per_second']:.0f} images/s, {seconds:.1f} s for {step} steps")


if __name__ == "__main__":
    main()
