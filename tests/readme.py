"""The commands that the README shows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commands():
    """The words of every command of the README, continued lines joined."""
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [x for x in lines if x.strip() and not x.startswith("#")]
