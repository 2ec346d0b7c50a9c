"""The settings that `rusa bench step --preset fashion-mnist --method M` resolves to: heads, losses, optimiser.

Read from presets/, so that a size which changes there changes here; only the defaults of src/ssl/*.rs stand here again.
"""

import tomllib
from pathlib import Path

PRESETS = Path(__file__).parent.parent.parent / "presets"
PROJECTOR = {"layers": 2, "hidden": 512, "out": 128, "batch_norm": False, "batch_norm_last": False}
# The defaults of each method's loss, as far as a step's work depends on them.
LOSSES = {
    "simclr": {"temperature": 0.2},
    "moco-v2": {"temperature": 0.2, "queue": 4096, "momentum": 0.99},
    "moco-v3": {"temperature": 0.2, "predictor_hidden": 512, "momentum": 0.99},
    "nnclr": {"temperature": 0.2, "queue": 4096, "predictor_hidden": 512},
    "pirl": {"temperature": 0.07, "lambda": 0.5, "negatives": 4096, "momentum": 0.5},
    "swav": {"prototypes": 512, "temperature": 0.1, "epsilon": 0.05, "iterations": 3},
    "deepcluster-v2": {"prototypes": [256] * 3, "temperature": 0.1},
    "byol": {"predictor_hidden": 512, "momentum": 0.99},
    "simsiam": {"predictor_hidden": 512},
    "dino": {
        "prototypes": 1024,
        "temperature": 0.1,
        "teacher_temperature": 0.04,
        "momentum": 0.99,
        "center_momentum": 0.9,
    },
    "barlow-twins": {"lambda": 5e-3, "scale": 0.1},
    "vicreg": {"sim": 25.0, "std": 25.0, "cov": 1.0},
    "w-mse": {"slice": 128, "eps": 0.0},
    "rotation": {},
    "relative-position": {"hidden": 512},
    "jigsaw": {"hidden": 512, "permutations": 100},
}


def settings(method):
    """(projector, loss, optimizer) of a method."""
    preset = tomllib.loads((PRESETS / "fashion-mnist.toml").read_text())
    wants = {}
    if method != preset["method"]:
        # What the preset says of the loss is for its own method.
        del preset["loss"]
        wants = tomllib.loads((PRESETS / "methods.toml").read_text()).get(method, {})
    table = lambda name, defaults: defaults | preset.get(name, {}) | wants.get(name, {})
    return table("projector", PROJECTOR), table("loss", LOSSES[method]), table("optimizer", {})
