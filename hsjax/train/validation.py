"""Scores the validation part of a catalogue while a model is trained."""

import logging
from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh

from hsjax.data.examples import Examples
from hsjax.evaluation.answer import make_answer
from hsjax.evaluation.collect import Rows, collect_predictions
from hsjax.evaluation.feed import Feed
from hsjax.evaluation.metrics import add_digit_names, score
from hsjax.models.build import Model
from hsjax.sharding import jit_whole
from hsjax.spelling import meant
from hsjax.taxonomy import Taxonomy
from hsjax.train.state import TrainState
from hsjax.train.workdir import ConfigError

log = logging.getLogger("hsjax")


class Validation:
    """`validation(state) -> {metric: value}`, losses included; compiled once."""

    def __init__(
        self,
        config,
        model: Model,
        objective: Callable,
        *,
        tree: Taxonomy,
        examples: Examples,
        rows: Rows,
        mesh: Mesh,
    ):
        self.config, self.tree, self.rows = config, tree, rows
        self.feed = Feed(config, examples, mesh)
        answer = make_answer(
            model.apply, tree, decodes=("path",), topk=1, objective=objective
        )
        self.answer = jit_whole(answer, mesh)

    def __call__(self, state: TrainState) -> dict[str, float]:
        return self._measure(state, self.feed, self.rows)

    def warm_up(self, state: TrainState) -> None:
        """Compiles, on one batch, and looks whether there is what is monitored.

        Raises:
          ConfigError: `train.monitor` names no metric.
        """
        rows = Rows(*(column[: self.feed.size] for column in self.rows))
        metrics = self._measure(state, self.feed.first(), rows)
        # of all rows: the first batch may end above a level
        add_digit_names(metrics, self.rows.truth, self.tree.separator)
        name = self.config.train.monitor
        if name not in metrics:
            told = f"train.monitor is {name!r}.{meant(name, metrics)}"
            raise ConfigError(f"{told} Known: {', '.join(sorted(metrics))}")

    def monitored(self, metrics: dict[str, float]) -> float:
        """What chooses the best checkpoint, larger = better; nan = not measured."""
        name = self.config.train.monitor
        if not np.isfinite(metrics[name]):
            log.warning(
                "train.monitor: no row of the validation part can be measured by %s, so"
                " that it chooses no best checkpoint; name another metric",
                name,
            )
        return -metrics[name] if name == "loss" else metrics[name]

    def _measure(self, state: TrainState, batches, rows: Rows) -> dict[str, float]:
        params, stats = state.evaluated
        predictions, losses = collect_predictions(
            lambda batch: self.answer(params, stats, batch),
            batches,
            rows=rows,
            tree=self.tree,
        )
        # the mean of each term is over the rows that have it, not over batches of them
        weights = self.config.objective
        terms = {name: x for name, x in losses.items() if name != "loss"}
        losses["loss"] = sum(weights[name] * x for name, x in terms.items())
        gallery = self.config.eval.gallery_size
        return score(predictions, bootstrap=0, gallery_size=gallery) | losses
