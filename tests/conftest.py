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
    from runs import quick_compiles, train_run

    folder = tmp_path_factory.mktemp("stores")
    for modality, encoder in (("title", bert), ("image", resnet)):
        config = extraction(shop, encoder, modality, stored="float32", pca=0.9)
        with quick_compiles():
            train_run(config, folder / modality)
    return folder


@pytest.fixture(scope="module")
def quick():
    """For modules of many tiny runs, most of whose time is compilation."""
    from runs import quick_compiles

    with quick_compiles():
        yield


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
