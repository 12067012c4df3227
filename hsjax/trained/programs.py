"""What `bench cost` measures: compiled programs, and the encoders of feature stores.

FLOPs are those that XLA counts in the optimised program (`cost_analysis`): two for a
multiplication that is added to something, as in a matrix product. Times are of the
program alone: what reads, tokenises and decodes before it is not in them.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

from hsjax.data.columns import model_columns
from hsjax.data.features import content_items, stores_of
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import load_records
from hsjax.data.store import store_facts
from hsjax.features.frozen_encoder import FrozenEncoder
from hsjax.features.store_encoder import store_encoder
from hsjax.models.published_files import PublishedError
from hsjax.timing import summary

log = logging.getLogger("hsjax")

TURN = 0.1  # seconds: what is over sooner is repeated, as it is mostly the scheduler's
PICTURES = 32  # of a measurement of an encoder


def timed(work: Callable, *, rounds: int, items: int) -> dict:
    """Milliseconds an item: median, quartiles and spread of some turns of `work`."""
    work()
    start = time.perf_counter()
    work()
    once = max(time.perf_counter() - start, 1e-6)
    repeats, found = math.ceil(TURN / once), []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        found.append((time.perf_counter() - start) / repeats)
    told = summary([1e3 * seconds / items for seconds in found])
    return {"ms": told.pop("median"), **{f"ms_{k}": v for k, v in told.items()}}


def program_cost(
    function: Callable, batches: Iterable[tuple], *, items: int, rounds: int
) -> dict:
    """FLOPs and milliseconds an item of a jitted function, on one device.

    Args:
      batches: arguments of a call each; one program is compiled for each shape.
      items: in all of them, without what a batch is filled up with.
    """
    programs, calls, flops = {}, [], 0.0
    for batch in jax.device_put(list(batches), jax.devices()[0]):
        shapes = str(jax.tree.map(lambda x: (x.shape, x.dtype), batch))
        if shapes not in programs:
            programs[shapes] = function.lower(*batch).compile()
        program = programs[shapes]
        calls.append((program, batch))
        flops += _flops(program)
    turn = lambda: jax.block_until_ready([run(*batch) for run, batch in calls])  # noqa: E731
    return {
        "flops": flops / items if math.isfinite(flops) else None,
        **timed(turn, rounds=rounds, items=items),
    }


def _flops(program) -> float:
    """nan where the backend does not count."""
    return float((program.cost_analysis() or {}).get("flops", math.nan))


def size(tree) -> int:
    """Numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


class StoreCosts:
    """Encoders of the stores of several runs, each measured once.

    Args:
      rounds: turns of each.
    """

    def __init__(self, rounds: int):
        self.rounds, self._known = rounds, {}

    def of(self, config) -> dict[str, dict]:
        """Modality on cached features -> what its encoder costs for each product.

        `missing` says in words why there are no figures: the encoder is not at hand.

        Args:
          config: of a run, with its stores where they lie now.
        """
        return {m: self.of_folder(config, m, x) for m, x in stores_of(config).items()}

    def of_folder(self, config, modality: str, folder: str) -> dict:
        """The same of one store, whoever reads it."""
        columns = tuple(config.data.text.streams.to_dict().get(modality, ()))
        count = config.eval.batch_size
        key = (folder, modality, config.data.path, columns, count)
        if key not in self._known:
            try:
                facts, limit = store_facts(folder), config.data.image.max_pixels
                encoder = store_encoder(folder, facts, max_pixels=limit)
                items = _items(config, modality, encoder, count)
                self._known[key] = encoder_cost(encoder, items, rounds=self.rounds)
            except (CatalogueError, PublishedError) as error:
                log.warning("the encoder of %s is not measured: %s", folder, error)
                self._known[key] = {"missing": str(error)}
        return self._known[key]


def encoder_cost(encoder: FrozenEncoder, items: Sequence, *, rounds: int) -> dict:
    """Parameters, FLOPs and milliseconds an item, on the batches that it makes of them.

    Texts are padded to buckets of like length, which is part of the cost.
    """
    encode, batches = encoder.encode, []
    apply, *_ = encode.args  # of variables already, a partial, too

    def noted(*batch):
        batches.append((*apply.args, *batch))
        return np.zeros((len(batch[0]), 1), np.float32)

    for _ in encode.func(noted, items, **encode.keywords):
        pass
    cost = program_cost(apply.func, batches, items=len(items), rounds=rounds)
    return {"parameters": size(apply.args[0]["params"]), "items": len(items), **cost}


def _items(config, modality: str, encoder: FrozenEncoder, count: int) -> Sequence:
    """Texts of the catalogue; of pictures only the size counts, so they are noise.

    Raises:
      CatalogueError: the catalogue cannot be read, or has no such text.
    """
    rng = np.random.default_rng(0)
    if look := encoder.facts.get("preprocessing"):
        return list(rng.integers(0, 256, (PICTURES, *look["resize"], 3), np.uint8))
    data = config.data.copy_and_resolve_references().unlock()
    data.required, data.label_map = (), ""
    data.columns.update(image="", label=(), text=model_columns(config))
    records = load_records(
        data, quarantine=Quarantine(), labelled=False, pictures=False
    )
    texts = list(content_items(config, records, modality).values())
    if not texts:
        raise CatalogueError(f"{data.path} has no {modality} to encode")
    return [texts[i] for i in rng.permutation(len(texts))[:count]]
