"""A trained run, loaded from its workdir alone, answers for any records."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from hsjax.batch import BatchSpec
from hsjax.data.cost_file import costs_of_run
from hsjax.data.features import EncodeMissing
from hsjax.data.groups import group_keys
from hsjax.data.prepare import batch_spec, examples_of
from hsjax.data.records import CatalogueError, Record
from hsjax.data.run_stores import located
from hsjax.data.stored_records import StoredRecords
from hsjax.data.tree_labels import encode_labels
from hsjax.evaluation.collect import (
    collect_predictions,
    describe_rows,
    make_answer,
    without_classes,
)
from hsjax.evaluation.feed import Feed
from hsjax.evaluation.predictions import Predictions
from hsjax.features.labels import kept_labels
from hsjax.features.live import encode_missing
from hsjax.inference.products import read_products
from hsjax.models.build import Model, build_model
from hsjax.sharding import jit_whole, make_mesh, replicated
from hsjax.taxonomy import Taxonomy
from hsjax.train.checkpoint import Checkpoints
from hsjax.train.config import read_config
from hsjax.train.devices import set_up_jax
from hsjax.train.kept import kept_published, kept_stores
from hsjax.tree.costs import PairCosts


class Run(NamedTuple):
    """A trained model with all it needs to answer.

    Attributes:
      step: of the checkpoint; params, stats: of the best one.
      answer: `answer(params, stats, batch, confidence=None)`, compiled at the first
        batch and then kept.
      costs: of mistakes, which `cost` answers by; None = that is not asked.
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
    costs: PairCosts | None = None

    def records(
        self,
        source: Path | str | Iterable[Mapping],
        *,
        image_root: Path | str = "",
        quarantine: Path | str | None = None,
    ) -> Sequence[Record]:
        """Products of a catalogue file, or of dicts {column: value}, to be predicted.

        The columns are those of the run; labels are not needed. See `read_products` for
        the arguments.

        Raises:
          CatalogueError: an unreadable file, a missing text column, no usable row.
        """
        return read_products(
            self.config,
            self.tree,
            source,
            image_root=image_root,
            quarantine=quarantine,
        )

    def predict(
        self,
        records: Sequence,
        *,
        groups: np.ndarray | None = None,
        confidence: float | None = None,
        progress: str = "",
        encode: EncodeMissing = encode_missing,
    ) -> Predictions:
        """Answers for every record, in order; with blanks where no head was trained.

        A run on cached features encodes what its stores lack, and stores nothing.

        Args:
          records: what `records` gives.
          groups: (N,) for intervals and retrieval; None = computed from the records.
          confidence: also answer with the deepest node of at least this probability, in
            `Predictions.confident`; above 0.5 there is only one.
          progress: what the progress bar says, '' = none.
          encode: makes what feature stores lack, see `features_of`.

        Raises:
          CatalogueError: there are no records, or something else was given.
          ValueError: the confidence is no probability above 0.
        """
        _check_asked(records, confidence)
        config, tree = self.config, self.tree
        outside = encode_labels(records, tree)[1]
        groups = group_keys(records) if groups is None else groups
        asked = {} if confidence is None else {"confidence": float(confidence)}
        rows = describe_rows(
            records, groups=groups, outside=outside, levels=tree.num_levels
        )
        predictions, _ = collect_predictions(
            lambda batch: self.answer(self.params, self.stats, batch, **asked),
            self.feed(records, groups=groups, encode=encode),
            rows=rows,
            tree=tree,
            main=config.eval.decode,
            costs=self.costs,
            told=progress,
        )
        trained = config.objective.classification
        return predictions if trained else without_classes(predictions)

    def feed(
        self,
        records: Sequence[Record],
        *,
        groups: np.ndarray,
        encode: EncodeMissing = encode_missing,
    ) -> Feed:
        """The batches of records, as the model takes them; see `predict`."""
        examples = examples_of(
            self.config,
            records,
            labels=encode_labels(records, self.tree)[0],
            groups=groups,
            tokenizer=self.tokenizer,
            spec=self.spec,
            encode=encode,
        )
        return Feed(self.config, examples, make_mesh())


def _check_asked(records, confidence: float | None) -> None:
    """See `Run.predict` for what is raised."""
    listed = isinstance(records, Sequence)
    stored = isinstance(records, StoredRecords)  # not to be read for that
    if not listed or not (stored or all(isinstance(x, Record) for x in records)):
        raise CatalogueError(
            "predict answers records; make them of dicts or of a file first:"
            " run.predict(run.records(...))"
        )
    if not records:
        raise CatalogueError("there are no records to answer")
    if confidence is not None and not 0 < confidence <= 1:
        raise ValueError(f"confidence is {confidence}; it lies in 0 < p <= 1")


def run_config(
    workdir: Path | str, features: Mapping[str, Path | str] = MappingProxyType({})
) -> ConfigDict:
    """The config of a workdir, its feature stores where they lie now; see `load_run`.

    Raises:
      WorkdirError: no workdir of a run.
      CatalogueError: a feature store is gone, or is not the one of the run.
    """
    workdir, places = Path(workdir), {m: str(folder) for m, folder in features.items()}
    config = read_config(workdir)
    return located(config, kept_stores(workdir), places, workdir=workdir)


def load_run(
    workdir: Path | str,
    *,
    features: Mapping[str, Path | str] = MappingProxyType({}),
    answering: bool = True,
    cost_matrix: Path | str = "",
) -> Run:
    """The best checkpoint of a workdir; jax is set up as its config says.

    Args:
      features: modality -> folder, of feature stores that have moved.
      answering: False = parameters alone are wanted: feature stores may be gone.
      cost_matrix: file of costs of mistakes, see `read_costs`; '' = the run's own.

    Raises:
      WorkdirError: no workdir of a run.
      FileNotFoundError: no checkpoint yet.
      CatalogueError: a baseline, a store that is gone or is not the run's, or costs
        that cannot be read.
    """
    workdir = Path(workdir)
    config = run_config(workdir, features) if answering else read_config(workdir)
    if config.task == "baseline":
        told = "a baseline, which keeps no model: hsjax.evaluate asks it"
        raise CatalogueError(f"{workdir} is {told}")
    set_up_jax(config)
    tree = Taxonomy.load(workdir / "taxonomy.json")
    path = workdir / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path)) if path.exists() else None
    kept = kept_stores(workdir)
    spec = batch_spec(config, tree, {m: x["facts"]["shape"] for m, x in kept.items()})
    model = build_model(
        config,
        spec,
        tree,
        vocab_size=vocabulary(tokenizer),
        published=kept_published(workdir),
        labels=kept_labels(workdir, tree) if config.model.head.labels else None,
    )
    step, params, stats = best_parameters(workdir, config, model, spec)
    costs = costs_of_run(config, tree, workdir, cost_matrix)
    asked = {"main": config.eval.decode, "topk": config.eval.topk, "costs": costs}
    answer = jit_whole(make_answer(model.apply, tree, **asked), make_mesh())
    fitted = (step, params, stats, answer, costs)
    return Run(config, tree, tokenizer, spec, model, *fitted)


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


def vocabulary(tokenizer: Tokenizer | None) -> int:
    """Rows of the embedding table: a multiple of 8, which accelerators like."""
    return -(-tokenizer.get_vocab_size() // 8) * 8 if tokenizer else 0
