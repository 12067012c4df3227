"""Products as the model takes them, and how probable it finds an answer."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hsjax.data.examples import Examples, assemble
from hsjax.data.prepare import examples_of
from hsjax.data.record import Record
from hsjax.evaluation.answer import PREFIX, conditioned, decode_of
from hsjax.features.live import encode_missing
from hsjax.hierarchy import Logits, label_log_probs, node_log_probs
from hsjax.inference.predict import Run

ROWS = 16  # of a batch: variants of a product, not a catalogue
Batch = dict[str, np.ndarray]


class Asked:
    """Some products, their batch, and the model on one device.

    Args:
      prefixes: ids of what is known of their paths, -1 below it; None = nothing.

    Attributes:
      batch: of all N products; labels: (N, L) ids of the path that the model answers.
      nodes: per level (N, C) log p(node) by id.
      params, stats: of the run, or others in their place.
    """

    def __init__(
        self,
        run: Run,
        records: Sequence[Record],
        *,
        prefixes: Int[np.ndarray, "N L"] | None = None,
        params=None,
        stats=None,
    ) -> None:
        self.run, self.records, self.tree = run, records, run.tree
        own = run.params if params is None else params, stats or run.stats
        self.params, self.stats = jax.device_put(own, jax.devices()[0])
        self.examples: Examples = examples_of(
            run.config,
            records,
            labels=np.full((len(records), run.tree.num_levels), -1, np.int32),
            groups=np.arange(len(records)),
            tokenizer=run.tokenizer,
            spec=run.spec,
            encode=encode_missing,
        )
        places = np.arange(len(records))
        self.batch: Batch = assemble(self.examples, places, places)
        if prefixes is not None:
            self.batch[PREFIX] = prefixes
        decode = decode_of(run.config.eval.decode, run.costs)
        self._nodes = jax.jit(functools.partial(_nodes, self.logits, run.tree))
        self._paths = jax.jit(functools.partial(_paths, self.logits, run.tree, decode))
        self._score = jax.jit(functools.partial(_score, self.logits, run.tree))
        self.labels = self._in_turn(self._paths, self.batch)
        self.nodes = self._by_id(self._in_turn(self._nodes, self.batch))

    def with_parameters(self, params, stats) -> "Asked":
        """The same products and the same answers, before another model."""
        other = object.__new__(Asked)
        other.__dict__.update(self.__dict__)
        placed = jax.device_put((params, stats), jax.devices()[0])
        other.params, other.stats = placed
        return other

    def said(self, program: Callable) -> dict[str, np.ndarray]:
        """What `program(params, stats, batch)` makes of all products."""
        return self._in_turn(jax.jit(program), self.batch)

    def logits(self, params, stats, batch) -> Logits:
        """At the temperatures of the run's calibration, and below what is known."""
        outputs, _ = self.run.model.apply(params, stats, batch)
        known = self.run.calibration
        heat = known and jnp.asarray(known.temperature, jnp.float32)
        return conditioned(outputs.logits, self.tree, heat, batch)[1]

    def one(self, place: int) -> Batch:
        """The batch of a product alone."""
        return {name: values[place : place + 1] for name, values in self.batch.items()}

    def variants(
        self, place: int, changes: Mapping[str, np.ndarray]
    ) -> Float[np.ndarray, "V"]:
        """log p of a product's answer, for V changes of what the model sees of it.

        Args:
          changes: (V, ...) arrays in place of those of the batch.
        """
        count = len(next(iter(changes.values())))
        tiled = {k: np.repeat(x, count, axis=0) for k, x in self.one(place).items()}
        labels = np.repeat(self.labels[place : place + 1], count, axis=0)
        return self.log_probs({**tiled, **changes}, labels)

    def log_probs(
        self, batch: Batch, labels: Int[np.ndarray, "V L"]
    ) -> Float[np.ndarray, "V"]:
        """log p of whole paths."""
        return self._in_turn(self._score, {**batch, "answer": labels})

    def _in_turn(self, program, batch: Batch):
        """What a program makes of all rows, some at a time, in batches of one shape."""
        count, found = len(batch["weight"]), []
        for first in range(0, count, ROWS):
            part = {k: x[first : first + ROWS] for k, x in batch.items()}
            rows = len(part["weight"])
            part = {k: _filled(x, ROWS - rows) for k, x in part.items()}
            part["weight"][rows:] = 0.0
            made = program(self.params, self.stats, part)
            found.append(jax.tree.map(lambda x, n=rows: np.asarray(x)[:n], made))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    def _by_id(self, levels):
        pairs = zip(levels, self.tree.layout, strict=True)
        return [x[:, layout.slots] for x, layout in pairs]


def _filled(x: np.ndarray, rows: int) -> np.ndarray:
    """With its first row again, so many times: what is there is never strange."""
    return np.concatenate([x, np.repeat(x[:1], rows, axis=0)])


def _nodes(logits, tree, params, stats, batch):
    return node_log_probs(logits(params, stats, batch), tree)


def _paths(logits, tree, decode, params, stats, batch):
    return decode(logits(params, stats, batch), tree)


def _score(logits, tree, params, stats, batch):
    found = logits(params, stats, batch)
    return label_log_probs(found, jnp.asarray(batch["answer"]), tree).sum(axis=1)


def without_modality(asked: Asked, place: int) -> dict[str, dict[str, float]]:
    """What each modality that is there counts for, by leaving it out.

    The absent token stands in for it, as it does for a product that lacks it. `share`
    is how much log p(answer) falls without it, below 0 where it spoke against the
    answer; `alone` is log p(answer) by this modality and no other.
    """
    names = asked.run.spec.modalities
    present = [m for m in names if asked.batch[f"has_{m}"][place]]
    rows = [present, *([n for n in present if n != m] for m in present)]
    rows += [[m] for m in present]
    seen = {f"has_{m}": np.array([m in row for row in rows]) for m in names}
    whole, *scores = asked.variants(place, seen).tolist()
    without, alone = scores[: len(present)], scores[len(present) :]
    return {
        m: {"share": whole - gone, "without": gone, "alone": own}
        for m, gone, own in zip(present, without, alone, strict=True)
    }
