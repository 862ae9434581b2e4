from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from nearfar.errors import ConfigError, DataError
from nearfar.evaluation import dense_probe, feature_map, pixel_map
from nearfar.evaluation.dense import shrink_masks
from nearfar.modalities.images.encoders import encoder


def scenes(n: int, seed: int, noise: float = 0.7) -> tuple[torch.Tensor, np.ndarray]:
    """Maps (n, 5, 4, 4) of pictures of 16 pixels with a square of class 1 or 2, and their masks."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((n, 16, 16), dtype=np.uint8)
    for row in range(n):
        top, left = generator.integers(0, 3, 2) * 4
        masks[row, top : top + 8, left : left + 8] = 1 + row % 2
    codes = np.random.default_rng(9).standard_normal((3, 5))
    maps = codes[masks[:, ::4, ::4]] + noise * generator.standard_normal((n, 4, 4, 5))
    return torch.from_numpy(maps).permute(0, 3, 1, 2), masks


def test_predictions_equal_scikit_learn_on_enlarged_maps() -> None:
    (x, y), (z, truth) = scenes(60, 0), scenes(20, 1)
    found = dense_probe(x.__getitem__, y, z.__getitem__, truth, cells=10**6, strength=0.1, resamples=20)
    cells = x.permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    scale = StandardScaler().fit(cells)
    oracle = LogisticRegression(C=0.1, max_iter=2000).fit(scale.transform(cells), y[:, ::4, ::4].ravel())
    large = F.interpolate(z, (16, 16), mode="bilinear").permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    expected = oracle.predict(scale.transform(large)).reshape(truth.shape)
    assert (found.predictions == expected).mean() > 0.995  # two solvers, and rounding
    assert found.report.metrics["pixel_accuracy"].value == pytest.approx((found.predictions == truth).mean())
    assert found.converged and found.report.metrics["mean_iou"].settings["map"] == [5, 4, 4]


def test_a_map_that_tells_finds_the_object_and_noise_does_not() -> None:
    (x, y), (z, truth) = scenes(60, 0, noise=0.05), scenes(20, 1, noise=0.05)
    good = dense_probe(x.__getitem__, y, z.__getitem__, truth, strength=1.0, resamples=20).report
    assert good.metrics["foreground_iou"].value > 0.85 and good.metrics["corloc"].value == 1
    blind = dense_probe(torch.zeros_like(x).__getitem__, y, torch.zeros_like(z).__getitem__, truth, resamples=20).report
    assert blind.metrics["corloc"].value == 0


def test_shrinking_takes_the_most_frequent_class_and_passes_over_ignored_pixels() -> None:
    masks = np.array([[[1, 1, 2, 255], [1, 0, 255, 255], [0, 0, 255, 255], [1, 1, 255, 255]]], dtype=np.uint8)
    assert shrink_masks(masks, (2, 2), 3).tolist() == [[[1, 2], [0, 255]]]
    assert (shrink_masks(masks, (4, 4), 3) == masks).all()
    naive = np.random.default_rng(0).integers(0, 4, (3, 12, 12)).astype(np.uint8)
    for row, mask in enumerate(shrink_masks(naive, (3, 3), 4)):
        for i in range(3):
            for j in range(3):
                counts = np.bincount(naive[row, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].ravel(), minlength=4)
                assert mask[i, j] == counts.argmax()


def test_ignored_cells_are_not_fitted_and_few_cells_are_drawn_by_seed() -> None:
    (x, y), (z, truth) = scenes(30, 0), scenes(8, 1)
    spoilt, masks = x.clone(), y.copy()
    spoilt[:10], masks[:10] = 1e3, 255
    some = dense_probe(spoilt.__getitem__, masks, z.__getitem__, truth, strength=1.0, resamples=5)
    rest = dense_probe(x[10:].__getitem__, y[10:], z.__getitem__, truth, strength=1.0, resamples=5)
    assert some.report.metrics["pixel_accuracy"].settings["cells"] == 20 * 16
    assert (some.predictions == rest.predictions).all()
    few = [dense_probe(x.__getitem__, y, z.__getitem__, truth, cells=60, seed=s, resamples=5) for s in (0, 0, 1)]
    assert few[0].report.metrics["pixel_accuracy"].settings["cells"] == 60
    assert (few[0].predictions == few[1].predictions).all()
    assert (few[0].predictions != few[2].predictions).any()


def test_the_strength_is_chosen_on_pictures_that_were_not_fitted() -> None:
    # Every picture has a colour of its own, the same in all of its cells: it tells a cell from its neighbours in other
    # pictures, and nothing about a picture that was not seen. Validation on cells of seen pictures would trust it.
    generator = np.random.default_rng(0)
    masks = np.repeat(np.arange(40) % 2, 16).reshape(40, 4, 4).astype(np.uint8)
    maps = torch.from_numpy(generator.standard_normal((40, 60, 1, 1)).repeat(4, axis=2).repeat(4, axis=3))
    found = dense_probe(maps.__getitem__, masks, maps.__getitem__, masks, resamples=5).report
    assert found.metrics["mean_iou"].settings["C"] <= 1e-2 and found.metrics["mean_iou"].settings["chosen_C"]
    (x, y), (z, truth) = scenes(60, 0, noise=0.05), scenes(20, 1, noise=0.05)
    told = dense_probe(x.__getitem__, y, z.__getitem__, truth, resamples=5).report.metrics["mean_iou"]
    assert told.settings["C"] >= 1 and told.value > 0.8
    one = dense_probe(x[1:2].__getitem__, y[1:2], z.__getitem__, truth, resamples=5).report.metrics["mean_iou"]
    assert one.settings["C"] == 0.1  # nothing to validate on


def test_progress_counts_every_picture() -> None:
    (x, y), (z, truth) = scenes(70, 0), scenes(8, 1)
    seen: list[tuple[int, int]] = []
    dense_probe(x.__getitem__, y, z.__getitem__, truth, resamples=5, progress=lambda *step: seen.append(step))
    assert seen == [(64, 78), (70, 78), (78, 78)]


def test_bad_input_says_what_to_do() -> None:
    x, y = scenes(6, 0)
    with pytest.raises(DataError, match="the training masks show one class"):
        dense_probe(x.__getitem__, np.zeros_like(y), x.__getitem__, y)
    with pytest.raises(DataError, match="the training masks show no class"):
        dense_probe(x.__getitem__, np.full_like(y, 255), x.__getitem__, y)
    with pytest.raises(DataError, match="NaN"):
        dense_probe((x * np.nan).__getitem__, y, x.__getitem__, y)
    with pytest.raises(DataError, match=r"train masks must be \(N, H, W\)"):
        dense_probe(x.__getitem__, y[0], x.__getitem__, y)
    with pytest.raises(ConfigError, match="cells"):
        dense_probe(x.__getitem__, y, x.__getitem__, y, cells=0)


# Maps ---------------------------------------------------------------------------


def test_the_map_of_the_own_net_is_what_its_pooling_takes_in() -> None:
    torch.manual_seed(0)
    net = encoder("small", 3, 32)
    inputs = torch.randn(2, 3, 32, 32)
    found = feature_map(net, inputs)
    net.eval()
    with torch.no_grad():
        expected = nn.Sequential(*list(net)[:-2])(inputs)
        pooled = nn.Sequential(*list(net)[-2:])(found.clone())
        assert torch.equal(found, expected)
        assert torch.equal(pooled, net(inputs))
    assert found.shape == (2, 256, 4, 4)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("timm/resnet18", (512, 8, 8)), ("torchvision/mobilenet_v3_small", (576, 2, 2))],
)
def test_the_mean_of_the_map_is_the_embedding_of_nets_that_end_so(name: str, shape: tuple[int, ...]) -> None:
    net = encoder(name, 3, 64)
    inputs = torch.randn(2, 3, 64, 64)
    found = feature_map(net, inputs)
    assert found.shape[1:] == shape
    net.eval()
    if net.width == shape[0]:
        with torch.no_grad():
            torch.testing.assert_close(found.mean(dim=(2, 3)), net(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224", "timm/vit_small_patch16_dinov3"])
def test_tokens_of_a_transformer_lie_where_their_patches_did(name: str) -> None:
    net = encoder(name, 3, 64).eval()
    seen: list[torch.Tensor] = []
    hook = net.net.norm.register_forward_hook(lambda module, given, out: seen.append(out))
    inputs = torch.randn(2, 3, 64, 64)
    found = feature_map(net, inputs)
    hook.remove()
    assert found.shape == (2, net.width, 4, 4)
    tokens = seen[0][:, -16:]
    for i, j in ((0, 0), (1, 2), (3, 3)):
        assert torch.equal(found[:, :, i, j], tokens[:, 4 * i + j])


def test_channels_last_are_turned() -> None:
    net = encoder("timm/swin_tiny_patch4_window7_224", 3, 224)
    assert feature_map(net, torch.zeros(1, 3, 224, 224)).shape == (1, 768, 7, 7)


def test_looking_changes_nothing() -> None:
    net = encoder("small", 1, 16).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    feature_map(net, torch.randn(4, 1, 16, 16))
    assert net.training and all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_an_encoder_without_maps_is_refused() -> None:
    with pytest.raises(ConfigError, match="Sequential gives no feature map"):
        feature_map(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), torch.zeros(2, 6))
    with pytest.raises(ConfigError, match="pictures large enough"):
        feature_map(nn.Sequential(nn.Conv2d(3, 8, 4), nn.Flatten()), torch.zeros(2, 3, 4, 4))


def test_pixels_know_their_values_and_their_place() -> None:
    rows = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    found = pixel_map(rows)
    assert found.shape == (2, 5, 2, 2)
    assert torch.equal(found[:, :3], rows / 255)
    assert found[0, 3:, 1, 0].tolist() == [1, -1]
