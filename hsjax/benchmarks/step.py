"""What `bench step` measures: our training step against the same one in PyTorch.

The same model, a BERT and a ViT of transformers with projections and a linear
classifier, starts from our parameters, is given our batches, and minimises InfoNCE plus
cross-entropy by AdamW, in the precision of the config and on the device that jax has.
It runs as it is, and through torch.compile.
"""

import itertools
import shutil
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from hsjax.batch import BatchSpec
from hsjax.benchmarks.peers import check_torch, peer_device
from hsjax.models.build import build_model
from hsjax.sharding import place_batch
from hsjax.taxonomy import Taxonomy
from hsjax.timing import headline, times_faster
from hsjax.train.devices import set_up_jax, training_mesh
from hsjax.train.objective import make_objective
from hsjax.train.speed import step_flops
from hsjax.train.start import empty_running, initial_state, training_step
from hsjax.train.workdir import ConfigError

CLASSES, VOCABULARY = 100, 8000
BATCHES = 4  # different ones, in turn
STEPS = {"cpu": 4, "gpu": 25}  # of a round
FIRST = 5  # whose losses are compared
# what the peer has no choice about
SAME = {
    "model.modalities": ("title", "image"),
    "model.joint_bias": True,
    "model.modality_dropout": 0.0,
    "model.text.dropout": 0.0,
    "model.text.pool": "mean",
    "model.text.pre_norm": False,
    "model.text.bag": 0,
    "model.image.family": "vit",
    "model.image.dropout": 0.0,
    "model.image.pool": "cls",
    "model.fusion.kind": "concat",
    "model.fusion.norm": "raw",
    "model.fusion.of": "joint",
    "model.head.kind": "hierarchical",
    "model.head.width": 0,
    "model.head.level_width": 0,
    "model.head.labels": "",
    "objective.classification": 1.0,
    "objective.contrastive": 1.0,
    "objective.contrastive_kind": "info_nce",
    "objective.self_supervised": 0.0,
    "optim.name": "adamw",
    "optim.schedule": "constant",
    "optim.warmup": 0.0,
    "optim.clip": 0.0,
    "optim.layer_decay": 1.0,
    "train.ema": 0.0,
    "train.micro_batches": 1,
    "train.data_devices": 1,
    "train.fsdp_devices": 1,
}


class Side(NamedTuple):
    """One of both: `step(batch)` goes on, `loss()` waits for it and says the last."""

    step: Callable
    loss: Callable


def bench_step(config, *, rounds: int) -> dict:
    """Examples per second of both, and the ratio to each way of PyTorch.

    `ratio`, `peer` and `spread` at the top are of the faster way; `loss_difference` is
    the largest of the first steps, all of which train.

    Raises:
      ConfigError: PyTorch, or the compiler that torch.compile needs, is not installed.
    """
    _check_installed()
    from hsjax.benchmarks.step_peer import torch_side

    config = same_config(config)
    set_up_jax(config)
    device, facts = peer_device("step")
    tree = Taxonomy.from_paths([(f"c{i:03d}",) for i in range(CLASSES)])
    batches = [random_batch(config, tree, seed) for seed in range(BATCHES)]
    steps, found = STEPS.get(jax.default_backend(), STEPS["gpu"]), {}
    items = steps * config.data.batch_size
    for way in ("eager", "compiled"):
        ours, params, operations = our_side(config, tree)
        peer = torch_side(config, params, compiled=way == "compiled", device=device)
        apart = max(
            abs(_after(ours, batch) - _after(peer, batch))
            for batch in itertools.islice(itertools.cycle(batches), FIRST)
        )
        run = [_turn(side, batches, steps) for side in (ours, peer)]
        times = times_faster(*run, rounds=rounds)
        found[way] = {
            "ours_per_second": items / times["ours_seconds"],
            "peer_per_second": items / times["peer_seconds"],
            **times,
            "loss_difference": apart,
        }
    best = max(found, key=lambda way: found[way]["peer_per_second"])
    peer_is = f"transformers on torch, {best}"
    first = headline("step", items, found[best], peer_is=peer_is)
    return {
        **first,
        **facts,
        "dtype": config.model.dtype,
        "batch_size": config.data.batch_size,
        "steps_per_round": steps,
        "model_flops_per_second": first["ours"] * operations / config.data.batch_size,
        **found,
    }


def _check_installed() -> None:
    check_torch("step")
    if not (shutil.which("g++") or shutil.which("clang++")):
        raise ConfigError(
            "bench step compares with torch.compile, which needs a C++ compiler:"
            " install g++"
        )


def same_config(config) -> ConfigDict:
    """The config with `SAME`, whatever it said."""
    config = config.copy_and_resolve_references().unlock()
    config.update_from_flattened_dict(SAME)
    return config.lock()


def batch_spec(config) -> BatchSpec:
    """A title and a picture, one level."""
    return BatchSpec(
        (("title", config.data.text.length),), (1, *config.data.image.size), 1
    )


def random_batch(config, tree: Taxonomy, seed: int) -> dict[str, np.ndarray]:
    """Of the config's shapes; texts are of half the length or more."""
    rng, rows = np.random.default_rng(seed), config.data.batch_size
    spec, length = batch_spec(config), config.data.text.length
    batch = spec.padding(rows)
    mask = np.arange(length)[None] < rng.integers(length // 2, length + 1, (rows, 1))
    ids = rng.integers(5, VOCABULARY, (rows, length))
    batch["title_ids"] = np.where(mask, ids, 0).astype(np.int32)
    batch["title_mask"] = mask
    batch["image"] = rng.integers(0, 256, batch["image"].shape, np.uint8)
    batch["has_title"][:] = batch["has_image"][:] = True
    labels = rng.integers(0, tree.sizes[0], (rows, 1))
    number = np.arange(rows, dtype=np.int32)
    return batch | {
        "labels": labels.astype(np.int32),
        "group": number,
        "index": number,
        "weight": np.ones(rows, np.float32),
    }


def our_side(config, tree: Taxonomy) -> tuple[Side, dict, int]:
    """(our step as `train` runs it, parameters before it, its operations)."""
    mesh, spec = training_mesh(config), batch_spec(config)
    model = build_model(config, spec, tree, vocab_size=VOCABULARY)
    state, shardings, optimizer = initial_state(config, model, spec, mesh, steps=1000)
    params = jax.tree.map(np.array, state.params)
    objective = make_objective(config.objective, tree, tuple(config.model.modalities))
    step = training_step(config, model, objective, optimizer, shardings, mesh)
    carried, fresh = [state, empty_running(config, mesh)], empty_running

    def forward(batch):
        carried[:] = step(*carried, place_batch(batch, mesh))

    def loss():
        """Of the steps since it was last asked, on average."""
        said = float(carried[1].averages["loss"].compute())
        carried[1] = fresh(config, mesh)
        return said

    flops = step_flops(config, model, state.params)(spec)
    return Side(forward, loss), params, flops


def _after(side: Side, batch) -> float:
    side.step(batch)
    return side.loss()


def _turn(side: Side, batches, steps: int) -> Callable:
    def run():
        for batch in itertools.islice(itertools.cycle(batches), steps):
            side.step(batch)
        side.loss()

    return run
