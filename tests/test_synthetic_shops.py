"""Drawn shops of the synthetic catalogue: a dial of how far apart they are."""

from collections import Counter

import numpy as np
import pytest
from tiny import data_config

from hsjax.data import synthetic
from hsjax.data.pixels import decode_image
from hsjax.data.titles import KIND_WORDS, SHOPS, shop_styles


def listings(shops, style, products=400, **changes):
    config = data_config(products)
    config.synthetic.shops, config.synthetic.style = shops, style
    config.synthetic.update(changes)
    return list(synthetic.listings(config))


def words_of(items, shop):
    """Words for kinds that a shop uses, by kind."""
    lexicon = {w: (k, w) for k, words in KIND_WORDS.items() for w in words}
    found = [w for i in items if i.shop == shop for w in i.title.lower().split()]
    return Counter(lexicon[w] for w in found if w in lexicon)


def test_far_shops_have_a_word_of_their_own_and_near_ones_share_all():
    far, near = listings(2, 1.0), listings(2, 0.0)
    for shop in ("shop00", "shop01"):
        kinds = [kind for kind, _ in words_of(far, shop)]
        assert len(kinds) == len(set(kinds)), "always the same word"
        assert max(Counter(kind for kind, _ in words_of(near, shop)).values()) == 3
    one, other = (set(words_of(far, shop)) for shop in ("shop00", "shop01"))
    assert one != other


def test_the_truth_is_the_same_at_every_distance_and_for_any_number_of_shops():
    def truth(items):
        return [(i.product, i.leaf, i.observed, i.colour) for i in items]

    cases = [(1, 0.3), (2, 1.0), (2, 0.3), (16, 1.0), (16, 0.0)]
    once = truth(listings(1, 1.0, 60, duplicates=0.0))  # as configs/synthetic_shops.py
    assert [product for product, *_ in once] == [*range(60)]
    for case in cases:
        assert truth(listings(*case, 60, duplicates=0.0)) == once, case
    # which products are listed twice is another draw with more shops to list them
    for case in cases:
        twice = truth(listings(*case, 60, duplicates=0.5))
        assert len(twice) > 60
        assert all(once[product] == (product, *rest) for product, *rest in twice), case
    assert truth(listings(1, 0.3, 60)) == truth(listings(1, 1.0, 60))
    for _, style in ((0, 1.0), (0, 0.0)):
        assert listings(0, style, 60) == listings(0, 1.0, 60), (
            "named shops have no dial"
        )
    assert {i.shop for i in listings(16, 1.0)} == set(shop_styles(16, 1.0))


def test_more_shops_begin_with_the_fewer():
    few, many = shop_styles(2, 0.5), shop_styles(16, 0.5)
    assert {name: many[name] for name in few} == few
    assert shop_styles(0, 0.5) == SHOPS


def test_light_grows_with_the_distance():
    def mean(style):
        items = [i for i in listings(1, style, 40) if i.image]
        pictures = [
            decode_image(i.image, resize=(48, 48), max_pixels=9999) for i in items
        ]
        return np.mean(pictures, axis=(0, 1, 2))

    plain = mean(0.0)
    gaps = [np.abs(mean(x) - plain).max() for x in (0.5, 1.0)]
    assert 2 < gaps[0] < gaps[1]
    light = np.array(shop_styles(1, 1.0)["shop00"].light)
    assert mean(1.0) / plain == pytest.approx(light, rel=0.08)
