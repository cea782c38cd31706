"""Data-flow diagrams of the models with a prior, as they are trained and as they code.

The graphs are data: tables of nodes and of edges, put together from parts as the models are. All share
the transforms of Balle et al. 2017; Balle et al. 2018 add the side information z; Minnen et al. 2018 and
He et al. 2021 add the context; He et al. 2022 let it see earlier slices, too. `drawing` draws any of them.
"""

from itertools import pairwise

import torch

from codec_lib import registry
from codec_lib.coding.order import WAVEFRONT
from codec_lib.evaluation.drawing import KINDS, Edge, Figure, Graph, Node, draw
from codec_lib.networks import models
from codec_lib.rates import LMBDAS


def _chain(*names: str) -> tuple[Edge, ...]:
    return tuple(Edge(*pair) for pair in pairwise(names))


_TRAINING = Graph(
    {
        "x": Node("$x$", "tensor", 0, 0),
        "g_a": Node("$g_a$", "network", 1, 0),
        "y": Node("$y$", "tensor", 2, 0),
        "round": Node("round", "quantiser", 6, 0),
        "y_hat": Node(r"$\hat{y}$", "tensor", 7, 0),
        "g_s": Node("$g_s$", "network", 8, 0),
        "x_hat": Node(r"$\hat{x}$", "tensor", 9, 0),
        "D": Node("$D$", "cost", 10, 0),
        "noise": Node("$+u$", "noise", 3, 1),
        "y_noisy": Node(r"$\tilde{y}$", "tensor", 4, 1),
        "density": Node(r"$p(\tilde{y})$", "density", 7, 1),
        "R_y": Node("$R_y$", "cost", 8, 1),
        "loss": Node("$R_y+$\n$\\lambda\\,255^2 D$", "cost", 10, 1),
    },
    (
        *_chain("x", "g_a", "y", "round", "y_hat", "g_s", "x_hat", "D", "loss"),
        Edge("x", "D", "over"),
        Edge("y", "noise", "vh"),
        *_chain("noise", "y_noisy", "density", "R_y", "loss"),
    ),
)

_TRAINING_SIDE = Graph(
    {
        "h_a": Node("$h_a$", "network", 2, 2),
        "z": Node("$z$", "tensor", 2, 3),
        "round_z": Node("round", "quantiser", 3, 3),
        "z_hat": Node(r"$\hat{z}$", "tensor", 4, 3),
        "h_s": Node("$h_s$", "network", 5, 3),
        "noise_z": Node("$+u$", "noise", 3, 4),
        "z_noisy": Node(r"$\tilde{z}$", "tensor", 4, 4),
        "density_z": Node(r"$p(\tilde{z})$", "density", 5, 4),
        "R_z": Node("$R_z$", "cost", 8, 4),
        "loss": Node("$R_y+R_z+$\n$\\lambda\\,255^2 D$", "cost", 10, 1),
    },
    (
        *_chain("y", "h_a", "z", "round_z", "z_hat", "h_s"),
        Edge("z", "noise_z", "vh"),
        *_chain("noise_z", "z_noisy", "density_z", "R_z"),
        Edge("R_z", "loss", "hv"),
    ),
)

_TRAINING_SCALE = Graph(
    {"density": Node(r"$\mathcal{N}(0,\sigma^2)$", "density", 7, 1), "sigma": Node(r"$\sigma$", "tensor", 5, 2)},
    (Edge("h_s", "sigma"), Edge("sigma", "density", "hv")),
)

_TRAINING_CONTEXT = Graph(
    {
        "round": Node("$\\lfloor y-\\mu\\rceil+\\mu$", "quantiser", 6, 0),
        "density": Node(r"$\mathcal{N}(\mu,\sigma^2)$", "density", 7, 1),
        "context": Node("context\n5×5", "network", 4, 2),
        "parameters": Node("entropy\nparameters", "network", 5, 2),
        "mu_sigma": Node(r"$\mu,\,\sigma$", "tensor", 6, 2),
    },
    (
        *_chain("y_noisy", "context", "parameters", "mu_sigma", "round"),
        Edge("h_s", "parameters"),
        Edge("mu_sigma", "density", "hv"),
    ),
)

_SLICES = "contexts\n5×5, 3×3"
"""Around a position in its own slice, and in earlier ones."""

_TRAINING_SLICES = Graph({"context": Node(_SLICES, "network", 4, 2)}, ())

_CODING = Graph(
    {
        "x": Node("$x$", "tensor", 0, 0),
        "g_a": Node("$g_a$", "network", 1, 0),
        "y": Node("$y$", "tensor", 2, 0),
        "round": Node("round", "quantiser", 4, 0),
        "symbols": Node(r"$\hat{y}$", "tensor", 5, 0),
        "AE": Node("AE", "coder", 6, 0),
        "tables": Node("tables\n$p(\\hat{y})$", "density", 6, 1),
        "file": Node(".cbk", "file", 7, 0, to_row=1),
        "AD": Node("AD", "coder", 8, 0),
        "tables_dec": Node("tables\n$p(\\hat{y})$", "density", 8, 1),
        "y_hat": Node(r"$\hat{y}$", "tensor", 11, 0),
        "g_s": Node("$g_s$", "network", 12, 0),
        "x_hat": Node(r"$\hat{x}$", "tensor", 13, 0),
    },
    (
        *_chain("x", "g_a", "y", "round", "symbols", "AE", "file", "AD"),
        *_chain("tables", "AE"),
        *_chain("tables_dec", "AD"),
        *_chain("y_hat", "g_s", "x_hat"),
    ),
)

_CODING_PLAIN = Graph({}, (Edge("AD", "y_hat"),))
"""Without means the symbols are y_hat."""

_CODING_SIDE = Graph(
    {
        "tables": Node("tables\n$\\mathcal{N}(0,\\sigma^2)$", "density", 6, 1),
        "tables_dec": Node("tables\n$\\mathcal{N}(0,\\sigma^2)$", "density", 8, 1),
        "file": Node(".cbk", "file", 7, 0, to_row=4),
        "h_a": Node("$h_a$", "network", 2, 3),
        "z": Node("$z$", "tensor", 2, 4),
        "round_z": Node("round", "quantiser", 3, 4),
        "z_hat": Node(r"$\hat{z}$", "tensor", 4, 4),
        "h_s": Node("$h_s$", "exact", 4, 3),
        "AE_z": Node("AE", "coder", 6, 4),
        "tables_z": Node("tables\n$p(\\hat{z})$", "density", 6, 3),
        "AD_z": Node("AD", "coder", 8, 4),
        "tables_z_dec": Node("tables\n$p(\\hat{z})$", "density", 8, 3),
        "z_hat_dec": Node(r"$\hat{z}$", "tensor", 10, 4),
        "h_s_dec": Node("$h_s$", "exact", 10, 3),
    },
    (
        *_chain("y", "h_a", "z", "round_z", "z_hat", "AE_z", "file", "AD_z", "z_hat_dec", "h_s_dec"),
        *_chain("z_hat", "h_s"),
        *_chain("tables_z", "AE_z"),
        *_chain("tables_z_dec", "AD_z"),
    ),
)

_CODING_SCALE = Graph(
    {"sigma": Node(r"$\sigma$", "tensor", 4, 1), "sigma_dec": Node(r"$\sigma$", "tensor", 10, 1)},
    (*_chain("h_s", "sigma", "tables"), *_chain("h_s_dec", "sigma_dec", "tables_dec")),
)

_CODING_CONTEXT = Graph(
    {
        "round": Node("$s=\\lfloor y-\\mu\\rceil$\n$\\hat{y}=s+\\mu$", "quantiser", 3, 0, to_column=4),
        "symbols": Node("$s$", "tensor", 5, 0),
        "y_hat_enc": Node(r"$\hat{y}$", "tensor", 3, 1),
        "mu": Node(r"$\mu$", "tensor", 4, 1),
        "context": Node("context\n5×5", "exact", 3, 2),
        "parameters": Node("entropy\nparameters", "exact", 4, 2),
        "sigma": Node(r"$\sigma$", "tensor", 6, 2),
        "symbols_dec": Node("$s$", "tensor", 9, 0),
        "add": Node(r"$s+\mu$", "quantiser", 10, 0),
        "mu_dec": Node(r"$\mu$", "tensor", 10, 1),
        "context_dec": Node("context\n5×5", "exact", 11, 2),
        "parameters_dec": Node("entropy\nparameters", "exact", 10, 2),
        "sigma_dec": Node(r"$\sigma$", "tensor", 8, 2),
    },
    (
        *_chain("round", "y_hat_enc", "context", "parameters", "mu", "round"),
        *_chain("h_s", "parameters", "sigma", "tables"),
        *_chain("AD", "symbols_dec", "add", "y_hat", "context_dec", "parameters_dec", "mu_dec", "add"),
        *_chain("h_s_dec", "parameters_dec", "sigma_dec", "tables_dec"),
    ),
    (
        ("round", "symbols", "AE", "tables", "y_hat_enc", "mu", "context", "parameters", "sigma"),
        ("AD", "tables_dec", "symbols_dec", "add", "y_hat", "mu_dec", "context_dec", "parameters_dec", "sigma_dec"),
    ),
)

_CODING_SLICES = Graph({"context": Node(_SLICES, "exact", 3, 2), "context_dec": Node(_SLICES, "exact", 11, 2)}, ())

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
    networks in exact integers. Not drawn: how h_a sees y on a logarithmic scale.

    Args:
        model: its public name.
        training: the training picture, or that of testing.

    Raises:
        Unsupported: no model has that name.
    """
    registry.entry(model)  # which refuses what is none
    first, *more = _PARTS[training, "joint" if model == "checkerboard" else model]  # they differ in their order alone
    graph = sum(more, first)
    if training:
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
