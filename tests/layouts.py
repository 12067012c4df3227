"""Golden files of tests/parity as directories in Hugging Face's layout."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file

PARITY = Path(__file__).parent / "parity"
TEXTS = ("bert", "roberta", "xlm-roberta", "distilbert", "albert")
CLIPS = ("clip", "clip_text_model", "clip_text_projected")


class Golden(NamedTuple):
    """What a reference model was and said; each by name, see make_parity_goldens."""

    config: dict
    differentiated: str
    tensors: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]


def read_golden(name: str) -> Golden:
    with np.load(PARITY / f"{name}.npz") as arrays:
        facts = json.loads(str(arrays["facts"]))
        groups = [
            {
                k.partition(":")[2]: arrays[k]
                for k in arrays
                if k.startswith(f"{group}:")
            }
            for group in ("tensor", "input", "output", "gradient")
        ]
    return Golden(facts["config"], facts["differentiated"], *groups)


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
