"""Every key of an experiment, once, with its default and one comment.

An experiment is a file whose `get_config()` takes this one and changes a few lines.
Groups follow the flow of the data: data, taxonomy, model, objective, optim, train, eval.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.task = "train"  # what is done: train | check | baseline | explore | prepare | extract | harden | recategorize
    config.seed = 0  # of parameters, order, augmentation and dropout, not of splits
    config.init_from = placeholder(str)  # WORKDIR whose best parameters start this run
    config.init_rules = ((".*", "load"),)  # (regex on parameter names, load | fresh)
    config.init_classes = "fresh"  # new classes of init_from: fresh | predecessors (the mean of what they came from by taxonomy.correlation)
    config.data = data()
    config.taxonomy = taxonomy()
    config.model = model()
    config.objective = objective()
    config.optim = optim()
    config.train = train()
    config.eval = evaluation()
    config.extract = extract()
    config.baseline = baseline()
    config.harden = harden()
    config.prepare = prepare()
    config.recategorize = recategorize()
    config.lock()  # a misspelt key of an experiment is an error
    for names in (config.data.text.streams, config.data.text.lengths):
        names.unlock()
    config.data.features.unlock()
    return config


def data() -> ConfigDict:
    c = ConfigDict()
    c.path = "synthetic"  # a .parquet, .csv, .tsv or .jsonl file, a folder of task=prepare or of TFDS, or `synthetic`
    c.rows = placeholder(int)  # read only the first so many rows
    c.required = ()  # of (text stream | image | label): rows without it are dropped
    c.batch_size = 128  # global, over all devices
    c.weighted_sampling = 0.0  # weight of a draw: 1 / leaf frequency ** this
    c.threads = 2  # that assemble batches ahead of the step
    c.workers = 0  # processes that assemble batches; 0 = threads only
    c.prefetch = 8  # batches kept ready

    c.synthetic = ConfigDict()
    c.synthetic.products = 6000  # how many are drawn
    c.synthetic.seed = 0  # of the synthetic catalogue alone
    c.synthetic.missing_text = 0.05  # share of products without a title
    c.synthetic.missing_image = 0.05  # share of products without a picture
    c.synthetic.duplicates = 0.05  # share of products listed again by another shop
    c.synthetic.shops = 0  # how many write titles and light pictures each in a style of its own; 0 = four with names
    c.synthetic.style = 1.0  # of these, how far apart: 0 (all alike) to 1

    c.columns = ConfigDict()
    c.columns.id = ""  # '' = the row number
    c.columns.text = ("title",)  # columns read as text
    c.columns.image = ""  # bytes, base64, a path below image_root, or a web address (that task=prepare fetches); '' = none
    c.columns.label = ()  # one code or path column, or level columns, coarsest first
    c.columns.label_kind = "code"  # code (HS digits) | path | levels | node (of a tree)
    c.columns.separator = " > "  # between the parts of a path label
    c.columns.blank_level = "unknown"  # a label that ends early: stop | unknown (below)
    c.columns.group = ""  # never divided by a split; '' = equal title or equal image
    c.columns.platform = ""  # the shop
    c.columns.date = ""  # ISO date, for splits by time
    c.columns.split = ""  # official split: train | val | test
    c.columns.edition = ""  # in which edition of taxonomy.correlation a row's label is written; '' = the tree's own, as is an empty field
    c.columns.metadata = ()  # columns carried along
    c.image_root = ""  # folder of image paths; '' = the folder of the catalogue
    c.label_map = ""  # CSV with the columns native,label: applied while loading

    c.split = ConfigDict()
    c.split.by = "group"  # group | row | platform | date | column
    c.split.fractions = (0.70, 0.15, 0.15)  # train, val, test
    c.split.seed = 0  # of the assignment alone
    c.split.test_platforms = ()  # by = platform: these shops are the test part
    c.split.val_from = ""  # by = date: first day of validation
    c.split.test_from = ""  # by = date: first day of test
    c.train_share = 1.0  # of each leaf's training rows that are learnt from, in whole groups, at least one; drawn by split.seed
    c.shots = 0  # of each leaf's training rows, so many are learnt from at most, and validated on, in whole groups; 0 = all
    c.label_share = 1.0  # likewise of these, how many keep their label; the others' text and image still align
    c.leave_out = ()  # nodes that are to have no example in training and validation: codes of any level, or FILE.csv (code)
    c.label_source = ""  # where the labels are from, told by every report: 'weak: mapped from article types'

    c.text = ConfigDict()
    c.text.streams = ConfigDict({"title": ("title",)})  # stream -> columns, by ' ; '
    c.text.length = 32  # tokens of a stream, longer texts are cut
    c.text.lengths = ConfigDict()  # stream -> another length
    c.text.buckets = ()  # lengths, ascending up to the longest: each batch is of texts of one, padded no further; () = all as long
    c.text.tokenizer = "train"  # train | a directory | a hub name | published (of model.text.published, where train means it, too)
    c.text.kind = "wordpiece"  # of a trained tokenizer: wordpiece | bpe
    c.text.vocab_size = 4000  # of a trained tokenizer
    c.text.lowercase = True  # before a trained tokenizer
    c.text.name_drop = 0.0  # in training each word that fewer than 1 in 1,000 texts have, such as a name, is lost with this probability
    # half of the training texts lose a share of words, drawn from 0 to this
    c.text.word_drop = 0.0  # largest share of lost words

    # modality -> folder of a feature store that replaces it; a config file may add the
    # keys of other streams, and what is no modality of the model is not read
    c.features = ConfigDict()
    c.features.title = ""  # '' = raw titles
    c.features.image = ""  # '' = raw pictures

    # with model.image.published both are the encoder's own, where both stay as here (or
    # are (0, 0)); set either, and the position embeddings follow
    c.image = ConfigDict()
    c.image.resize = (36, 36)  # (height, width) of the decoded, kept picture
    c.image.size = (32, 32)  # (height, width) of the crop that the model sees
    c.image.flip = True  # random horizontal flip in training
    c.image.crop = True  # random crop in training; otherwise central
    c.image.augment = ""  # low | middle | high: in place of both, SimCLR's crops, colours and blur at this strength
    c.image.views = 1  # of a picture in a batch; 2 for objective.self_supervised
    c.image.cache = True  # keep decoded pictures in memory; those of a prepared folder are read when needed
    c.image.max_pixels = 50_000_000  # larger pictures are refused as bombs
    return c


def taxonomy() -> ConfigDict:
    c = ConfigDict()
    c.path = ""  # taxonomy.json, .csv (code,name[,parent]) or .txt (a path a line); '' = from training rows
    c.kind = "codes"  # of a .csv: codes (HS digits) | parents (code, parent)
    c.names = ""  # .csv (code,name) that names the codes of a tree from training rows
    c.edition = (
        ""  # free text, carried along: 'HS 2022'; taxonomy.correlation goes by it
    )
    c.correlation = ()  # .csv (from_edition,from_code,to_edition,to_code,weight,source): what codes of other editions became; needs path
    c.digits = (2, 4, 6)  # levels of an HS code
    c.stop = "data"  # STOP children where training rows end (data) or at every inner node (all)
    c.min_products = 1  # rarer leaves are cut to their parent
    return c


def model() -> ConfigDict:
    c = ConfigDict()
    c.modalities = ("title", "image")  # text streams and image, in the order of fusion
    c.dtype = "float32"  # of matrix products: float32 | bfloat16
    c.attention = "auto"  # how it is computed: auto (cudnn where a GPU takes it, else xla) | xla | cudnn (of a GPU, with dtype bfloat16)
    c.scan = False  # layers of a transformer: one program that is repeated (compiles faster); False = all in a row
    c.remat = "none"  # of a transformer's layers, computed again for the gradient to save memory: none | dots (all but matrix products) | full (all)
    c.joint_width = 128  # E: projections, and the space of the contrastive loss
    c.view_width = 128  # of the space of objective.self_supervised
    c.joint_start = "random"  # of the projections: random | identity (the encoder's own space, cut to joint_width)
    c.joint_bias = True  # of the projections; False = as transformers' dual encoders
    c.absent = "token"  # what stands for a missing modality: token (learned) | zeros
    c.modality_dropout = 0.0  # share of modalities dropped at fusion in training
    c.modality_dropout_image = -1.0  # the share of pictures; below 0 = the same

    # of all text streams; a stream with settings of its own is a group in here, added
    # inside `with config.model.text.unlocked():`
    c.text = ConfigDict()
    c.text.published = ""  # a directory or hub name (Hugging Face): its shape, weights and tokenizer; below, only dropout and pool count
    c.text.random = False  # of it the shape alone: random parameters, and the tokenizer that data.text.tokenizer says
    c.text.width = 128  # D: of tokens and of the text
    c.text.depth = 2  # transformer layers
    c.text.heads = 4  # of attention; they divide the width
    c.text.mlp = 512  # hidden width of a layer's MLP
    c.text.dropout = 0.1  # in training
    c.text.pool = ""  # cls | mean | max | eot (last token) | map (attention pooling, learned); '' = the published encoder's own, from scratch mean
    c.text.pre_norm = True  # normalise before each branch; False = BERT
    c.text.bag = 0  # width of a bag of tokens beside the transformer; 0 = none
    c.text.bag_dropout = 0.3  # of the bag, in training

    c.image = ConfigDict()
    c.image.published = ""  # likewise, with its mean, std and picture size
    c.image.random = False  # likewise
    c.image.family = "resnet"  # resnet | vit
    c.image.mean = (0.5, 0.5, 0.5)  # of pixels in 0..1
    c.image.std = (0.25, 0.25, 0.25)  # likewise
    c.image.dropout = 0.0  # in training
    c.image.stem = "strided"  # resnet: small (3x3) | strided (two 3x3, stride 4) | large (7x7, stride 4)
    c.image.block = "basic"  # resnet: basic (18) | bottleneck (50)
    c.image.stages = (1, 1, 1)  # resnet: blocks per stage
    c.image.widths = (32, 64, 128)  # resnet: channels per stage (before expansion)
    c.image.norm = "group"  # resnet: group | batch
    c.image.patch = 8  # vit
    c.image.width = 128  # vit
    c.image.depth = 4  # vit
    c.image.heads = 4  # vit
    c.image.mlp = 512  # vit
    c.image.pool = ""  # vit: cls | mean | max | map; published resnet: mean, vgg: fc7 | mean; '' as of text

    c.fusion = ConfigDict()
    c.fusion.kind = "concat"  # concat (early fusion) | gated (each part by a learned gate) | product | late (an MLP each) | late_max (an MLP of every token and cell, then their maximum) | attention (texts look at the picture's cells)
    c.fusion.norm = "layer"  # of each modality before fusion: layer | raw
    c.fusion.of = "joint"  # what is fused: joint (projections to joint_width) | feature (of the encoders)
    c.fusion.width = 256  # late: of each modality's MLP; attention: of the MLP after it
    c.fusion.joint = 0  # late, attention: of one more MLP; 0 = none
    c.fusion.heads = 4  # attention

    c.head = ConfigDict()
    c.head.kind = "hierarchical"  # hierarchical (softmax among siblings) | flat (over all leaves: no level_width, no feed)
    c.head.width = 256  # of the shared layer; 0 = none
    c.head.level_width = 0  # of the layer per level; 0 = none
    c.head.norm = "layer"  # layer | batch | none
    c.head.dropout = 0.1  # of the shared layer, in training
    c.head.feed = "probabilities"  # what finer levels see of coarser: probabilities (of the tree) | softmax (of the level alone) | logits | one_hot | none
    c.head.feed_gradient = False  # through what is fed
    # codes as text: a class without products answers from the text of its path
    c.head.labels = ""  # folder of label features (extract.modality=labels); '' = none
    c.head.label_rows = ""  # text stream of the same encoder, whose mean over a class's training rows joins its text; '' = none
    c.head.label_mix = "both"  # tower (label texts alone) | both (and learned vectors)
    c.head.label_width = 128  # of the space where products meet label texts
    c.head.label_dropout = 0.5  # both: share of rows that learn from texts alone
    return c


def objective() -> ConfigDict:
    c = ConfigDict()
    c.classification = 1.0  # weight of the hierarchical cross-entropy
    c.level_reduction = "sum"  # over present levels: sum (the path likelihood) | mean
    c.mask = "true"  # a level's softmax is over the children of: the true parent | the predicted one | soft (each as its parent is likely) | none
    c.mask_on = "logits"  # what is masked: logits (renormalised) | softmax (zeroed)
    # a long tail: both count training rows among siblings, and add to weighted_sampling
    c.class_balance = 0.0  # beta of the effective number (Cui et al.): 0 = off, .999
    c.logit_adjustment = 0.0  # tau of log p(node | parent) (Menon et al.): 0 = off, 1
    c.contrastive = 1.0  # weight of the contrastive loss; 0 = not traced at all
    c.contrastive_kind = (
        "info_nce"  # info_nce | sigmoid | supervised | tree_positives | tree_negatives
    )
    c.contrastive_form = "dense"  # how it is computed, with the same value: dense (all similarities at once) | chunked (in blocks, none of which is kept) | ring (blocks go from device to device)
    c.contrastive_chunk = 1024  # chunked, ring: pictures of a block at most
    c.contrastive_bias = -10.0  # initial, learned: of sigmoid
    c.tree_softness = 0.5  # of tree_positives and tree_negatives: 0 (as info_nce) to 1
    c.negatives = "all"  # products of other groups: all | branch (of one level 1 node) | every (row, listed twice or not)
    c.hardest = 0  # only so many most similar negatives of each anchor; 0 = all
    c.direction = "both"  # text -> image, image -> text: both | t2i | i2t
    c.self_supervised = 0.0  # weight of SimCLR's NT-Xent between two views of a picture; 0 = not traced at all
    c.self_temperature = 0.5  # of NT-Xent
    c.temperature = 0.07  # initial
    c.learn_temperature = True  # False = stays as it starts
    c.max_scale = 100.0  # clamp of 1 / temperature
    return c


def optim() -> ConfigDict:
    c = ConfigDict()
    c.name = "adamw"  # adamw | adam
    c.learning_rate = 1e-3  # at the peak
    c.schedule = "cosine"  # cosine | constant | linear
    c.warmup = 0.05  # share of the steps
    c.final = 0.01  # learning rate at the end, as a share of the peak
    c.b1 = 0.9  # decay of the first moment
    c.b2 = 0.999  # decay of the second moment
    c.weight_decay = 0.05  # decoupled, adamw only
    c.clip = 1.0  # global gradient norm; 0 = off
    c.layer_decay = 1.0  # learning rate times this per layer below the last, in towers of transformer layers; 1 = off
    c.rules = (  # first regex that matches a name: lr multiplier (0 = frozen), decay
        (r".*(bias|scale|token|position|temperature)$", 1.0, False),
        (r".*", 1.0, True),
    )
    return c


def train() -> ConfigDict:
    c = ConfigDict()
    c.epochs = 10.0  # of the training part
    c.steps = 0  # instead of epochs, where above 0
    c.log_every = 20  # steps
    c.eval_every = 0  # steps; 0 = once an epoch
    c.checkpoint_every = 0  # steps; 0 = at each evaluation
    c.monitor = "hierarchical/f1"  # or `loss`: chooses the best checkpoint
    c.patience = 0  # evaluations without a better value before stopping; 0 = off
    c.ema = 0.0  # decay of averaged parameters, after a warm-up; 0 = off
    c.micro_batches = 1  # parts that a batch is computed in, to save memory; the loss stays that of the whole batch
    c.data_devices = 0  # size of the mesh's data axis; 0 = all devices
    c.fsdp_devices = 1  # size of the mesh's fsdp axis
    c.tensor_devices = 1  # size of the mesh's tensor axis, along which layers are split
    c.sharding = (  # first regex that matches a parameter: axes of its last dimensions; its moments and averages lie alike
        (r".*/(qkv|mlp_in)/kernel", ("fsdp", "tensor")),
        (r".*/(qkv|mlp_in)/bias", ("tensor",)),
        (r".*/(out|mlp_out)/kernel", ("tensor", "fsdp")),
        (r".*kernel$", ("fsdp",)),
        (r".*", ()),
    )
    c.activations = (  # first regex that matches a module: axes of the last dimensions of what it gives, beside the batch; others as XLA likes
        (r".*/mlp_in", ("tensor",)),
        (r".*/layer\d+", ()),
    )
    # several processes, each with devices of its own, as one run; all three are set back once they have met
    c.coordinator = ""  # HOST:PORT of process 0; '' = JAX_COORDINATOR_ADDRESS, or as the cluster says
    c.processes = 0  # how many; 0 = JAX_NUM_PROCESSES, the tasks of srun or mpirun, else 1; -1 = as jax finds on a TPU pod
    c.process = (
        -1
    )  # which one this is, from 0; -1 = JAX_PROCESS_ID, or as the cluster says
    c.join_timeout = 300  # seconds until all must have come
    c.lost_after = (
        100  # seconds of silence after which a process is lost, and the others end
    )
    c.deterministic = True  # deterministic GPU kernels
    c.compile_cache = ""  # folder of compiled programs; '' = off
    c.tensorboard = True  # event files beside metrics.jsonl
    return c


def evaluation() -> ConfigDict:
    c = ConfigDict()
    c.batch_size = 256  # of validation and prediction
    c.decode = "path"  # of the predictions: path | greedy | independent | flat | distance (least expected) | cost (least expected, of cost_matrix)
    c.cost_matrix = ""  # FILE with the columns predicted,true,cost; pairs that it lacks cost their distance in the tree; '' = none
    c.topk = 5  # paths and nodes kept per row
    c.gallery_size = 1000  # retrieval: groups in the gallery
    c.bootstrap = 1000  # resamples of groups
    c.parts = ("test",)  # of the split, scored in the report
    return c


def extract() -> ConfigDict:
    c = ConfigDict()
    c.encoder = ""  # a directory or hub name in Hugging Face's layout (safetensors)
    c.modality = "title"  # what is encoded: a text stream, `image`, or `labels`, the texts of the tree's nodes
    c.pool = ""  # cls | mean | max | eot; '' = the family's own
    c.states = False  # every token (T, D), patch or cell (P, D) instead of one vector
    c.length = 128  # tokens of a text, longer ones are cut
    c.tokens = 0  # tokens of a batch of texts; 0 = 1,024 on a CPU, 4,096 elsewhere
    c.size = (0, 0)  # (height, width) of pictures; (0, 0) = of preprocessor_config.json
    c.rows = 32  # pictures of a batch
    c.dtype = "float32"  # of the encoder's matrix products: float32 | bfloat16
    c.stored = "float16"  # of the vectors on disk: float16 | float32
    c.pca = 0.0  # also store principal components, of states each, that keep this share of variance
    c.prefix = ""  # put before each text that is encoded, such as "query: " for e5
    return c


def baseline() -> ConfigDict:
    c = ConfigDict()  # of task = baseline
    c.kind = "svm"  # on TF-IDF or features: svm (linear) | nearest (training item, by cosine)
    c.analyzer = "word"  # features are of word | char_wb (characters within words)
    c.ngrams = (1, 2)  # words or characters of a feature, at least and at most
    c.penalty = 1.0  # C of the svm: of margins that are violated
    c.neighbours = 1  # of nearest: 1 = a path is as near as its nearest item; k above 1 = the k nearest of all vote
    c.features = ""  # folder of a feature store of texts or pictures: its vectors in place of TF-IDF
    c.calibrate = True  # fit a temperature on a tenth of the groups; doubles the time
    return c


def harden() -> ConfigDict:
    c = ConfigDict()
    c.words = 30  # taken out of texts: those that tell most of the leaf (mutual information, training rows)
    c.share = 1.0  # probability that a row loses such a word
    c.seed = 0  # of these draws
    return c


def prepare() -> ConfigDict:
    c = ConfigDict()
    c.rows_per_shard = 10_000  # what is made again at most, where it was cut off
    c.connections = 8  # pictures that are read or fetched at a time
    c.retries = 3  # of a web address that does not answer, is busy or breaks off
    c.timeout = 10.0  # seconds: of a connection, and of a server that says nothing
    c.deadline = 60.0  # seconds: of one whole picture
    c.max_bytes = 20_000_000  # a larger picture of a web address is refused
    c.private_addresses = False  # may a web address lead into your own network?
    c.cache = ""  # folder of fetched pictures; '' = WORKDIR/fetched
    c.builder = ""  # a public download instead of data.path: fashion_products | hm_articles | grocery_store | fashion_mnist_goods
    c.manual_dir = ""  # folder of that download, as it was unpacked
    return c


def recategorize() -> ConfigDict:
    c = ConfigDict()
    c.branch = ""  # code of a node: products below it are divided, each node where their labels end by itself
    c.keep = 0  # levels of labels that are looked at; deeper ones are hidden, as if unknown; 0 = all
    c.truth = 0  # level of the hidden labels that clusters are compared with; 0 = none
    c.joint = ""  # WORKDIR of an aligned run whose common space joins data.features of model.modalities
    c.components = 100  # principal components of each modality, at most
    c.method = "cascade"  # cascade (filter, UMAP, linkage, again below) | k_means | known_k_means | parametric (SimGCD): these three in one level, and the last two know some classes | labels (nothing is divided: what the labels are worth as they stand)
    c.known = 0.5  # share of the hidden classes that known_k_means and parametric know, by half of their products; of all methods the others' products are scored apart, too
    c.sample = 10_000  # products that clusters are found on; the others are filtered alike, and go to their nearest neighbours
    c.filter = "distance"  # what fits nowhere is left out, by: distance (to a K-means centre) | silhouette | none
    c.filter_clusters = 20  # of this K-means
    c.filter_share = 0.9  # of products that stay
    c.neighbours = 30  # of UMAP
    c.dimensions = 5  # of UMAP's space in which clusters are found
    c.min_dist = 0.0  # of UMAP
    c.linkage = "ward"  # ward | average | complete
    c.levels = 2  # further levels of the tree
    c.clusters = ()  # how many, one number for each level; () = chosen
    c.choice = "silhouette"  # chooses how many: silhouette | gap (or 1) | stability
    c.max_clusters = 12  # at most, of a node
    c.min_size = 50  # products of a cluster; smaller ones stay with the parent
    c.min_stability = 0.5  # of a number of clusters that may be chosen (adjusted Rand index between resamples of one map; another seed draws another); without one a node or cluster stays whole
    c.resamples = 10  # halves of the products, for stability and gap
    c.names = 3  # words of a name at most
    c.vocabulary = ""  # .txt of names or paths, a line each: the nearest by data.features of a text are shown
    c.shown = 8  # nearest, random and farthest products of a cluster on the review page
    return c
