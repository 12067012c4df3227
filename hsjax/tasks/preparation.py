"""What `--config.task=prepare` does: any catalogue, read when it is needed."""

import shlex
from pathlib import Path

from hsjax.data.fetching import Fetcher
from hsjax.data.preparation import prepare_catalogue
from hsjax.data.quarantine import CatalogueError, Quarantine, written_if_refused
from hsjax.data.sources import SYNTHETIC
from hsjax.data.web import Limits
from hsjax.datasets.builders import DOWNLOADS, build
from hsjax.settings.choices import check_tables
from hsjax.train.workdir import holds_results


def write_prepared(config, workdir: Path) -> None:
    """The catalogue as a folder of shards; of the synthetic one, a Parquet file.

    Raises:
      CatalogueError, ConfigError: whatever a user can mend, in words.
    """
    check_tables(config, "prepare.")
    if config.prepare.builder:
        return _build(config.prepare, workdir)
    if config.data.path == SYNTHETIC:
        return _write_synthetic(config, workdir)
    if holds_results(workdir):
        raise CatalogueError(f"{workdir} is the workdir of a run; take a new --workdir")
    c = config.prepare
    limits = Limits(
        retries=c.retries,
        timeout=c.timeout,
        deadline=c.deadline,
        max_bytes=c.max_bytes,
        private_addresses=c.private_addresses,
    )
    fetch = Fetcher(Path(c.cache) if c.cache else workdir / "fetched", limits)
    prepared = prepare_catalogue(config, workdir, fetch=fetch)
    shards = prepared.facts["shards"]
    pictures = sum(shard["pictures"] for shard in shards)
    missing = sum(len(shard["missing"]) for shard in shards)
    if passing := sum(shard.get("passing", 0) for shard in shards):
        print(
            f"{passing:,} pictures could not be fetched this time: the same command"
            " asks for them again"
        )
    print(
        f"{workdir}: {len(prepared):,} rows and {pictures:,} pictures in"
        f" {len(shards):,} shards; {missing:,} rows could not be read, see"
        f" {workdir / 'quarantine.csv'}\nname it: --config.data.path={workdir}"
    )


def _build(c, workdir: Path) -> None:
    """A public download as a data set of TFDS, and the keys that read it."""
    notes, flaws = Quarantine(), workdir / "quarantine.csv"
    workdir.mkdir(parents=True, exist_ok=True)
    with written_if_refused(notes, flaws):
        folder = build(c.builder, Path(c.manual_dir), workdir, notes)
    if notes.rows:
        notes.write(flaws)
    keys = {"data.path": str(folder), **DOWNLOADS[c.builder].mapping()}
    told = " \\\n".join(f"  --config.{k}={_shown(v)}" for k, v in keys.items())
    print(f"{folder}: {len(notes.rows):,} notes\nread it by\n{told}")


def _shown(value) -> str:
    return shlex.quote(str(value))


def _write_synthetic(config, workdir: Path) -> None:
    """The built-in catalogue as a file such as any user has."""
    from hsjax.data.synthetic import write_catalogue

    workdir.mkdir(parents=True, exist_ok=True)
    write_catalogue(workdir / "catalogue.parquet", config.data)
    print(f"wrote {workdir / 'catalogue.parquet'}")
