"""What decides the answers of a run, as hashes: two that agree in them answer alike."""

import hashlib

import jax
import numpy as np

from hsjax.inference.predict import Run
from hsjax.sharding import parameter_names
from hsjax.train.config import config_hash


def run_facts(run: Run) -> dict[str, str | int]:
    """Step of the checkpoint and hashes of config, parameters, tree and tokenizer."""
    tokenizer = "" if run.tokenizer is None else run.tokenizer.to_str()
    return {
        "step": run.step,
        "config": config_hash(run.config),
        "parameters": parameters_hash((run.params, run.stats)),
        "taxonomy": run.tree.hash,
        "edition": run.tree.edition,
        "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
    }


def parameters_hash(tree) -> str:
    """sha256 of the names, shapes and bytes of all leaves."""
    digest = hashlib.sha256()
    leaves = zip(parameter_names(tree), jax.tree.leaves(tree), strict=True)
    for name, leaf in sorted(leaves, key=lambda pair: pair[0]):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
