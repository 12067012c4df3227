"""Runs that are asked about the same rows: loaded, and each with its own reading."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.data.columns import carrying
from hsjax.data.corrupt import read_corruption
from hsjax.data.damaged_pictures import damages_pictures, reading
from hsjax.data.features import EncodeMissing
from hsjax.data.records import CatalogueError
from hsjax.data.run_stores import places_of_each
from hsjax.data.sources import SYNTHETIC
from hsjax.data.stored_records import selected
from hsjax.inference.adapt import OF_FEATURES, adapted, check_adaptation
from hsjax.inference.calibration import NONE
from hsjax.inference.label_texts import check_zero_shot
from hsjax.inference.predict import Run, load_run, run_config
from hsjax.train.config import gives_classes, read_config
from hsjax.trained.asked_rows import FLAWS, other_rows, own_catalogue, own_rows
from hsjax.trained.ensemble import Member, check_ensemble, check_members


def load_members(
    workdirs: Sequence[Path],
    *,
    by: str,
    confidence: float | None,
    zero_shot: str,
    features: Mapping[str, Path | str],
    cost_matrix: str = "",
    calibration: Path | str = NONE,
    prefix: str = "",
    **asked,
) -> list[Member]:
    """Every run, loaded, with what it is asked; can they be asked together?

    Args:
      features: modality -> folder of stores that have moved; each run takes its own.
      cost_matrix, calibration: see `load_run`; of one trained run alone.
      prefix: of the flags --input and --part that name the rows, for messages.
      asked: source, part, corrupt and output, as of `evaluate_run`; by, confidence and
        zero_shot, too.

    Raises:
      CatalogueError, WorkdirError: see `evaluate_run`.
    """
    places = places_of_each([read_config(folder) for folder in workdirs], features)
    pairs = list(zip(workdirs, places, strict=True))
    configs = [run_config(folder, own) for folder, own in pairs]
    for config in configs:
        _check_asked(config, asked, confidence, prefix)
    if len(workdirs) > 1:
        alone = {"zero_shot": zero_shot, "cost_matrix": cost_matrix}
        alone["calibration"] = "" if str(calibration) == NONE else calibration
        check_ensemble(workdirs, configs, alone)
    members = []
    for (folder, own), config in zip(pairs, configs, strict=True):
        files = {"cost_matrix": cost_matrix, "calibration": calibration}
        run = _loaded(config, folder, zero_shot, own, files)
        column = "" if members else by  # of the first, who reads the labels
        options = {"by": column, "flag": f"{prefix}part"}
        members.append(_read(config, run, folder, **options, **asked))
    check_members(members, asked["corrupt"], prefix)
    return members


def _read(
    config,
    run: Run | None,
    workdir: Path,
    *,
    source,
    part,
    corrupt,
    by,
    output: Path,
    flag: str,
) -> Member:
    """A run with its own catalogue, where it is needed, and what it is asked."""
    seen = reading(config) if damages_pictures(corrupt) else config
    carries = carrying(seen, by, source) if by else seen
    flaws = output / FLAWS
    if source is None:
        catalogue = own_catalogue(carries, workdir, flaws)
        rows = own_rows(carries, catalogue, part, flag)
    else:
        catalogue = None if run else own_catalogue(seen, workdir, flaws)
        places = {"flaws": flaws, "workdir": workdir}
        rows = other_rows(carries, run or catalogue, source, **places)
    return Member(workdir, config, run, catalogue, rows, rows.records)


def _check_asked(config, asked: Mapping, confidence: float | None, prefix: str) -> None:
    """CatalogueError: a word of the command is wrong, which costs no time to see."""
    output, source, corrupt = (asked[x] for x in ("output", "source", "corrupt"))
    if (output / "config.json").exists():
        raise CatalogueError(f"{output} is a workdir of a run; take another --output")
    if source not in (None, SYNTHETIC) and not Path(source).exists():
        raise CatalogueError(f"--{prefix}input={source}: no such file")
    if corrupt:
        read_corruption(corrupt)
    if confidence is not None and not gives_classes(config):
        raise CatalogueError(
            "--confidence: the run was trained without classification, so no class has"
            " a probability"
        )


def _loaded(config, workdir: Path, zero_shot: str, features, files) -> Run | None:
    """The trained run, None of a baseline; can it be asked for these?

    Args: files: cost_matrix and calibration, as of `load_run`.
    """
    baseline = config.task == "baseline"
    if baseline and files["cost_matrix"]:
        raise CatalogueError(
            f"--cost_matrix: {workdir} is a baseline, which has one decode"
        )
    if baseline and str(files["calibration"]) != NONE:
        raise CatalogueError(f"--calibration: {workdir} is a baseline, which has none")
    run = None if baseline else load_run(workdir, features=features, **files)
    check_zero_shot(run, zero_shot)
    return run


def adapted_member(member: Member, kind: str, encode: EncodeMissing) -> Member:
    """A trained run moved to the statistics of the rows that it is asked about.

    Args:
      encode: makes what feature stores lack, see `features_of`.

    Raises:
      CatalogueError: see `check_adaptation`.
    """
    run, records = member.run, member.records
    if run is None:
        raise CatalogueError(f"--adapt={kind}: {member.workdir} is a baseline")
    check_adaptation(run, kind)
    source = None
    if kind in OF_FEATURES:
        catalogue = member.catalogue
        if catalogue is None:
            catalogue = own_catalogue(member.config, member.workdir, None)
        rows = catalogue.rows("train")
        learnt = selected(catalogue.records, rows)
        source = run.feed(learnt, groups=catalogue.groups[rows])
    target = run.feed(records, groups=member.rows.groups, encode=encode)
    return member._replace(run=adapted(run, kind, target, source))
