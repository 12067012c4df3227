"""What has to be read, and how it is decoded, so that pictures can be damaged.

A run on cached features never sees a picture, and its damaged ones are in no store.
"""

from hsjax.batch import IMAGE
from hsjax.data.corrupt import read_corruption
from hsjax.data.corrupt_image import IMAGE_DAMAGE
from hsjax.data.features import stores_of
from hsjax.data.store import store_facts


def damages_pictures(corrupt: str) -> bool:
    """Must pictures be at hand for this damage?"""
    damages = read_corruption(corrupt) if corrupt else ()
    return any(damage.name in IMAGE_DAMAGE for damage in damages)


def reading(config):
    """A run's config to read pictures by, also where features stand for them."""
    stored = stores_of(config).get(IMAGE)
    config = config.copy_and_resolve_references().unlock()
    config.data.features[IMAGE] = ""
    config.data.image.cache &= not stored  # whose encoder wants them encoded
    return config.lock()


def damage_look(config):
    """How pictures are decoded to be damaged: as the model or its encoder sees them."""
    look = config.data.image.copy_and_resolve_references().unlock()
    if folder := stores_of(config).get(IMAGE):
        seen = store_facts(folder)["preprocessing"]
        look.resize, look.resample = tuple(seen["resize"]), seen["resample"]
    return look.lock()
