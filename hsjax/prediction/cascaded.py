"""A fitted cascade that is asked like one run (Paper B, section VI)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from hsjax.atomic import file_hash
from hsjax.baselines.fitting import presence
from hsjax.batch import IMAGE
from hsjax.data.columns import model_columns, sees_pictures
from hsjax.data.quarantine import CatalogueError
from hsjax.data.record import Record
from hsjax.data.run_stores import places_of_each
from hsjax.evaluation.cascade_curve import merged
from hsjax.evaluation.predictions import Predictions
from hsjax.features.live import Encoded
from hsjax.inference.cascade import FILE, Cascade, check_stages, read_cascade
from hsjax.inference.fingerprint import run_facts
from hsjax.inference.parameters import parameters_hash
from hsjax.inference.predict import Run, load_run, run_config
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import read_config
from hsjax.trained.asked_rows import own_catalogue
from hsjax.trained.cascade_cost import Stage, open_stages
from hsjax.trained.cascading import check_same, run_version
from hsjax.trained.ensemble import Member


class Cascaded(NamedTuple):
    """Answers as a `Run` does, each product by the first stage that is sure enough.

    Attributes:
      encoded: what stores lack, which both stages share.
      workdir: of the strong run.
      config: of the strong run, but texts of both are read.
      columns: of text that either model reads.
      calibration: None: thresholds are on what the models state, and so are answers.
    """

    cascade: Cascade
    stages: Sequence[Stage]
    encoded: Encoded
    workdir: Path
    config: ConfigDict
    columns: tuple[str, ...]
    calibration: None = None

    @property
    def strong(self) -> Run:
        return self.stages[1].member.run

    @property
    def tree(self) -> Taxonomy:
        return self.strong.tree

    @property
    def spec(self):
        """Of the strong run's batches."""
        return self.strong.spec

    def predict(
        self,
        records: Sequence[Record],
        *,
        groups: np.ndarray,
        confidence: float | None = None,
        **beside,
    ) -> Predictions:
        """See `Run.predict`; `stage` says which model has answered.

        Raises:
          CatalogueError: what only one run can be asked for.
        """
        for name in (name for name, value in beside.items() if value is not None):
            raise CatalogueError(f"a cascade cannot be asked for {name}: name a run")
        cheap = self.stages[0].answer(records, groups, confidence=confidence)
        sent, left = self.cascade.routed(cheap)
        strong = cheap.select(sent)
        if len(sent):
            some = [records[i] for i in sent.tolist()]
            strong = self.stages[1].answer(some, groups[sent], confidence=confidence)
        self.encoded.forget()  # a catalogue need not fit in memory
        here = presence(records, self.columns)
        if not sees_pictures(self.config):
            del here[IMAGE]
        return merged(cheap, strong, escalated=sent, abstained=left, present=here)


def open_cascade(
    folder: Path, features: Mapping[str, Path | str]
) -> tuple[Cascaded, dict]:
    """A cascade that `hsjax.cascade` has fitted, and what decides its answers.

    Args:
      features: modality -> folder of stores that have moved; each run takes its own.

    Raises:
      CatalogueError: no such cascade, runs that have changed since, a cheap run that
        looks at pictures, a strong one that is a baseline.
      WorkdirError: a run is gone, or the catalogue of a baseline has changed.
    """
    known = read_cascade(folder)
    workdirs = [Path(x) for x in known.runs]
    check_stages(workdirs, features)
    places = places_of_each([read_config(x) for x in workdirs], features)
    pairs = list(zip(workdirs, places, strict=True))
    _check_roles(known, [run_config(*pair) for pair in pairs])
    members = [_member(*pair) for pair in pairs]
    check_same(known, tuple(map(run_version, members)))
    first, second = members
    config = second.config.copy_and_resolve_references().unlock()
    texts = (*config.data.columns.text, *first.config.data.columns.text)
    config.data.columns.text = tuple(dict.fromkeys(texts))
    columns = (*model_columns(second.config), *model_columns(first.config))
    encoded, columns = Encoded(), tuple(dict.fromkeys(columns))
    stages = open_stages(members, encoded)
    found = Cascaded(known, stages, encoded, second.workdir, config.lock(), columns)
    return found, _facts(folder, *members)


def _facts(folder: Path, cheap: Member, strong: Member) -> dict:
    """Of the strong run, and hashes of what else decides answers."""
    facts = run_facts(strong.workdir, strong.run)
    facts["cascade"] = file_hash(folder / FILE)
    if cheap.run:
        facts["cheap"] = parameters_hash((cheap.run.params, cheap.run.stats))
    else:
        facts["cheap"] = file_hash(cheap.workdir / "config.json")
    return facts


def _check_roles(known: Cascade, configs: Sequence[ConfigDict]) -> None:
    cheap, strong = configs
    told = "hsjax.cascade --cascade=DIR --input=FILE answers by it all the same"
    if sees_pictures(cheap) and cheap.task != "baseline":
        raise CatalogueError(
            f"--cascade: the cheap run {known.runs[0]} looks at pictures, and those of"
            f" a catalogue are read once, for the strong one; {told}"
        )
    if strong.task == "baseline":
        raise CatalogueError(
            f"--cascade: the strong run {known.runs[1]} is a baseline; {told}"
        )


def _member(workdir: Path, features: Mapping[str, Path | str]) -> Member:
    """A run without rows; of a baseline, with the catalogue that it is fitted on."""
    config = run_config(workdir, features)
    if config.task == "baseline":
        catalogue = own_catalogue(config, workdir, None)
        return Member(workdir, config, None, catalogue, None, ())
    run = load_run(workdir, features=features)
    return Member(workdir, config, run, None, None, ())
