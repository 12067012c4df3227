"""Lists of runs, as files that are committed."""

import contextlib
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from hsjax.data.records import CatalogueError
from hsjax.models.published_files import PublishedError
from hsjax.settings.mistakes import mistake
from hsjax.spelling import meant
from hsjax.sweep.lines import Common, filled, flag_text, read_common, read_lines
from hsjax.train.config import flatten
from hsjax.train.workdir import ConfigError, WorkdirError, is_done
from hsjax.trained.opening import resolved

# keys of a config that say what its catalogue is
CATALOGUE = (
    *("data.path", "data.columns.", "data.image_root", "data.label_map", "data.split."),
    *("data.label_source", "data.required", "data.text.streams.", "taxonomy."),
)
NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")  # of folders below the root


class Run(NamedTuple):
    """One experiment of a sweep.

    Attributes:
      name: its folder below the root.
      row: its line in a table; runs of a row differ in their seed only.
      told: `--config=FILE --config.KEY=VALUE ...` as the list has it, '{seed}' and all.
      arguments: the same with what such words stand for, and `--config.seed=N`.
      config: what these resolve to, locked; None of a row that nobody asks for, and
        that cannot be one.
      reference: row that its row is compared with, '' = none.
    """

    name: str
    row: str
    told: tuple[str, ...]
    arguments: tuple[str, ...]
    config: ConfigDict | None
    reference: str


def is_done_below(root: Path, run: Run) -> bool:
    """Is there a report of this run, what it leaves to its encoders written out?"""
    workdir = root / run.name
    if run.config is None:
        return False
    try:
        config, _ = resolved(run.config, workdir)
        return is_done(config, workdir)
    except (ConfigError, CatalogueError, PublishedError, WorkdirError):
        return False  # the run itself tells what is wrong with it


def read_runs(
    path: Path,
    common: Sequence[str] = (),
    root: Path | None = None,
    *,
    only: Sequence[str] = (),
) -> list[Run]:
    """The runs of a .jsonl file, one line each: see `launch/README.md`.

    A line with several seeds stands for the runs NAME/seed0, NAME/seed1, ... of the row
    NAME; so does a line of that name and its one seed. In a value {seed} is the number
    of the seed and {root} the folder of all runs.

    Args:
      common: KEY=VALUE for all runs, such as where the catalogue lies; what a line says
        itself wins. `config=FILE` alone stands in place of what the lines say;
        `catalogue=FILE` takes from a config what `CATALOGUE` names, and no more;
        `{word}=VALUE` is what {word} stands for in their values.
      root: folder of the runs; a list that does not say {root} needs none.
      only: rows that are asked for, () = all.

    Raises:
      ConfigError: names the line that cannot be understood or run.
    """
    told, own = read_common(common), {"{root}": str(root)} if root else {}
    runs: list[Run] = []
    for place, line in read_lines(path):
        runs += _runs_of(line, place, told, own, only)
    for word in told.words:
        if not any(word in value for run in runs for value in run.told):
            raise ConfigError(f"--set={word}: no line of {path} says {word}")
    names, rows = [run.name for run in runs], {run.row for run in runs}
    for run in runs:
        if names.count(run.name) > 1:
            raise ConfigError(f"{path}: the name {run.name!r} stands for two runs")
        if run.reference and run.reference not in rows:
            raise ConfigError(
                f"{path}: the reference of {run.name} is {run.reference!r}, no row"
                f" of the file.{meant(run.reference, rows)}"
            )
        first = next(other for other in runs if other.row == run.row)
        if (run.told, run.reference) != (first.told, first.reference):
            raise ConfigError(
                f"{path}: {run.name} and {first.name} are one row, and may differ in"
                " their seed only"
            )
    return runs


def check_runs(runs: Sequence[Run]) -> None:
    """Can each config be one? Asked before the first run takes its hour.

    Raises:
      ConfigError: names the first run whose config has a word, a number or a
        combination that no run can have.
    """
    for run in runs:
        # what lies elsewhere, an encoder or a store, is looked for where it runs
        with contextlib.suppress(CatalogueError, PublishedError):
            try:
                resolved(run.config)
            except ConfigError as error:
                raise ConfigError(f"{run.name}: {error}") from None


def check_rows_differ(runs: Sequence[Run]) -> None:
    """Is each row another experiment, whatever its seeds? A table would show an
    ablation that was none.

    Raises:
      ConfigError: names two rows whose configs are the same.
    """
    first: dict[str, Run] = {}
    for run in runs:
        keys = {**flatten(run.config), "seed": None}
        other = first.setdefault(repr(keys), run)
        if other.row != run.row:
            raise ConfigError(
                f"{other.name} and {run.name} have the same config: the rows change"
                f" what {run.arguments[0].removeprefix('--config=')} has already. With"
                " --set=catalogue=FILE in place of --set=config=FILE models stay those"
                " of the list"
            )


def row_names(runs: Sequence[Run], only: Sequence[str] = ()) -> list[str]:
    """The rows of a list, in its order; those that `--only` asks for, in that order.

    Raises:
      ConfigError: one that is asked for is no row.
    """
    rows = list(dict.fromkeys(run.row for run in runs))
    for name in only:
        if name not in rows:
            raise ConfigError(
                f"--only: {name!r} is no row.{meant(name, rows)} The list has"
                f" {', '.join(rows)}"
            )
    return list(only) or rows


def chosen_runs(runs: Sequence[Run], only: Sequence[str]) -> list[Run]:
    """Those of the rows that `--only` asks for, in the order of the list.

    Raises:
      ConfigError: see `row_names`.
    """
    rows = row_names(runs, only)
    return [run for run in runs if run.row in rows]


def _runs_of(
    line: dict, place: str, common: Common, own: Mapping[str, str], only: Sequence[str]
) -> list[Run]:
    name, seeds = line.get("name"), line.get("seed", 0)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{place}: the name {name!r} is no name of a folder")
    reference = line.get("reference", "")
    if not isinstance(reference, str):
        raise ConfigError(f"{place}: the reference {reference!r} is no name of a row")
    several = isinstance(seeds, list)
    if several and not seeds:
        raise ConfigError(f"{place}: seed is an empty list: name a seed")
    overrides, file = line.get("overrides", {}), common.config or line.get("config", "")
    told = (
        f"--config={file}",
        *(_catalogue_words(file, common.catalogue, place) if common.catalogue else ()),
        *(f"--config.{word}" for word in common.keys),
        *(f"--config.{k}={flag_text(k, v, place)}" for k, v in overrides.items()),
    )
    runs = []
    for seed in seeds if several else [seeds]:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ConfigError(f"{place}: the seed {seed!r} is no whole number")
        own = {**own, "{seed}": str(seed)}
        words = {k: filled(v, own, place) for k, v in common.words.items()} | own
        values = [filled(word, words, place) for word in told]
        arguments = (*values, f"--config.seed={seed}")
        row = name if several else name.removesuffix(f"/seed{seed}")
        try:
            config = resolve(arguments, place)
        except ConfigError:
            if not only or row in only:
                raise
            config = None  # a catalogue may lack what only other rows read
        folder = f"{name}/seed{seed}" if several else name
        runs.append(Run(folder, row, told, arguments, config, reference))
    return runs


def _catalogue_words(file: str, own: str, place: str) -> list[str]:
    """Flags that give a config the catalogue of another one, where they differ."""
    theirs, ours = (flatten(resolve([f"--config={x}"], place)) for x in (file, own))
    words = []
    for key, value in ours.items():
        # a stream that the models do not read is no key of theirs
        if key in theirs and value != theirs[key] and key.startswith(CATALOGUE):
            words.append(f"--config.{key}={flag_text(key, value, place)}")
    return words


def resolve(arguments: Sequence[str], place: str) -> ConfigDict:
    """The config that `hsjax.main` makes of these flags.

    Raises:
      ConfigError: no such file or key, a value of another type, or whatever is wrong
        in the file.
    """
    file = arguments[0].removeprefix("--config=").partition(":")[0]
    if not Path(file).is_file():
        raise ConfigError(
            f"{place}: there is no config {file!r}; paths go from {Path.cwd()}, and"
            " --set=config=FILE stands in place of the list's own"
        )
    values, words = flags.FlagValues(), ["sweep", *arguments]
    config_flags.DEFINE_config_file(
        "config", lock_config=True, flag_values=values, sys_argv=words
    )
    # ml_collections fills one module with every file: what the last one left goes
    sys.modules.pop("config_config", None)
    try:
        with warnings.catch_warnings():  # it loads the file as of old
            warnings.simplefilter("ignore", DeprecationWarning)
            values(words)
        return values["config"].value
    except Exception as error:  # whatever a config file may raise
        raise ConfigError(f"{place}: {mistake(error)}") from None
