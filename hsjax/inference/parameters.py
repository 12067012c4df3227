"""What a trained run has learnt: parameters of the best checkpoint, and tokenizer."""

import contextlib
import hashlib
from pathlib import Path

import jax
import numpy as np
from tokenizers import Tokenizer

from hsjax.batch import BatchSpec
from hsjax.models.build import Model
from hsjax.sharding import make_mesh, parameter_names, replicated
from hsjax.train.checkpoint import Checkpoints


def best_parameters(workdir: Path, config, model: Model, spec: BatchSpec):
    """(step, params, stats) of the best checkpoint, averages where there are any."""
    sharding = replicated(make_mesh())
    shapes = jax.eval_shape(model.init, jax.random.key(0), spec.padding(2))
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
    )
    with contextlib.closing(Checkpoints(workdir, read_only=True)) as checkpoints:
        if config.train.ema:
            step, found = checkpoints.restore_parameters({"ema": like})
            return step, *found["ema"]
        fields = {"params": like[0]} | ({"stats": like[1]} if like[1] else {})
        step, found = checkpoints.restore_parameters(fields)
        return step, found["params"], found.get("stats", {})


def parameters_hash(tree) -> str:
    """sha256 of the names, shapes and bytes of all leaves."""
    digest = hashlib.sha256()
    leaves = zip(parameter_names(tree), jax.tree.leaves(tree), strict=True)
    for name, leaf in sorted(leaves, key=lambda pair: pair[0]):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def read_tokenizer(workdir: Path) -> Tokenizer | None:
    """Of a run, None where it reads no text by tokens."""
    path = workdir / "tokenizer.json"
    return Tokenizer.from_file(str(path)) if path.exists() else None


def vocabulary(tokenizer: Tokenizer | None) -> int:
    """Rows of the embedding table: a multiple of 8, which accelerators like."""
    return -(-tokenizer.get_vocab_size() // 8) * 8 if tokenizer else 0
