"""Proposals that were accepted, made into a new tree and a relabelled catalogue."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.data.columns import label_columns
from hsjax.data.quarantine import Quarantine
from hsjax.data.reading_keys import keys_told, reading_keys
from hsjax.data.rewrite import Changes, all_columns, rewrite_catalogue
from hsjax.data.same_split import SameSplit
from hsjax.data.sources import SYNTHETIC
from hsjax.recategorize.change import apply_diff
from hsjax.recategorize.chosen_diff import chosen_diff
from hsjax.recategorize.diff import write_diff
from hsjax.recategorize.products import Branch, read_branch
from hsjax.recategorize.refined_labels import Relabelled, relabelled
from hsjax.taxonomy import Taxonomy
from hsjax.train.workdir import WorkdirError, changed_files, read_config

CATALOGUE, TREE, OLD_TREE = "catalogue.parquet", "taxonomy.json", "old_taxonomy.json"


def refine(
    run: Path, output: Path, *, decisions: Sequence[Path], diff: Path | None
) -> str:
    """Writes the new tree, the diff and the catalogue; returns what to do with them.

    Columns of labels, and where they are needed of ids, groups and parts, are added;
    a catalogue that was refined before keeps those that it has.

    Args:
      run: workdir of a discovery.
      decisions: of its review pages; nodes without one are not changed, but where
        there is none at all every proposal is accepted.
      diff: instead of decisions, the discovery's diff as somebody has edited it.

    Raises:
      TaxonomyError, CatalogueError, WorkdirError: whatever a user can mend, in words;
        nothing was written.
    """
    config = _discovered(run, output)
    quarantine = Quarantine()
    branch = read_branch(config, quarantine)
    _check_tree(run, branch.tree)
    chosen = chosen_diff(run, branch.tree, decisions, diff)
    tree = apply_diff(chosen, branch.tree)
    labels = relabelled(run, branch, tree, chosen)
    number = _number(Path(config.data.path))
    label, old_label = f"refined{number}_label", f"old{number}_label"
    records = branch.records, branch.groups, branch.parts
    prefix = {"prefix": f"refined{number}", "relabelled": True}
    same = SameSplit(config, *records, quarantine, **prefix)
    output.mkdir(parents=True, exist_ok=True)
    tree.save(output / TREE)
    branch.tree.save(output / OLD_TREE)
    write_diff(chosen, output / "diff.json")
    columns = {label: labels.new, old_label: labels.old}
    # the catalogue last: where it is, all of it was done
    rewrite_catalogue(config.data, output / CATALOGUE, _added(config, columns, same))
    keys = {"task": "train"} | reading_keys(config, output / CATALOGUE, same)
    files = (label, tree, TREE), (old_label, branch.tree, OLD_TREE)
    told = [*_told(config, branch, tree, labels), *_how(config, keys, *files)]
    return "\n".join(told)


def _added(config, columns: Mapping[str, Mapping[int, tuple]], same: SameSplit):
    """The columns of labels, by the rows' paths, and those of the same split."""

    def cells(row: int, values) -> dict[str, str | None]:
        ends = {name: paths.get(row, ()) for name, paths in columns.items()}
        codes = {name: path[-1] if path else None for name, path in ends.items()}
        return codes | same.cells(row)

    read = label_columns(config.data)  # of none there would be no rows
    return Changes(read=read, changed=(), added=(*columns, *same.added), cells=cells)


def _discovered(run: Path, output: Path):
    """The config of a discovery.

    Raises:
      WorkdirError: it has nothing to refine, its files have changed, or something would
        be written over.
    """
    config = read_config(run)
    if config.task != "recategorize" or not (run / "diff.json").exists():
        raise WorkdirError(f"{run} is no finished run of task=recategorize")
    if config.data.path == SYNTHETIC:
        raise WorkdirError(
            f"{run} is of the synthetic catalogue, which is no file: write one with"
            " task=prepare and name it in config.data.path"
        )
    if not Path(config.data.path).exists():
        raise WorkdirError(
            f"{run} is of {config.data.path}, which is not there: start the command in"
            " the folder where the discovery was started, or bring the file back"
        )
    if changed := changed_files(config, run):
        raise WorkdirError(
            f"{', '.join(changed)}: no longer the file that {run} was found in; bring"
            " it back, or discover anew in a new workdir"
        )
    if output.exists() and not output.is_dir():
        raise WorkdirError(f"--output={output} is a file; name a folder")
    if (output / "config.json").exists():
        raise WorkdirError(f"{output} is the workdir of a run; take a new --output")
    if (output / CATALOGUE).exists():
        raise WorkdirError(
            f"{output} holds a catalogue already, which runs may go by; take a new"
            " --output"
        )
    return config


def _check_tree(run: Path, tree: Taxonomy) -> None:
    if Taxonomy.load(run / "taxonomy.json") != tree:
        raise WorkdirError(
            f"the catalogue of {run} has another tree than then, though its files are"
            " the same: discover anew in a new workdir"
        )


def _number(source: Path) -> str:
    """Of the columns that are added: '' first, then 2 and so on."""
    names = all_columns(source)
    number, taken = 1, True
    while taken:
        text = str(number) if number > 1 else ""
        starts = f"refined{text}_", f"old{text}_label"
        taken = any(name.startswith(starts) for name in names)
        number += 1
    return text


def _told(config, branch: Branch, tree: Taxonomy, labels: Relabelled) -> list[str]:
    """What was done, in lines for people."""
    new = sum(tree.sizes) - sum(branch.tree.sizes)
    lines = [
        f"{new:+,} nodes: {branch.tree!r} -> {tree!r}",
        f"{labels.clustered:,} products go to a new node, {labels.stayed:,} of the"
        " nodes that were looked at stay",
    ]
    if sets := sum(record.admissible != () for record in branch.records):
        lines.append(
            f"{sets:,} labels of another edition stand for several classes: here they"
            " end where these part"
        )
    if config.data.columns.blank_level == "stop" and labels.stayed:
        lines.append(
            "data.columns.blank_level=stop: what stays at a divided node is learnt as"
            " products that end there, beside its new children"
        )
    return lines


def _how(config, keys: dict[str, str], new: tuple, old: tuple) -> list[str]:
    """How a run reads what was written.

    Args:
      keys: of both; new, old: (column, tree, its file's name).
    """
    column, tree, name = new
    output = Path(keys["data.path"]).parent
    keys["data.columns.label"] = str((column,))
    keys["data.columns.label_kind"] = "path" if tree.separator else "node"
    keys["taxonomy.path"] = str(output / name)
    if tree.separator not in ("", config.data.columns.separator):
        keys["data.columns.separator"] = tree.separator
    # the new labels are of the tree, whatever the old ones were read by
    keys |= {"data.label_map": ""} if config.data.label_map else {}
    keys |= {"data.columns.edition": ""} if config.data.columns.edition else {}
    keys |= {"taxonomy.correlation": "()"} if config.taxonomy.correlation else {}
    column, _, name = old
    before = {"data.columns.label": str((column,))}
    before["taxonomy.path"] = str(output / name)
    return [
        "a run learns the new tree, with the same rows in train, val and test, by the"
        " config of the discovery, what it was told beside it, and\n"
        f"{keys_told(keys)}",
        "and starts from one of the old tree by --config.init_from=WORKDIR; that one is"
        f" learnt by the same, but\n{keys_told(before)}",
    ]
