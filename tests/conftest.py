"""Strictness of the test run: 8 devices, checked shapes, no silent promotion."""

import os
import signal
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

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
# of a tiny program that runs but once, most of the time is its compilation
QUICK = "--xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):  # XLA ends at a flag that it does not know
    QUICK += " --xla_cpu_use_fusion_emitters=false"


# a shell lets what it runs in the background ignore Ctrl-C: tests of it need it back
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Settings of the compiler, of subprocesses and of xdist's workers as well.

    What is compiled goes to one folder, so that the same program is compiled once in a
    session. It is compiled quickly, which may change the last bits of results, but for
    the slow tests: they compile as users do.
    """
    if config.option.markexpr == "not slow":
        os.environ["XLA_FLAGS"] = QUICK
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
        jax.config.update("jax_disable_most_optimizations", True)
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="hsjax-compiled-")
        os.environ["HSJAX_TEST_COMPILED"] = folder.name
        config.add_cleanup(folder.cleanup)


# made once, as they are only read: a test that changes one takes a copy
@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """The synthetic catalogue as a shop's Parquet file."""
    from runs import run_config

    from hsjax.data.synthetic import write_catalogue

    path = tmp_path_factory.mktemp("shop") / "shop.parquet"
    write_catalogue(path, run_config().data)
    return path


@pytest.fixture(scope="session")
def bert(tmp_path_factory, shop):
    """A published text encoder that knows the shop's words."""
    from encoders import write_bert

    return write_bert(tmp_path_factory.mktemp("bert"), shop)


@pytest.fixture(scope="session")
def resnet(tmp_path_factory):
    """A published image encoder."""
    from encoders import write_images

    return write_images(tmp_path_factory.mktemp("resnet"))


@pytest.fixture(scope="session")
def stores(tmp_path_factory, shop, bert, resnet):
    """Features of the shop's titles and pictures, components of each in `pca`."""
    from encoders import extraction
    from runs import train_run

    folder = tmp_path_factory.mktemp("stores")
    for modality, encoder in (("title", bert), ("image", resnet)):
        config = extraction(shop, encoder, modality, stored="float32", pca=0.9)
        train_run(config, folder / modality)
    return folder


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
