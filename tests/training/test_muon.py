"""The optimiser: orthogonal updates of kernels, Adam for vectors."""

import copy

import pytest
import torch
from torch import nn

from codec_lib.networks.layers import GDN
from codec_lib.training.muon import Muon, orthogonal
from codec_lib.training.runs import parameter_groups


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8), (1, 30)])
def test_updates_are_nearly_orthogonal(shape):
    update = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonal(update)
    U, _, V = torch.linalg.svd(update, full_matrices=False)
    along = torch.diagonal(U.T @ result @ V.T)  # in the singular directions of the update itself
    assert result.shape == update.shape
    assert along.min() > 0.5 and along.max() < 1.3
    assert torch.allclose(result, U @ torch.diag(along) @ V, atol=1e-4)


def test_a_kernel_moves_as_a_matrix_and_a_layout_changes_nothing():
    torch.manual_seed(0)
    kernel = torch.randn(6, 4, 3, 3)
    parameters = [nn.Parameter(t) for t in (kernel.clone(), kernel.flatten(1).clone())]
    parameters.append(nn.Parameter(kernel.clone(memory_format=torch.channels_last)))
    optimiser = Muon([{"params": parameters, "lr": 0.1}])
    for _ in range(3):
        grad = torch.randn(6, 4, 3, 3)
        for p in parameters:
            p.grad = grad.reshape(p.shape).clone()
        optimiser.step()
    assert not torch.equal(parameters[0], kernel)
    for p in parameters[1:]:
        assert torch.allclose(p.detach().reshape(kernel.shape), parameters[0].detach(), atol=1e-5)


def test_the_size_of_an_update_is_that_of_adam():
    p = nn.Parameter(torch.zeros(64, 256))
    p.grad = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    Muon([{"params": [p], "lr": 1e-3}]).step()
    assert p.detach().square().mean().sqrt().item() == pytest.approx(0.2e-3, rel=0.2)


def test_vectors_follow_adam():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    optimisers = Muon([{"params": [ours], "lr": 0.01}]), torch.optim.Adam([theirs], 0.01, betas=(0.9, 0.95))
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(5)
        for optimiser in optimisers:
            optimiser.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_it_finds_a_minimum_and_goes_on_from_a_saved_state():
    torch.manual_seed(0)
    target, model = torch.randn(6, 4), nn.Linear(4, 6)
    optimiser = Muon([{"params": list(model.parameters()), "lr": 0.05}])

    def steps(model: nn.Module, optimiser: Muon, n: int) -> float:
        for _ in range(n):
            loss = (model.weight - target).square().sum() + model.bias.square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return loss.item()

    first = steps(model, optimiser, 1)
    steps(model, optimiser, 20)
    again = copy.deepcopy(model)
    resumed = Muon([{"params": list(again.parameters()), "lr": 0.05}])
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert steps(model, optimiser, 5) == steps(again, resumed, 5)
    assert steps(model, optimiser, 100) < 0.05 * first


def test_a_parameter_without_a_gradient_stays():
    p = nn.Parameter(torch.ones(3, 3))
    Muon([{"params": [p], "lr": 1.0}]).step()
    assert torch.equal(p, torch.ones(3, 3))


def test_gdn_learns_to_normalise_channels_by_each_other():
    """What makes outputs alike is the energy of all channels, so gamma must leave the diagonal that it begins with."""
    torch.manual_seed(0)
    gdn, x = GDN(6), torch.randn(4, 6, 8, 8) * torch.rand(4, 1, 8, 8) * 10
    optimiser = Muon(parameter_groups(gdn, 1e-2))
    for _ in range(200):
        y = gdn(x)
        loss = (y.square().mean(1) - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    gamma = gdn.gamma.detach().square()
    assert gamma.sum() > 3 * gamma.diagonal().sum()
