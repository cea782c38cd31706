"""The autoencoder of the second and third reports: ResNet-18, a quantiser, a mirrored residual decoder.

    x --stem 1/4-- 4 stages --1/32, head-- f --round-- symbols -- f_hat --entry-- 5 doublings-- x_hat

It starts near a classical transform coder, as the transforms of the priors do: each stage passes on as many
coefficients of the KLT of its patches as it has channels, and the decoder's path of transposed convolutions undoes that
exactly. Rectifiers are passed by adding to each coefficient more than it usually falls below zero.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.networks.autoencoders import Autoencoder, Size
from codec_lib.networks.klt import principal_components, regression, vectors

PRETRAINED = "microsoft/resnet-18"
"""Weights trained on ImageNet, of Hugging Face."""

_SHIFT = 2.0  # standard deviations that are added to a coefficient before a rectifier
_STEM = 0.1  # scale of the first kernels, which batch normalisation takes back: they learn so much faster
_GIVEN = -1  # in place of a number of batches: these statistics are those of the start, and stay
_REACH = 2.5  # standard deviations of a coefficient, each way, that its symbols cover


class ResNet18(Autoencoder):
    """ResNet-18 without its classifier, a 1x1 convolution to C channels; the decoder is its mirror.

    The encoder's layers are those of Hugging Face transformers (He et al. 2016, table 1). The `paper`
    preset has their widths and starts, where they can be fetched, from weights trained on ImageNet
    (`fetch_pretrained`); the `compact` preset has half of them.
    """

    name = "ae-resnet18"
    downscale = 32
    margins = (7, 2)
    first_contrast = 0.0  # amplitudes double from block to block
    pretrained = PRETRAINED

    def _networks(self, size: Size) -> tuple[nn.Module, nn.Module]:
        first, *widths = size.widths
        ups = [*reversed(widths), first]
        blocks = [_Up(i, o) for i, o in zip([ups[0], *ups], [*ups, first // 2], strict=False)]
        return _Encoder(first, widths, size.C), nn.Sequential(
            nn.Conv2d(size.C, ups[0], 1), *blocks[1:], nn.Conv2d(first // 2, 3, 3, padding=1)
        )

    @property
    def dimensions(self) -> tuple:
        """Without C: what lies next to the quantiser is made anew for another one (`start_from`)."""
        return self.name, self.size.widths

    def train(self, mode: bool = True) -> "ResNet18":
        """Batch normalisation keeps the statistics of `start`: those of a few crops would be noise of some per cent."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked == _GIVEN:
                module.eval()
        return self

    def of_transforms(self) -> list[nn.Parameter]:
        """All parameters but those next to the quantiser."""
        beside = {id(p) for layer in (self.g_a.head, self.g_s[0]) for p in layer.parameters()}
        return [p for p in self.parameters() if id(p) not in beside]

    def fetch_pretrained(self) -> str | None:
        """Start the encoder from ImageNet's weights; if that cannot be, the reason in a sentence."""
        from transformers import ResNetModel

        if self.size.widths[-1] != 512:
            return "there are no pretrained weights of this width"
        try:
            theirs = ResNetModel.from_pretrained(self.pretrained, use_safetensors=True)
        except OSError:
            return f"the pretrained weights {self.pretrained} cannot be fetched"
        self.g_a.resnet.load_state_dict(theirs.state_dict())
        return None

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Become a classical transform coder of photographs, crops x (n, 3, H, W) in [0, 1]."""
        first, *widths = self.size.widths
        stages = klt_stages(x, (min(12, first), *widths))
        h = self.g_a.start(x, stages)
        coefficients, entry = stages[-1][2], self.g_s[0]
        self._start_quantiser(h, coefficients)
        h = entry(self._seen(h))
        for up, (mean, basis, _) in zip(self.g_s[1:-1], reversed(stages), strict=True):
            h = up.start(h, mean, basis)
        _centred_identity(self.g_s[-1].weight)
        self.g_s[-1].bias.fill_(-0.5)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked.fill_(_GIVEN)

    @torch.no_grad()
    def start_from(self, source: "ResNet18", crops: Callable[[], Tensor]) -> None:
        """Take the networks of another; next to a quantiser of other bits or channels, begin afresh from crops."""
        beside = ("g_a.head.", "g_s.0.")
        alike = (self.B, self.size) == (source.B, source.size)
        theirs = source.state_dict().items()
        self.load_state_dict(self.state_dict() | {n: t for n, t in theirs if alike or not n.startswith(beside)})
        if not alike:
            h = source.g_a.features(2 * crops() - 1)
            self._start_quantiser(h, source.g_s[0](source._seen(h)))

    def _seen(self, h: Tensor) -> Tensor:
        """The encoder's features -> what the decoder sees of them."""
        return 2 * self.dequantise(self.quantise(torch.sigmoid(self.g_a.head(h)))) - 1

    def _start_quantiser(self, h: Tensor, wanted: Tensor) -> None:
        """Head and entry by least squares, so that `wanted` (n, w, H, W) comes out where features h go in.

        The C channels are shared among the principal components of `wanted`: where one has several, each covers a part
        of its range, with thresholds evenly spaced.
        """
        wanted = vectors(wanted)
        mean, basis, deviation = (t.float() for t in principal_components(wanted, wanted.shape[1]))
        to_component, offset = regression(vectors(h), (wanted - mean) @ basis.T)
        head, entry = self.g_a.head, self.g_s[0]
        row = 0
        for i, count in enumerate(_shares(deviation, self.size.C, 2**self.B)):
            for part in range(count):
                width = 2 * _REACH * deviation[i] / count
                centre = -_REACH * deviation[i] + width * (part + 0.5)
                slope = 4.4 / width  # the sigmoid from 0.1 to 0.9
                head.weight[row, :, 0, 0] = slope * to_component[i]
                head.bias[row] = slope * (offset[i] - centre)
                row += 1
        weight, bias = regression(vectors(self._seen(h)), wanted)
        entry.weight.copy_(weight[:, :, None, None])
        entry.bias.copy_(bias)


Stage = tuple[Tensor, Tensor, Tensor]
"""Mean and basis of the KLT of 2x2 patches, and the coefficients (n, w, H, W)."""


def klt_stages(x: Tensor, widths: Iterable[int]) -> list[Stage]:
    """The KLT of 2x2 patches of what the stage before keeps, from photographs (n, 3, H, W)."""
    stages: list[Stage] = []
    for width in widths:
        x = F.pixel_unshuffle(x, 2)
        mean, basis, _ = (t.float() for t in principal_components(vectors(x), width))
        x = F.conv2d(x, basis[:, :, None, None], -(basis @ mean))
        stages.append((mean, basis, x))
    return stages


def _shares(deviation: Tensor, channels: int, levels: int) -> list[int]:
    """How many channels each component has, each going where it lowers the squared error most."""
    counts = torch.zeros(len(deviation))
    for _ in range(channels):
        error = torch.where(counts == 0, 1.0, 2 / (levels * counts + 1) ** 2)
        after = 2 / (levels * (counts + 1) + 1) ** 2
        counts[(deviation**2 * (error - after)).argmax()] += 1
    return counts.int().tolist()


def _normalise(norm: nn.BatchNorm2d, x: Tensor, gain: float | Tensor = 1.0, shift: float = 0.0) -> Tensor:
    """Let it turn x, convolved, to deviation `gain` about `shift`, and do so."""
    norm.running_mean.copy_(x.mean((0, 2, 3)))
    norm.running_var.copy_(x.var((0, 2, 3), correction=0))
    norm.weight.copy_(torch.as_tensor(gain).expand_as(norm.weight))
    norm.bias.fill_(shift)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def _centred_identity(kernel: Tensor) -> None:
    kernel.zero_()
    kernel[range(len(kernel)), range(len(kernel)), 1, 1] = 1.0


class _Encoder(nn.Module):
    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which the weights expect

    def __init__(self, first: int, widths: list[int], C: int):
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        sizes = {"embedding_size": first, "hidden_sizes": widths, "depths": [2, 2, 2, 2], "layer_type": "basic"}
        self.resnet = ResNetModel(ResNetConfig(**sizes))
        self.head = nn.Conv2d(widths[-1], C, 1)
        for name, values in (("mean", self.MEAN), ("deviation", self.DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        passing = ["head", *(f"resnet.encoder.stages.{i}.layers.0.layer" for i in range(len(widths)))]
        self.stored_as = dict.fromkeys(passing, torch.float16)  # 8 bits beside a tap of 1 would cost 3 dB

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) in [-1, 1] -> (B, w, H/32, W/32), 0 and above."""
        x = (x + 1) / 2  # back to [0, 1]
        return self.resnet((x - self.mean) / self.deviation).last_hidden_state

    def start(self, x: Tensor, stages: list[Stage]) -> Tensor:
        """Pass on the coefficients of the KLT, crops x in [0, 1] -> features that hold the last ones.

        Max-pooling hides where in its window a value stood, so at 1/4 they are regressed from what is left; from there
        on the encoder passes them on exactly, but for the clipping.
        """
        h = self._start_stem(x)
        first, *others = self.resnet.encoder.stages
        h = self._start_first(first, h, stages[1][2])
        for stage, (_, _, coefficients) in zip(others, stages[2:], strict=True):
            entering, second = stage.layers
            patches = F.pixel_unshuffle(h, 2)
            weight, _ = regression(vectors(patches), vectors(_standard(coefficients)))
            conv, after = entering.layer
            conv.convolution.weight.zero_()
            conv.convolution.weight[:, :, 1:, 1:] = weight.unflatten(1, (-1, 2, 2))
            _centred_identity(after.convolution.weight)
            passed = F.relu(_normalise(conv.normalization, conv.convolution(h), 1.0, _SHIFT))
            _normalise(entering.shortcut.normalization, entering.shortcut.convolution(h), 0.0)
            h = F.relu(_normalise(after.normalization, after.convolution(passed), 1.0, _SHIFT))
            self._pass(second, h)
        return h

    def _start_stem(self, x: Tensor) -> Tensor:
        """Half of the kernels are the first principal components of 4x4 patches, half their negatives."""
        embedder = self.resnet.embedder
        conv, norm = embedder.embedder.convolution, embedder.embedder.normalization
        half = conv.out_channels // 2
        _, basis, _ = principal_components(vectors(F.pixel_unshuffle(x, 4)), half)
        kernel = basis.float().unflatten(1, (3, 4, 4))
        conv.weight.zero_()
        conv.weight[: 2 * half, :, 2:6, 2:6] = _STEM * torch.cat([kernel, -kernel])
        h = conv((x - self.mean) / self.deviation)
        return embedder.pooler(F.relu(_normalise(norm, h, 1.0, _SHIFT)))

    def _start_first(self, stage: nn.Module, h: Tensor, coefficients: Tensor) -> Tensor:
        """The first block takes what it gets away and puts the coefficients there; the second does nothing."""
        block, second = stage.layers
        around = F.unfold(F.pad(h, (1, 1, 1, 1), mode="replicate"), 3).transpose(1, 2).flatten(0, 1)
        weight, _ = regression(around, vectors(_standard(coefficients)))
        kernel = weight.unflatten(1, (-1, 3, 3)).clone()
        kernel[range(len(kernel)), range(len(kernel)), 1, 1] -= 1.0
        conv, after = block.layer
        conv.convolution.weight.copy_(_STEM * kernel)
        _centred_identity(after.convolution.weight)
        after.convolution.weight.mul_(_STEM)
        change = conv.convolution(h)
        passed = F.relu(_normalise(conv.normalization, change, 1.0, _SHIFT))
        _normalise(after.normalization, after.convolution(passed), change.std((0, 2, 3)) / _STEM)
        h = h + after.normalization.eval()(after.convolution(passed))
        mean = h.mean((0, 2, 3))
        after.normalization.bias.sub_(mean - _SHIFT)
        h = F.relu(h - (mean - _SHIFT)[:, None, None])
        self._pass(second, h)
        return h

    @staticmethod
    def _pass(block: nn.Module, h: Tensor) -> None:
        """Let a block return what it gets, which is not negative."""
        conv, after = block.layer
        inner = F.relu(_normalise(conv.normalization, conv.convolution(h)))
        _normalise(after.normalization, after.convolution(inner), 0.0)


def _standard(x: Tensor) -> Tensor:
    """(n, c, H, W) of deviation 1 in each channel, but for those that are empty."""
    return x / x.std((0, 2, 3), keepdim=True).clamp(min=1e-6)


class _Up(nn.Module):
    """The second report's decoder block: `double_conv(upsample(x)) + transposed_conv(x)`."""

    _OTHERS, _USED = 0.3, 0.02  # what double_conv adds at first: to channels that nothing uses yet, and to those in use

    def __init__(self, i: int, o: int):
        super().__init__()
        self.match = nn.ConvTranspose2d(i, o, 2, stride=2)
        self.double_conv = nn.Sequential(*_normalised(i, o), *_normalised(o, o))

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(F.interpolate(x, scale_factor=2.0)) + self.match(x)

    def start(self, x: Tensor, mean: Tensor, basis: Tensor) -> Tensor:
        """Let `match` undo the KLT of 2x2 patches, and `double_conv` add little; x -> what comes out."""
        used = basis.shape[1] // 4
        self.match.weight.zero_()
        self.match.bias.zero_()
        self.match.weight[: len(basis), :used] = basis.unflatten(1, (used, 2, 2))
        self.match.bias[:used] = mean.view(used, 4).mean(1)
        conv1, norm1, _, conv2, norm2, _ = self.double_conv
        matched = self.match(x)
        gain = torch.full((conv2.out_channels,), self._OTHERS)
        gain[:used] = self._USED * matched[:, :used].std((0, 2, 3))
        inner = F.relu(_normalise(norm1, conv1(F.interpolate(x, scale_factor=2.0))))
        return matched + F.relu(_normalise(norm2, conv2(inner), gain))


def _normalised(i: int, o: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()
