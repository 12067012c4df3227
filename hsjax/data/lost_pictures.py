"""Pictures that a catalogue names and nobody can use: how many, and why."""

from collections import Counter
from pathlib import Path

from hsjax.data.image import EMPTY
from hsjax.data.pixels import NOT_FOUND
from hsjax.data.quarantine import CatalogueError


class LostPictures:
    """How many of the pictures that a file names cannot be used, and why."""

    def __init__(self, root: Path, *, seen: bool) -> None:
        self.root, self.seen = root, seen
        self.named = 0
        self.flaws: Counter[str] = Counter()

    def add(self, flaw: str) -> None:
        """Counts a picture with the flaw that `read_image` found, '' = none.

        Raises:
          CatalogueError: a picture that a model sees is wanted from no folder.
        """
        phrase = flaw.split(": ")[0]
        if phrase == EMPTY:
            return
        self.named += 1
        if flaw:
            self.flaws[phrase] += 1
        # not looked at before: all pictures may be inside the file
        if phrase == NOT_FOUND and self.seen and not self.root.is_dir():
            raise CatalogueError(
                f"folder {self.root} (config.data.image_root) does not exist"
            )

    def told(self) -> str:
        """The sentence where more than half are lost; '' otherwise."""
        lost = self.flaws.total()
        if 2 * lost <= self.named:
            return ""
        reasons = ", ".join(f"{x} ({n:,})" for x, n in self.flaws.most_common(3))
        told = f"MOST PICTURES ARE LOST, {lost:,} of {self.named:,}: {reasons}"
        if self.flaws[NOT_FOUND]:
            told += f"; looked for in {self.root}: image_root names another folder"
        return told
