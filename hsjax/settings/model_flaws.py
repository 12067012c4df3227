"""What of a config's model cannot be built or asked together, in sentences."""

from ml_collections import ConfigDict

from hsjax.batch import IMAGE
from hsjax.expected_cost import COST

OF_PUBLISHED = {"published", "random"}  # settings of the shared text tower alone
# names in the classifier, beside a tower per modality
MODULES = ("text", "fusion", "head", "views", "temperature")


def fusion_flaws(config) -> list[tuple[bool, str]]:
    """What fusion, head and objective cannot be together."""
    model, objective = config.model, config.objective
    fusion, names = model.fusion, tuple(model.modalities)
    raw = IMAGE in names and not config.data.features.to_dict().get(IMAGE)
    two, pulled = config.data.image.views == 2, bool(objective.self_supervised)
    attends = fusion.kind == "attention"
    bare = [x for x in ("text", IMAGE) if model[x].random and not model[x].published]
    return [
        (
            bool(bare),
            f"model.{'/'.join(bare)}.random is of an encoder's shape: name the encoder"
            " in published beside it",
        ),
        (
            pulled and not (raw and two and config.data.image.augment),
            "objective.self_supervised pulls two views of a picture together: set"
            " data.image.views=2 and data.image.augment, and no data.features.image",
        ),
        (
            two and not pulled,
            "data.image.views is 2, and nothing reads the second view: set"
            " objective.self_supervised, or leave it at 1",
        ),
        (
            model.attention == "cudnn" and model.dtype != "bfloat16",
            "model.attention is 'cudnn', whose kernels are of half precision: set"
            " model.dtype=bfloat16, or leave it at auto",
        ),
        (
            attends and (IMAGE not in names or len(names) < 2),
            "model.fusion.kind is 'attention', by which texts look at pictures; "
            f"model.modalities is {names}",
        ),
        (
            fusion.of == "feature" and fusion.kind == "product" and len(names) > 1,
            "model.fusion.kind is 'product', which multiplies vectors of one width;"
            " set model.fusion.of to joint",
        ),
        *_head_flaws(config),
    ]


def edition_flaws(config) -> list[tuple[bool, str]]:
    """What labels of several editions cannot be without."""
    tables, objective = config.taxonomy.correlation, config.objective
    masked = (objective.mask, objective.mask_on) != ("true", "logits")
    column = config.data.columns.edition
    return [
        (
            bool(column) and not tables,
            f"data.columns.edition is {column!r}, and no table says what codes of"
            " another edition became: name it in taxonomy.correlation",
        ),
        (
            bool(tables) and not config.taxonomy.path,
            "taxonomy.correlation leads to the codes of one edition: name its tree in"
            " taxonomy.path",
        ),
        (
            config.init_classes == "predecessors" and not (config.init_from and tables),
            "init_classes is 'predecessors', and nothing says of which run, or what"
            " came from what: name them in init_from and taxonomy.correlation",
        ),
        (
            config.init_classes == "predecessors" and config.model.head.kind == "flat",
            "init_classes is 'predecessors', which a flat head cannot: its new leaves"
            " stay fresh",
        ),
        (
            bool(tables) and masked,
            f"objective.mask is {objective.mask!r}, objective.mask_on"
            f" {objective.mask_on!r}: of several admissible classes (taxonomy"
            ".correlation) only the tree distribution has a probability; leave them at"
            " 'true' and 'logits'",
        ),
    ]


def cost_flaws(config) -> list[tuple[bool, str]]:
    """Who cannot answer by the costs of mistakes."""
    asked, path = config.eval.decode == COST, config.eval.cost_matrix
    return [
        (
            asked and not path,
            f"eval.decode is {COST!r}, whose costs stand in a file: name it in"
            " eval.cost_matrix, or take 'distance', the distance in the tree",
        ),
        (
            bool(path) and config.task == "baseline",
            "eval.cost_matrix is for trained models: a baseline has one decode",
        ),
    ]


def _head_flaws(config) -> list[tuple[bool, str]]:
    """What head and objective cannot be together."""
    model, objective = config.model, config.objective
    masked = (objective.mask, objective.mask_on) != ("true", "logits")
    return [
        (
            model.head.feed == "logits" and bool(model.head.labels),
            "model.head.feed is 'logits', and of label texts (model.head.labels) those"
            " of classes without examples are no numbers in training: feed"
            " probabilities",
        ),
        (
            masked and bool(objective.logit_adjustment or objective.class_balance),
            "objective.logit_adjustment and class_balance count rows among siblings:"
            " leave objective.mask and mask_on at true and logits",
        ),
        (
            masked and model.head.kind == "flat",
            "objective.mask and mask_on are of the hierarchical head; leave them at"
            " true and logits for model.head.kind=flat, which has one softmax",
        ),
    ]


def stream_flaws(config) -> list[str]:
    """Why the text streams of a whole config cannot be built, a sentence per stream."""
    shared, flaws = config.model.text, []
    settings = {k for k, v in shared.items() if not isinstance(v, ConfigDict)}
    stored = {m for m, folder in config.data.features.items() if folder}
    for name in config.data.text.streams:
        own = name in shared and name not in settings
        alone = own or name in stored  # it has modules of its own name
        if name == IMAGE or name in settings or (alone and name in MODULES):
            flaws.append(
                f"data.text.streams: the name {name!r} is taken; choose another"
            )
        elif own and (missing := settings - OF_PUBLISHED - set(shared[name])):
            flaws.append(f"model.text.{name} lacks {', '.join(sorted(missing))}")
        elif own and "published" in shared[name] and shared[name].published:
            flaws.append(
                f"model.text.{name}.published: a stream with settings of its own is"
                " trained from scratch; model.text.published is for all the others"
            )
    return flaws
