"""Random detection problems and their average precision by pycocotools: detection/average_precision.json.

Run in an environment with numpy and pycocotools: python tests/golden/detection.py
"""

import contextlib
import io
import json
import pathlib

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def problem(rng, images, classes, objects, crowds, extra, jitter):
    """Objects, and detections that are objects moved a little, repeated, mislabelled, or nothing at all."""
    truths, found = [], []
    for image in range(images):
        boxes = []
        for _ in range(rng.integers(0, objects + 1)):
            w, h = rng.uniform(4, 40, 2)
            box = [*rng.uniform(0, 60, 2), w, h]
            boxes.append(box)
            truths.append([image, int(rng.integers(classes)), *np.round(box, 3).tolist(), bool(rng.random() < crowds)])
            for _ in range(rng.integers(0, 4)):
                moved = np.array(box) + rng.normal(0, jitter, 4)
                moved[2:] = np.maximum(moved[2:], 0.5)
                label = truths[-1][1] if rng.random() < 0.85 else int(rng.integers(classes))
                found.append([image, label, *np.round(moved, 3).tolist(), round(float(rng.random()), 2)])
        for _ in range(rng.integers(0, extra + 1)):
            box = [*rng.uniform(0, 60, 2), *rng.uniform(4, 40, 2)]
            found.append([image, int(rng.integers(classes)), *np.round(box, 3).tolist(), round(float(rng.random()), 2)])
    return truths, found


def judge(images, classes, truths, found):
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": c + 1} for c in range(classes)],
        "annotations": [
            {"id": n + 1, "image_id": i + 1, "category_id": c + 1, "bbox": [x, y, w, h], "area": w * h, "iscrowd": int(crowd)}
            for n, (i, c, x, y, w, h, crowd) in enumerate(truths)
        ],
    }
    coco.createIndex()
    results = coco.loadRes([
        {"image_id": i + 1, "category_id": c + 1, "bbox": [x, y, w, h], "score": s} for i, c, x, y, w, h, s in found
    ])
    run = COCOeval(coco, results, "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    precision = run.eval["precision"][:, :, :, 0, 2]  # threshold, recall, class; all areas, 100 detections
    by_class = [float(p.mean()) if (p := precision[:, :, c]).min() > -1 else None for c in range(classes)]
    return {"ap": run.stats[0], "ap50": run.stats[1], "ap75": run.stats[2], "by_class": by_class}


def main():
    cases = []
    for seed, (name, *shape) in enumerate([
        ("plain", 12, 3, 4, 0.0, 3, 2.0),
        ("crowds", 12, 3, 5, 0.3, 3, 3.0),
        ("many_detections", 2, 1, 6, 0.1, 400, 4.0),
        ("one_image", 1, 2, 3, 0.0, 1, 1.0),
        ("absent_classes", 4, 9, 2, 0.2, 4, 1.5),
    ]):
        rng = np.random.default_rng(seed)
        images, classes = shape[:2]
        truths, found = problem(rng, *shape)
        with contextlib.redirect_stdout(io.StringIO()):
            expected = judge(images, classes, truths, found)
        cases.append({"name": name, "images": images, "classes": classes, "truths": truths, "found": found, **expected})
    from importlib.metadata import version

    out = {"by": f"pycocotools {version('pycocotools')}", "cases": cases}
    path = pathlib.Path(__file__).parent / "detection" / "average_precision.json"
    text = json.dumps(out).replace('{"name"', '\n{"name"')
    path.write_text(text + "\n")
    for c in cases:
        print(c["name"], len(c["truths"]), len(c["found"]), c["ap"], c["ap50"])


if __name__ == "__main__":
    main()
