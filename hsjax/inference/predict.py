"""A trained run, loaded from its workdir alone, answers for any records."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from hsjax.batch import BatchSpec
from hsjax.data.batches import evaluation_batches, in_order
from hsjax.data.nomenclature import encode_labels
from hsjax.data.prepare import batch_spec, examples_of
from hsjax.data.records import Record
from hsjax.data.splits import group_keys
from hsjax.evaluation.collect import collect_predictions, describe_rows, make_answer
from hsjax.evaluation.predictions import Predictions
from hsjax.models.build import Model, build_model
from hsjax.sharding import make_mesh, place_batch, replicated
from hsjax.taxonomy import Taxonomy
from hsjax.train.checkpoint import Checkpoints
from hsjax.train.workdir import read_config


class Run(NamedTuple):
    """A trained model with all it needs to answer.

    Attributes:
      step: of the checkpoint; params, stats: of the best one.
      answer: `answer(params, stats, batch)`, compiled at the first batch and then kept.
    """

    config: ConfigDict
    tree: Taxonomy
    tokenizer: Tokenizer | None
    spec: BatchSpec
    model: Model
    step: int
    params: dict
    stats: dict
    answer: Callable

    def predict(
        self,
        records: Sequence[Record],
        *,
        groups: np.ndarray | None = None,
        progress: str = "",
    ) -> Predictions:
        """Answers for every record, in order.

        Args:
          groups: (N,) for intervals and retrieval; None = computed from the records.
        """
        config, tree = self.config, self.tree
        labels, outside = encode_labels(records, tree)
        groups = group_keys(records) if groups is None else groups
        examples = examples_of(
            config,
            records,
            tokenizer=self.tokenizer,
            spec=self.spec,
            labels=labels,
            groups=groups,
        )
        mesh = make_mesh()
        size = -(-config.eval.batch_size // mesh.size) * mesh.size
        batches = evaluation_batches(
            examples,
            batch_size=size,
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        rows = describe_rows(
            records, groups=groups, outside=outside, levels=tree.num_levels
        )
        predictions, _ = collect_predictions(
            lambda batch: self.answer(self.params, self.stats, batch),
            (place_batch(batch, mesh) for batch in in_order(batches)),
            rows=rows,
            tree=tree,
            main=config.eval.decode,
            progress=progress,
        )
        return predictions


def load_run(workdir: Path | str) -> Run:
    """The best checkpoint of a workdir.

    Raises:
      WorkdirError: no workdir of a run.
      FileNotFoundError: no checkpoint yet.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    tree = Taxonomy.load(workdir / "taxonomy.json")
    path = workdir / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path)) if path.exists() else None
    spec = batch_spec(config, tree)
    model = build_model(config, spec, tree, vocab_size=vocabulary(tokenizer))
    step, params, stats = load_parameters(workdir, config, model, spec)
    answer = make_answer(
        model.apply, tree, main=config.eval.decode, topk=config.eval.topk
    )
    fitted = (step, params, stats, jax.jit(answer))
    return Run(config, tree, tokenizer, spec, model, *fitted)


def load_parameters(workdir: Path, config, model: Model, spec: BatchSpec):
    """(step, params, stats) of the best checkpoint, averages where there are any."""
    sharding = replicated(make_mesh())
    shapes = jax.eval_shape(model.init, jax.random.key(0), spec.padding(2))
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
    )
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        if config.train.ema:
            step, found = checkpoints.restore_parameters({"ema": like})
            return step, *found["ema"]
        fields = {"params": like[0]} | ({"stats": like[1]} if like[1] else {})
        step, found = checkpoints.restore_parameters(fields)
        return step, found["params"], found.get("stats", {})


def vocabulary(tokenizer: Tokenizer | None) -> int:
    """Rows of the embedding table; a multiple of 8, so that it divides over devices."""
    return -(-tokenizer.get_vocab_size() // 8) * 8 if tokenizer else 0
