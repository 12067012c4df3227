"""The label tree as JSON: the document of `taxonomy.json`, its hash, and reading it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hsjax.atomic import write_atomically
from hsjax.tree.codes import TaxonomyError

FORMAT = 1


def make_document(
    levels: Sequence[Sequence[tuple]], *, edition: str, separator: str
) -> dict:
    """The document of rows (code, name, parent id, stop) per level, in order of ids.

    Levels count from 1 and nodes of the first have no parent.
    """
    nodes = [
        {
            "level": level,
            "id": i,
            "code": str(code),
            "name": str(name),
            "parent": int(parent) if level > 1 else None,
            "stop": bool(stop),
        }
        for level, rows in enumerate(levels, 1)
        for i, (code, name, parent, stop) in enumerate(rows)
    ]
    return {
        "format": FORMAT,
        "edition": edition,
        "separator": separator,
        "nodes": nodes,
    }


def content_hash(document: Mapping) -> str:
    """sha256 of the canonical JSON."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_document(document: Mapping, path: Path | str) -> None:
    """Writes the document with its hash."""
    document = {**document, "hash": content_hash(document)}
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read_document(path: Path | str) -> dict:
    """The arguments of `make_document` that give this document.

    Raises:
      TaxonomyError: no such file, another format, or content that belies its hash.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise TaxonomyError(
                f"{path} has format {document['format']}; {FORMAT} can be read"
            )
        levels = [[] for _ in range(max(n["level"] for n in document["nodes"]))]
        for n in sorted(document["nodes"], key=lambda n: (n["level"], n["id"])):
            if n["id"] != len(levels[n["level"] - 1]):
                raise TaxonomyError(f"{path}: ids of level {n['level']} have a gap")
            row = (n["code"], n["name"], n["parent"] or 0, n["stop"])
            levels[n["level"] - 1].append(row)
        found = {"levels": levels} | {k: document[k] for k in ("edition", "separator")}
        own = content_hash(make_document(**found))
    except TaxonomyError:
        raise
    except FileNotFoundError:
        raise TaxonomyError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TaxonomyError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:  # it would quote the whole file
        raise TaxonomyError(f"{path} is not UTF-8; save it as UTF-8") from None
    except (KeyError, TypeError, ValueError) as error:
        raise TaxonomyError(f"{path} is not a taxonomy file: {error!r}") from None
    if document.get("hash", own) != own:
        raise TaxonomyError(f"{path} was changed by hand: its hash does not fit")
    return found
