"""Data-flow diagrams of the models with a prior, as they are trained and as they code.

The graphs are data: names of nodes where they lie, and paths, put together from parts as the models are. All share
the transforms of Balle et al. 2017; Balle et al. 2018 add the side information z; Minnen et al. 2018 and
He et al. 2021 add the context; He et al. 2022 let it see earlier slices, too. `drawing` draws any of them.
"""

from itertools import pairwise

import torch

from codec_lib import registry
from codec_lib.coding.order import WAVEFRONT
from codec_lib.errors import Unsupported
from codec_lib.evaluation.drawing import KINDS, Edge, Figure, Graph, Node, draw
from codec_lib.networks import models
from codec_lib.rates import LMBDAS

_LABELS = {
    "tensor": {
        "x": "$x$", "x_hat": r"$\hat{x}$", "y": "$y$", "y_noisy": r"$\tilde{y}$", "y_hat": r"$\hat{y}$",
        "symbols": r"$\hat{y}$", "z": "$z$", "z_noisy": r"$\tilde{z}$", "z_hat": r"$\hat{z}$",
        "mu": r"$\mu$", "sigma": r"$\sigma$", "mu_sigma": r"$\mu,\,\sigma$",
    },
    "network": {"g_a": "$g_a$", "g_s": "$g_s$", "h_a": "$h_a$"},
    "exact": {"h_s": "$h_s$", "context": "context\n5×5", "parameters": "entropy\nparameters"},
    "quantiser": {"round": "round", "round_z": "round", "add": r"$s+\mu$"},
    "noise": {"noise": "$+u$", "noise_z": "$+u$"},
    "density": {
        "density": r"$p(\tilde{y})$", "density_z": r"$p(\tilde{z})$",
        "tables": "tables\n$p(\\hat{y})$", "tables_z": "tables\n$p(\\hat{z})$",
    },
    "coder": {"AE": "AE", "AE_z": "AE", "AD": "AD", "AD_z": "AD"},
    "cost": {"D": "$D$", "R_y": "$R_y$", "R_z": "$R_z$", "loss": "$R_y+$\n$\\lambda\\,255^2 D$"},
    "file": {"file": ".cbk"},
}  # fmt: skip
"""Kind of a node -> its name -> its label, where a part has no other; at the decoder the name ends in _dec."""


def _part(row: int, layout: str, paths: str, frames: tuple[str, ...] = (), **labels: str) -> Graph:
    """A graph from text.

    Args:
        row: of the first line of the layout.
        layout: the names of the nodes as they lie, a dot where there is none; one reaches over all places of its name.
        paths: on each line the nodes that arrows lead along, after their route and a colon where it is not straight.
        frames: the names of nodes that are framed together.
        labels: name -> what stands in the place of its label of `_LABELS`.
    """
    looks = {name: (labels.get(name, of[name]), kind) for kind, of in _LABELS.items() for name in of}
    nodes: dict[str, Node] = {}
    for y, line in enumerate(layout.splitlines(), row):
        for x, name in enumerate(line.split()):
            if name in nodes:
                first = nodes[name]
                ends = {"to_column": x} if y == first.row else {"to_row": y}
                nodes[name] = first._replace(**ends)
            elif name != ".":
                nodes[name] = Node(*looks[name.removesuffix("_dec").removesuffix("_enc")], x, y)
    edges: list[Edge] = []
    for line in paths.splitlines():
        route, _, names = line.rpartition(":")
        edges += [Edge(*pair, route.strip() or "straight") for pair in pairwise(names.split())]
    return Graph(nodes, tuple(edges), tuple(tuple(names.split()) for names in frames))


_GAUSSIAN = "tables\n$\\mathcal{N}(0,\\sigma^2)$"
_SLICES = "contexts\n5×5, 3×3"
"""Around a position in its own slice, and in earlier ones."""

_TRAINING = _part(
    0,
    """x g_a y .     .       . round y_hat   g_s x_hat D
       .  .  . noise y_noisy . .     density R_y .     loss""",
    """x g_a y round y_hat g_s x_hat D loss
       over: x D
       vh: y noise
       noise y_noisy density R_y loss""",
)
_TRAINING_SIDE = _part(
    1,
    """. . .   .       .       .         . . .   . loss
       . . h_a
       . . z   round_z z_hat   h_s
       . . .   noise_z z_noisy density_z . . R_z""",
    """y h_a z round_z z_hat h_s
       vh: z noise_z
       noise_z z_noisy density_z R_z
       hv: R_z loss""",
    loss="$R_y+R_z+$\n$\\lambda\\,255^2 D$",
)
_TRAINING_SCALE = _part(
    1,
    """. . . . . .     . density
       . . . . . sigma""",
    """h_s sigma
       hv: sigma density""",
    density=r"$\mathcal{N}(0,\sigma^2)$",
)
_TRAINING_CONTEXT = _part(
    0,
    """. . . . .       .          round
       . . . . .       .          .        density
       . . . . context parameters mu_sigma""",
    """y_noisy context parameters mu_sigma round
       h_s parameters
       hv: mu_sigma density""",
    density=r"$\mathcal{N}(\mu,\sigma^2)$",
    round=r"$\lfloor y-\mu\rceil+\mu$",
)
_TRAINING_SLICES = _part(2, ". . . . context", "", context=_SLICES)

_CODING = _part(
    0,
    """x g_a y . round symbols AE     file AD         . . y_hat g_s x_hat
       . .   . . .     .       tables file tables_dec""",
    """x g_a y round symbols AE file AD
       tables AE
       tables_dec AD
       y_hat g_s x_hat""",
)
_CODING_PLAIN = _part(0, "", "AD y_hat")
"""Without means the symbols are y_hat."""
_CODING_SIDE = _part(
    0,
    """. . .   .       .     . .        file
       . . .   .       .     . tables   file tables_dec
       . . .   .       .     . .        file
       . . h_a .       h_s   . tables_z file tables_z_dec . h_s_dec
       . . z   round_z z_hat . AE_z     file AD_z         . z_hat_dec""",
    """y h_a z round_z z_hat AE_z file AD_z z_hat_dec h_s_dec
       z_hat h_s
       tables_z AE_z
       tables_z_dec AD_z""",
    tables=_GAUSSIAN,
)
_CODING_SCALE = _part(
    1,
    ". . . . sigma . . . . . sigma_dec",
    """h_s sigma tables
       h_s_dec sigma_dec tables_dec""",
)
_CODING_CONTEXT = _part(
    0,
    """. . . round     round      symbols .     . .         symbols_dec add
       . . . y_hat_enc mu         .       .     . .         .           mu_dec
       . . . context   parameters .       sigma . sigma_dec .           parameters_dec context_dec""",
    """round y_hat_enc context parameters mu round
       h_s parameters sigma tables
       AD symbols_dec add y_hat context_dec parameters_dec mu_dec add
       h_s_dec parameters_dec sigma_dec tables_dec""",
    frames=(
        "round symbols AE tables y_hat_enc mu context parameters sigma",
        "AD tables_dec symbols_dec add y_hat mu_dec context_dec parameters_dec sigma_dec",
    ),
    round="$s=\\lfloor y-\\mu\\rceil$\n$\\hat{y}=s+\\mu$",
    symbols="$s$",
)
_CODING_SLICES = _part(2, ". . . context . . . . . . . context_dec", "", context=_SLICES)

_PARTS = {
    (True, "factorized"): (_TRAINING,),
    (True, "hyperprior"): (_TRAINING, _TRAINING_SIDE, _TRAINING_SCALE),
    (True, "joint"): (_TRAINING, _TRAINING_SIDE, _TRAINING_CONTEXT),
    (True, "space-channel"): (_TRAINING, _TRAINING_SIDE, _TRAINING_CONTEXT, _TRAINING_SLICES),
    (False, "factorized"): (_CODING, _CODING_PLAIN),
    (False, "hyperprior"): (_CODING, _CODING_PLAIN, _CODING_SIDE, _CODING_SCALE),
    (False, "joint"): (_CODING, _CODING_SIDE, _CODING_CONTEXT),
    (False, "space-channel"): (_CODING, _CODING_SIDE, _CODING_CONTEXT, _CODING_SLICES),
}


def data_flow(model: str, training: bool) -> Figure:
    """The data flow of a model; columns and rows as the graph has them, evenly spread over the figure.

    In training, y plus uniform noise u is what the densities and the context see, and its bits are the
    rate; g_s and h_s see values rounded, with the gradient passed straight through. In testing, symbols are
    coded to a file and decoded from it, with tables that both sides have; those of a Gaussian are chosen by
    networks in exact integers. Not drawn: how h_a sees y on a logarithmic scale. `Unsupported` if no model has that
    name, or no parts stand here for it.
    """
    registry.entry(model)  # which refuses what is none
    key = training, "joint" if model == "checkerboard" else model  # they differ in their order alone
    if key not in _PARTS:
        raise Unsupported(f"There is no diagram of the {model} model; one is a line of parts in {__name__}.")
    first, *more = _PARTS[key]
    graph = sum(more, first)
    if training:  # where networks work in floating point
        nodes = {n: v._replace(kind="network") if v.kind == "exact" else v for n, v in graph.nodes.items()}
        graph = Graph(nodes, graph.edges)
        return draw(graph, f"{model}, training", KINDS | {"quantiser": "rounding, straight-through"})
    return draw(graph, f"{model}, testing", halves=("file", "encoder", "decoder"), loop=_loop(model))


def _loop(model: str) -> str:
    """What the frame of a context model says: the groups of a picture of Kodak, 768 x 512."""
    with torch.random.fork_rng(devices=[]):
        prior = models.make(model, "compact", LMBDAS[0])
    side = prior.downscale
    n = len(prior.times(512 // side, 768 // side).unique())
    if prior.order is WAVEFRONT:
        return f"loop over {n} wavefront groups (768×512)"
    return f"loop over {n} groups: " + ("two for each slice" if n > 2 else "anchors, then rest")
