"""Two shops: one whose products align titles with pictures, one to be told by labels.

As myntra_align.py, with the shops of shops.py: no class is learnt, so the labels of
the shop that is tested need not be those of the other one. Its leaves are found by the
text of their path: python -m hsjax.evaluate --zero_shot=path (paper_b_zero.jsonl).
"""

from ml_collections import ConfigDict

from configs.fashion import myntra_align, shops


def get_config() -> ConfigDict:
    return shops.on_shops(myntra_align.get_config())
