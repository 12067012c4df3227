"""Tokenizers that somebody published: a file, a folder or a hub name."""

from pathlib import Path

from tokenizers import Tokenizer

from hsjax.data.quarantine import CatalogueError

# each is a whole tokenizer; the file of a sentencepiece has many names
WHOLE = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
SENTENCEPIECE = "*.model"


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that make its tokenizer, [] where it has none."""
    names = dict.fromkeys(name for names in WHOLE for name in names)
    found = [folder / name for name in names if (folder / name).is_file()]
    there = {path.name for path in found}
    if any(there.issuperset(names) for names in WHOLE):
        return found
    return sorted(folder.glob(SENTENCEPIECE))


def load_tokenizer(name: str) -> Tokenizer:
    """From a `tokenizer.json`, a directory in Hugging Face's layout, or a hub name.

    Raises:
      CatalogueError: there is none, or one that knows no word.
    """
    path = Path(name)
    if path.is_dir() and not tokenizer_files(path):
        # of such a folder transformers makes a tokenizer to which every word is unknown
        raise CatalogueError(
            f"{name}: no tokenizer there (none of {_listed()}): bring the tokenizer's"
            " files into that folder, as they were published with the encoder"
        )
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        try:
            return Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises no class of its own
            raise CatalogueError(
                f"{file} is no tokenizer ({_line(error)}): bring it back"
            ) from None
    # a directory with vocab.txt or merges.txt only, or a hub name: transformers
    # converts
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(name)
        tokenizer = found.backend_tokenizer
    except (OSError, ValueError, ImportError, AttributeError) as error:
        raise CatalogueError(
            f"{name!r}: no tokenizer there. Give a directory with tokenizer.json or"
            f" vocab.txt, a hub name, or `train` ({_line(error)})"
        ) from None
    if not tokenizer.get_vocab().keys() - set(found.all_special_tokens):
        raise CatalogueError(
            f"{name}: its tokenizer knows no word: transformers finds none of"
            f" {_listed()} that fits the model; bring the tokenizer's files there"
        )
    return tokenizer


def _listed() -> str:
    return ", ".join([*(" with ".join(names) for names in WHOLE), SENTENCEPIECE])


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
