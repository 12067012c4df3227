"""Strictness of the test run: 8 devices, checked shapes, no silent promotion."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from jaxtyping import install_import_hook

# before any import of hsjax: every annotated shape is checked from here on
install_import_hook("hsjax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# grain's worker processes read absl flags
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The synthetic catalogue as a shop's Parquet file."""
    from runs import run_config

    from hsjax.data.synthetic import write_catalogue

    path = tmp_path_factory.mktemp("shop") / "shop.parquet"
    write_catalogue(path, run_config().data)
    return path


def pytest_terminal_summary(terminalreporter):
    """The README's parity table, from what the parity tests measured in this run."""
    kinds = ("forward", "gradient", "bfloat16")
    table: dict[str, dict[str, float]] = {}
    for report in terminalreporter.stats.get("passed", []):
        for key, found in report.user_properties:
            if key == "parity":
                family, kind, error = found
                row = table.setdefault(family, {})
                row[kind] = max(row.get(kind, 0.0), error)
    if table:
        terminalreporter.write_line(f"| family | {' | '.join(kinds)} |")
        terminalreporter.write_line("| :--- |" + " ---: |" * len(kinds))
    for family, row in sorted(table.items()):
        cells = (f"{row[k]:.1e}" if k in row else "–" for k in kinds)
        terminalreporter.write_line(f"| {family} | {' | '.join(cells)} |")
