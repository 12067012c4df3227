"""The tokenizer of a run: another run's, a published encoder's, trained or loaded."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from hsjax.data.quarantine import CatalogueError
from hsjax.data.records import Record
from hsjax.data.text import each_text
from hsjax.data.tokenizer_folder import load_tokenizer
from hsjax.data.tokenizer_training import make_tokenizer

FILE = "tokenizer.json"


def run_tokenizer(
    config,
    training: Sequence[Record],
    streams: Sequence[str],
    *,
    source_run: Path | None,
    published: Path | None,
) -> Tokenizer | None:
    """What reads the raw text streams of a whole config; None without streams.

    Args:
      source_run: workdir of a run whose tokenizer is kept.
      published: directory of the tokenizer that data.text.tokenizer=published means.

    Raises:
      CatalogueError: there is no such tokenizer, or no text to train one on.
    """
    if not streams:
        return None
    if source_run:
        if not (source_run / FILE).exists():
            raise CatalogueError(f"{source_run} was trained without text: no {FILE}")
        return Tokenizer.from_file(str(source_run / FILE))
    columns = config.data.text.streams
    texts = _Texts(training, [columns[s] for s in streams])
    if not any(texts):
        raise CatalogueError(
            f"{config.data.path}: every text of the training part is empty; drop the"
            " text streams from model.modalities or name other data.columns.text"
        )
    if config.data.text.tokenizer != "published":
        return make_tokenizer(config.data.text, texts)
    if not published:
        raise CatalogueError(
            "data.text.tokenizer=published needs model.text.published, whose it is"
        )
    return load_tokenizer(str(published))


class _Texts:
    """Of every stream of some records; each pass reads them anew, none is kept."""

    def __init__(self, records: Sequence[Record], streams: Sequence) -> None:
        self.records, self.streams = records, streams

    def __iter__(self) -> Iterator[str]:
        for columns in self.streams:
            yield from each_text(self.records, columns)


def same_vocabulary(tokenizer: Tokenizer, run: Path) -> bool:
    """Do token ids mean the same to the tokenizer of another run?"""
    path = run / FILE
    if not path.exists():
        return False
    return Tokenizer.from_file(str(path)).get_vocab() == tokenizer.get_vocab()
