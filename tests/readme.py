"""The commands that the README and the page of figures show."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "configs/README.md")


def commands(kind="bash"):
    """The words of every command of `PAGES`, continued lines joined.

    Args:
      kind: bash, or text of what wants data or hours, of which scripts are left out.
    """
    text = "".join(path.read_text() for path in PAGES)
    blocks = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    lines = re.sub(r"(?ms)^python - <<'END'.*?^END$", "", text).splitlines()
    return [x for x in lines if x.strip() and not x.startswith("#")]
