"""What `--config.task=harden` does: a catalogue whose texts do not name their leaf.

Where a title says `Tshirts` every model is at the ceiling, and no difference between
models can be seen. The hard variant lacks the words that tell most of the leaf, as the
training rows alone have it; everything else is the catalogue as it was.
"""

from collections.abc import Sequence
from pathlib import Path

from hsjax.data.cells import write_csv
from hsjax.data.columns import checked_required, model_columns
from hsjax.data.giveaway import GiveAway, Hiding
from hsjax.data.hardening import Hardening, find_words, read_split
from hsjax.data.quarantine import Quarantine, written_if_refused
from hsjax.data.reading_keys import keys_told, reading_keys
from hsjax.data.records import CatalogueError
from hsjax.data.rewrite import rewrite_catalogue
from hsjax.data.sources import SYNTHETIC
from hsjax.settings.choices import check_harden
from hsjax.train.workdir import holds_results, write_config

CATALOGUE, WORDS = "catalogue.parquet", "words.csv"
WORD_COLUMNS = ("word", "bits", "training_rows", "leaf", "share")


def write_hard(config, workdir: Path) -> None:
    """WORKDIR/catalogue.parquet without the telling words, and words.csv of them.

    Raises:
      CatalogueError, ConfigError: whatever a user can mend, in words.
    """
    check_harden(config)
    _refuse(config, workdir)
    c, quarantine, flaws = config.harden, Quarantine(), workdir / "quarantine.csv"
    with written_if_refused(quarantine, flaws):
        split = read_split(config, quarantine)
        words = find_words(split, model_columns(config), count=c.words)
    hiding = Hiding(frozenset(found.word for found in words), c.share, c.seed)
    hardening = Hardening(config, split, hiding, quarantine)
    # the catalogue last: where it is, all of it was done
    write_words(words, workdir / WORDS)
    rewrite_catalogue(config.data, workdir / CATALOGUE, hardening.changes())
    for row, id in hardening.emptied:
        reason = "empty text: every word of it gives the leaf away"
        place = {"file": config.data.path, "row": row, "id": id}
        quarantine.add(**place, reason=reason, action="kept")
    quarantine.write(flaws)
    write_config(config, workdir)
    print(f"{len(words):,} words that give the leaf away: {workdir / WORDS}")
    print("\n".join(told(config, workdir, hardening)))


def _refuse(config, workdir: Path) -> None:
    """CatalogueError where there is nothing to read, or something would be lost."""
    if config.data.path == SYNTHETIC:
        raise CatalogueError(
            "task=harden reads a file: write one with task=prepare, and name it in"
            " config.data.path and its columns in config.data.columns"
        )
    if (workdir / "taxonomy.json").exists() or holds_results(workdir):
        raise CatalogueError(
            f"{workdir} is the workdir of a run; take a new --workdir for the catalogue"
        )
    path = workdir / CATALOGUE
    source = Path(config.data.path).resolve() == path.resolve()
    if path.exists() and (source or not (workdir / WORDS).exists()):
        raise CatalogueError(f"{path} would be written over; take a new --workdir")


def write_words(words: Sequence[GiveAway], path: Path) -> None:
    """The words, the most telling one first, in the columns of `WORD_COLUMNS`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ([w.word, f"{w.bits:.6f}", w.rows, w.leaf, f"{w.share:.4f}"] for w in words)
    write_csv(path, WORD_COLUMNS, rows)


def told(config, workdir: Path, hardening: Hardening) -> list[str]:
    """What was done, and how a run reads the result, in lines for people."""
    n, emptied = hardening.tally, len(hardening.emptied)
    share = 100 * n["gone"] / max(n["words"], 1)
    keys = reading_keys(config, workdir / CATALOGUE, hardening.same)
    lines = [
        f"taken out: {n['gone']:,} of {n['words']:,} words ({share:.1f} %), from"
        f" {n['changed']:,} of {n['rows']:,} rows",
        f"rows without text: {n['without']:,}, of which {emptied:,} lost their last"
        " word here",
        "a run has the same rows in train, val and test with the same config and",
        keys_told(keys),
    ]
    needed = checked_required(config.data)
    if emptied and any(name != "image" for name in needed):
        lines.append(
            f"but data.required names {', '.join(needed)}: rows that lost it here will"
            " be dropped"
        )
    return lines
