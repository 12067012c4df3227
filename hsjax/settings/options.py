"""The words, numbers and rules that keys of a config may hold."""

from hsjax.baselines.fitting import BASELINES
from hsjax.baselines.text import ANALYZERS
from hsjax.data.augment import STRENGTHS
from hsjax.decodes import DECODES
from hsjax.expected_cost import COST
from hsjax.features.cluster import FILTERS
from hsjax.features.cluster_count import CRITERIA, LINKAGES
from hsjax.features.cluster_methods import METHODS
from hsjax.losses import CONTRASTS, FORMS
from hsjax.losses.masks import MASKED, MASKS
from hsjax.models.attention import ATTENTIONS
from hsjax.models.depth import REMATS
from hsjax.models.fusion import FUSIONS
from hsjax.models.head import FEEDS, HEADS
from hsjax.models.joint import STARTS
from hsjax.models.scratch_towers import IMAGE_ENCODERS
from hsjax.sharding import AXES

# what `data` reads is checked there, beside the catalogue
CHOICES = {
    "init_classes": ("fresh", "predecessors"),
    "taxonomy.stop": ("data", "all"),
    "data.image.augment": ("", *STRENGTHS),
    "model.dtype": ("float32", "bfloat16"),
    "model.attention": ATTENTIONS,
    "model.remat": tuple(REMATS),
    "model.absent": ("token", "zeros"),
    "model.joint_start": tuple(STARTS),
    "model.text.pool": ("", "cls", "mean", "max", "eot", "map"),
    "model.image.family": tuple(IMAGE_ENCODERS),
    "model.image.stem": ("small", "strided", "large"),
    "model.image.block": ("basic", "bottleneck"),
    "model.image.norm": ("group", "batch"),
    "model.image.pool": ("", "cls", "mean", "max", "map", "fc7"),
    "model.fusion.kind": tuple(FUSIONS),
    "model.fusion.norm": ("layer", "raw"),
    "model.fusion.of": ("joint", "feature"),
    "model.head.kind": tuple(HEADS),
    "model.head.label_mix": ("tower", "both"),
    "model.head.norm": ("layer", "batch", "none"),
    "model.head.feed": FEEDS,
    "objective.level_reduction": ("sum", "mean"),
    "objective.mask": MASKS,
    "objective.mask_on": MASKED,
    "objective.contrastive_kind": tuple(CONTRASTS),
    "objective.contrastive_form": tuple(FORMS),
    "objective.negatives": ("all", "branch", "every"),
    "objective.direction": ("both", "t2i", "i2t"),
    "optim.name": ("adamw", "adam"),
    "optim.schedule": ("cosine", "constant", "linear"),
    "eval.decode": (*DECODES, COST),
    "baseline.kind": tuple(BASELINES),
    "baseline.analyzer": ANALYZERS,
    "extract.dtype": ("float32", "bfloat16"),
    "recategorize.method": tuple(METHODS),
    "recategorize.filter": FILTERS,
    "recategorize.linkage": LINKAGES,
    "recategorize.choice": CRITERIA,
    "extract.stored": ("float16", "float32"),
}

# in words and as a test
NOT_NEGATIVE = ("0 or more", lambda x: x >= 0)
POSITIVE = ("above 0", lambda x: x > 0)
COUNT = ("1 or more", lambda x: x >= 1)
MOMENT = ("0 or more and below 1", lambda x: 0 <= x < 1)
SHARE = ("from 0 to 1", lambda x: 0 <= x <= 1)
SEED = ("0 or more and below 2 ** 32", lambda x: 0 <= x < 2**32)
LENGTH = ("3 or more: two tokens mark the ends of a text", lambda x: x >= 3)

# what a number, or each of several, must be
NUMBERS = {
    "seed": SEED,
    "data.batch_size": COUNT,
    "data.threads": COUNT,
    "data.workers": NOT_NEGATIVE,
    "data.prefetch": COUNT,
    "data.weighted_sampling": NOT_NEGATIVE,
    "data.synthetic.products": COUNT,
    "data.synthetic.seed": SEED,
    "data.synthetic.shops": ("0 to 99", lambda x: 0 <= x < 100),
    "data.synthetic.style": SHARE,
    "data.synthetic.missing_text": SHARE,
    "data.synthetic.missing_image": SHARE,
    "data.synthetic.duplicates": SHARE,
    "data.text.length": LENGTH,
    "data.text.buckets": LENGTH,
    "data.text.word_drop": SHARE,
    "data.text.name_drop": SHARE,
    "data.text.vocab_size": COUNT,
    "data.image.size": COUNT,
    "data.image.max_pixels": COUNT,
    "data.shots": NOT_NEGATIVE,
    "data.image.views": ("1 or 2", lambda x: x in (1, 2)),
    "taxonomy.digits": COUNT,
    "taxonomy.min_products": NOT_NEGATIVE,
    "model.joint_width": COUNT,
    "model.view_width": COUNT,
    "model.modality_dropout": SHARE,
    "model.modality_dropout_image": ("at most 1; below 0 = the same", lambda x: x <= 1),
    "model.text.width": COUNT,
    "model.text.depth": NOT_NEGATIVE,
    "model.text.mlp": COUNT,
    "model.text.dropout": SHARE,
    "model.text.bag": NOT_NEGATIVE,
    "model.text.bag_dropout": SHARE,
    "model.text.heads": COUNT,
    "model.image.dropout": SHARE,
    "model.image.std": POSITIVE,
    "model.image.stages": COUNT,
    "model.image.widths": COUNT,
    "model.image.width": COUNT,
    "model.image.depth": COUNT,
    "model.image.mlp": COUNT,
    "model.image.heads": COUNT,
    "model.image.patch": COUNT,
    "model.fusion.width": COUNT,
    "model.fusion.joint": NOT_NEGATIVE,
    "model.fusion.heads": COUNT,
    "model.head.width": NOT_NEGATIVE,
    "model.head.level_width": NOT_NEGATIVE,
    "model.head.dropout": SHARE,
    "objective.classification": NOT_NEGATIVE,
    "objective.contrastive": NOT_NEGATIVE,
    "objective.self_supervised": NOT_NEGATIVE,
    "objective.self_temperature": POSITIVE,
    "model.head.label_dropout": SHARE,
    "model.head.label_width": COUNT,
    "objective.class_balance": ("0 or more and below 1", lambda x: 0 <= x < 1),
    "objective.logit_adjustment": NOT_NEGATIVE,
    "objective.tree_softness": SHARE,
    "objective.contrastive_chunk": COUNT,
    "objective.hardest": NOT_NEGATIVE,
    "objective.temperature": POSITIVE,
    "objective.max_scale": POSITIVE,
    "optim.learning_rate": NOT_NEGATIVE,
    "optim.final": NOT_NEGATIVE,
    "optim.b1": MOMENT,
    "optim.b2": MOMENT,
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.clip": NOT_NEGATIVE,
    "optim.warmup": SHARE,
    "optim.layer_decay": ("above 0, at most 1", lambda x: 0 < x <= 1),
    "train.steps": NOT_NEGATIVE,
    "train.log_every": COUNT,
    "train.eval_every": NOT_NEGATIVE,
    "train.checkpoint_every": NOT_NEGATIVE,
    "train.patience": NOT_NEGATIVE,
    "train.ema": MOMENT,
    "train.data_devices": NOT_NEGATIVE,
    "train.fsdp_devices": COUNT,
    "train.tensor_devices": COUNT,
    "train.processes": ("-1 or more", lambda x: x >= -1),
    "train.process": ("-1 or more", lambda x: x >= -1),
    "train.join_timeout": ("5 or more", lambda x: x >= 5),
    "train.lost_after": ("5 or more", lambda x: x >= 5),
    "train.micro_batches": COUNT,
    "eval.batch_size": COUNT,
    "eval.topk": COUNT,
    "eval.gallery_size": COUNT,
    "eval.bootstrap": NOT_NEGATIVE,
    "baseline.ngrams": COUNT,
    "baseline.penalty": POSITIVE,
    "baseline.neighbours": COUNT,
    "extract.length": COUNT,
    "harden.words": COUNT,
    "harden.share": ("above 0, at most 1", lambda x: 0 < x <= 1),
    "harden.seed": NOT_NEGATIVE,
    "prepare.rows_per_shard": COUNT,
    "prepare.connections": COUNT,
    "prepare.retries": NOT_NEGATIVE,
    "prepare.timeout": POSITIVE,
    "prepare.deadline": POSITIVE,
    "prepare.max_bytes": COUNT,
    "recategorize.keep": NOT_NEGATIVE,
    "recategorize.truth": NOT_NEGATIVE,
    "recategorize.components": COUNT,
    "recategorize.known": SHARE,
    "recategorize.sample": ("100 or more", lambda x: x >= 100),
    "recategorize.filter_clusters": COUNT,
    "recategorize.filter_share": ("above 0, at most 1", lambda x: 0 < x <= 1),
    "recategorize.neighbours": ("2 or more", lambda x: x >= 2),
    "recategorize.dimensions": ("2 or more", lambda x: x >= 2),
    "recategorize.min_dist": SHARE,
    "recategorize.levels": COUNT,
    "recategorize.clusters": ("2 or more", lambda x: x >= 2),
    "recategorize.max_clusters": ("2 or more", lambda x: x >= 2),
    "recategorize.min_size": ("2 or more", lambda x: x >= 2),
    "recategorize.min_stability": ("from -1 to 1", lambda x: -1 <= x <= 1),
    "recategorize.resamples": NOT_NEGATIVE,
    "recategorize.names": COUNT,
    "recategorize.shown": COUNT,
    "extract.tokens": NOT_NEGATIVE,
    "extract.rows": COUNT,
}

# how many numbers a tuple has
TUPLES = {
    "data.image.size": 2,
    "data.image.resize": 2,
    "model.image.mean": 3,
    "model.image.std": 3,
    "baseline.ngrams": 2,
    "extract.size": 2,
}

AXIS_RULE = (
    f"(axis of {' | '.join(AXES)} | None, ...)",
    lambda axes: not isinstance(axes, str) and {*axes} <= {*AXES, None},
)

# rules on names: what follows the regex, in words and as a test
RULES = {
    "init_rules": ("load | fresh", lambda action: action in ("load", "fresh")),
    "optim.rules": (
        "multiplier of 0 or more, True | False",
        lambda times, decay: times >= 0 and isinstance(decay, bool),
    ),
    "train.sharding": AXIS_RULE,
    "train.activations": AXIS_RULE,
}
