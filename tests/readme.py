"""The commands that the README shows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commands(kind="bash"):
    """The words of every command of the README, continued lines joined.

    Args:
      kind: bash, or text of what wants data or hours, of which scripts are left out.
    """
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(rf"```{kind}\n(.*?)```", readme, re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    lines = re.sub(r"(?ms)^python - <<'END'.*?^END$", "", text).splitlines()
    return [x for x in lines if x.strip() and not x.startswith("#")]
