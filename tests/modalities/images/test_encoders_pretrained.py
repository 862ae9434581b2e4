"""Encoders with given weights: names, files, what does not fit, and the planes that published nets expect."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nearfar.errors import ConfigError, DataError
from nearfar.modalities.images.encoders import encoder
from nearfar.modalities.images.encoders.names import parse
from nearfar.modalities.images.encoders.nets import Planes
from nearfar.modalities.images.encoders.weights import convert
from nearfar.modalities.images.views import ImageViews

NET = "timm/resnet10t"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A file of weights with a classifier, and the whole net that they are of."""
    import timm

    torch.manual_seed(1)
    net = timm.create_model("resnet10t", num_classes=7).eval()
    file = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, file)
    return file, net


@pytest.mark.parametrize(
    ("name", "net", "built_as_published", "pretrained", "file"),
    [
        ("small", "small", False, False, None),
        ("timm/resnet18:pretrained", "timm/resnet18", True, True, None),
        ("resnet18:empty", "resnet18", True, False, None),
        ("timm/resnet18@a/b:c@d.safetensors", "timm/resnet18", True, False, Path("a/b:c@d.safetensors")),
        ("small@w.safetensors", "small", False, False, Path("w.safetensors")),
        ("hf/org/model", "hf/org/model", True, True, None),
        ("hf/org/model:empty", "hf/org/model", True, False, None),
    ],
)
def test_names_have_parts(name: str, net: str, built_as_published: bool, pretrained: bool, file: Path | None) -> None:
    found = parse(name)
    assert (found.net, found.published, found.pretrained, found.file) == (net, built_as_published, pretrained, file)


@pytest.mark.parametrize("name", ["@w.safetensors", "small@", "resnet18:", "resnet18:best", ":pretrained"])
def test_names_with_a_part_missing_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"give a net and a file|the forms are NAME"):
        encoder(name, 3, 32)


def test_small_has_no_published_weights() -> None:
    with pytest.raises(ConfigError, match="no published weights of `small`"):
        encoder("small:pretrained", 3, 32)


# Files ------------------------------------------------------------------------


def test_a_file_gives_the_features_of_its_own_net(published: tuple[Path, nn.Module]) -> None:
    file, net = published
    made = encoder(f"{NET}@{file}", 3, 32).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        pooled = net.global_pool(net.forward_features(images))
        torch.testing.assert_close(made(images), pooled, rtol=0, atol=0)
    start = made.start
    assert start["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sorted(start["unused"]) == ["fc.bias", "fc.weight"] and start["architecture"] == f"{NET}:empty"


def test_published_nets_keep_their_beginning_for_small_images(tmp_path: Path) -> None:
    import timm

    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "w.safetensors")
    made = encoder(f"timm/resnet18@{tmp_path / 'w.safetensors'}", 3, 32).net
    assert made.conv1.stride == (2, 2) and isinstance(made.maxpool, nn.MaxPool2d)
    assert encoder("timm/resnet18", 3, 32).net.conv1.stride == (1, 1)


def test_the_weights_of_our_own_net_come_from_a_file_too(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = encoder("small", 1, 28)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "small.safetensors")
    made = encoder(f"small@{tmp_path / 'small.safetensors'}", 1, 28)
    assert all(torch.equal(made.state_dict()[k], v) for k, v in net.state_dict().items())
    with pytest.raises(ConfigError, match=r"1 tensors have another shape \(0.weight is \(32, 1, 5, 5\), not \(32, 3"):
        encoder(f"small@{tmp_path / 'small.safetensors'}", 3, 28)


def test_half_precision_and_one_more_word_before_every_name_are_read(
    published: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    tensors = {f"module.{key}": v.half() if v.is_floating_point() else v for key, v in load_file(published[0]).items()}
    save_file(tensors, tmp_path / "w.safetensors")
    made = encoder(f"{NET}@{tmp_path / 'w.safetensors'}", 3, 32).net
    assert made.layer1[0].conv1.weight.dtype == torch.float32
    torch.testing.assert_close(made.layer1[0].conv1.weight, published[1].layer1[0].conv1.weight, rtol=1e-3, atol=1e-6)


def change(tensors: dict[str, torch.Tensor], how: str) -> None:
    if how == "missing":
        del tensors["layer2.0.conv1.weight"]
    elif how == "shape":
        tensors["layer2.0.conv1.weight"] = tensors["layer2.0.conv1.weight"][:3].clone()
    elif how == "not finite":
        tensors["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    elif how == "other net":
        for key in list(tensors):
            tensors[f"x{key}"] = tensors.pop(key)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"1 tensors are missing \(layer2.0.conv1.weight\)"),
        ("shape", r"have another shape \(layer2.0.conv1.weight is \(3, 64, 3, 3\), not \(128, 64, 3, 3\)\)"),
        ("not finite", "not finite: layer2.0.conv1.weight"),
        ("other net", r"tensors are missing .*, \.\.\.\); .* tensors are not of this net"),
    ],
)
def test_a_file_that_does_not_fit_says_what(
    published: tuple[Path, nn.Module], tmp_path: Path, how: str, message: str
) -> None:
    tensors = load_file(published[0])
    change(tensors, how)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=message):
        encoder(f"{NET}@{tmp_path / 'w.safetensors'}", 3, 32)


def test_tensors_of_something_else_are_named_and_counters_may_be_missing(
    published: tuple[Path, nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = {k: v for k, v in load_file(published[0]).items() if "num_batches" not in k}
    save_file({**tensors, "neck.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with caplog.at_level(logging.WARNING):
        made = encoder(f"{NET}@{tmp_path / 'w.safetensors'}", 3, 32)
    assert "1 tensors are not of this net and were not used: neck.weight" in caplog.text
    assert "neck.weight" in made.start["unused"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    for name, message in (
        ("nowhere.safetensors", "cannot be read: No such file"),
        ("broken.safetensors", "not a whole safetensors file"),
        ("old.pth", "may hold a pickle.*nearfar weights .*old.pth old.safetensors"),
        ("old.bin", "may hold a pickle"),
    ):
        with pytest.raises(ConfigError, match=message):
            encoder(f"{NET}@{tmp_path / name}", 3, 32)


# Conversion -------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", ["", "state_dict", "model"])
def test_a_file_by_torch_save_becomes_safetensors(tmp_path: Path, wrapped: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), nn.Linear(4, 2))
    shared = {**net.state_dict(), "again": net[1].weight.detach()}
    torch.save({wrapped: shared, "epoch": 3} if wrapped else {**shared, "epoch": 3}, tmp_path / "w.pth")
    written, left = convert(tmp_path / "w.pth", tmp_path / "new" / "w.safetensors")
    assert written == list(shared) and left == ([] if wrapped else ["epoch"])
    found = load_file(tmp_path / "new" / "w.safetensors")
    assert found.keys() == shared.keys() and all(torch.equal(found[k], v) for k, v in shared.items())


class Trap:
    """What a pickle can do when it is opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.exit, ("the pickle ran",))


def test_what_would_run_code_or_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1), "trap": Trap()}, tmp_path / "trap.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name, message in (
        ("trap.pth", "cannot be read as plain tensors"),
        ("model.pth", "save its state_dict"),
        ("empty.pth", "holds no tensors"),
        ("text.pth", "cannot be read as plain tensors"),
        ("nowhere.pth", "No such file"),
    ):
        with pytest.raises(DataError, match=message):
            convert(tmp_path / name, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


# Planes -----------------------------------------------------------------------


@pytest.mark.parametrize("mean_and_std", [(0.5, 0.5), None])
@pytest.mark.parametrize("channels", [1, 3])
def test_planes_give_what_the_publishers_preprocessing_gives(
    channels: int, mean_and_std: tuple[float, float] | None
) -> None:
    from torchvision.transforms import v2

    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.integers(0, 256, (4, channels, 8, 8), dtype=np.uint8))
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if mean_and_std is None else ((0.5,) * 3, (0.5,) * 3)
    theirs = v2.Compose([v2.RGB(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])(rows)
    ours = Planes(channels, mean, std)(ImageViews(8, channels).plain(rows))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_planes_are_left_out_where_they_change_nothing_and_never_in_the_state() -> None:
    assert encoder("timm/resnet10t:empty", 3, 32).planes is None
    grey = encoder("timm/resnet10t:empty", 1, 32)
    assert grey.planes is not None and grey.net.conv1[0].in_channels == 3
    assert not any("planes" in key for key in grey.state_dict())
    lite = encoder("timm/tf_efficientnet_lite0:empty", 3, 32)
    assert lite.planes is not None  # published with mean and deviation 0.5


# Published weights ----------------------------------------------------------


def test_torchvision_weights_are_loaded_with_positions_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    torch.manual_seed(2)
    whole = models.vit_b_32(image_size=64)
    state = {key: value.clone() for key, value in whole.state_dict().items()}
    entry = models.get_model_weights("vit_b_32").DEFAULT
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(type(entry), "get_state_dict", lambda self, **how: asked.append(how) or dict(state))
    same = encoder("torchvision/vit_b_32:pretrained", 3, 64)
    assert asked[0]["weights_only"] is True and asked[0]["check_hash"] is True
    got = same.net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in got.items()) and len(got) == len(state) - 2
    larger = encoder("torchvision/vit_b_32:pretrained", 3, 96)
    assert larger.net.encoder.pos_embedding.shape[1] == 1 + 9
    assert same.start["architecture"] == "torchvision/vit_b_32:empty"
    assert same.start["sha256"] != larger.start["sha256"]


def test_timm_weights_are_loaded_by_timm(monkeypatch: pytest.MonkeyPatch, published: tuple[Path, nn.Module]) -> None:
    import timm

    create = timm.create_model

    def local(name: str, pretrained: bool, **how: Any) -> nn.Module:
        overlay = {"file": str(published[0]), "num_classes": 7} if pretrained else None
        return create(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **how)

    monkeypatch.setattr(timm, "create_model", local)
    made = encoder("timm/resnet10t.c3_in1k:pretrained", 1, 32).eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        want = published[1].global_pool(published[1].forward_features(made.planes(images)))
        torch.testing.assert_close(made(images), want, rtol=0, atol=0)
    assert made.start["architecture"] == "timm/resnet10t.c3_in1k:empty" and len(made.start["sha256"]) == 64


@pytest.mark.parametrize("name", ["timm/resnet10t", "torchvision/resnet18"])
def test_weights_that_cannot_be_fetched_say_how_to_do_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    from torchvision import models

    def offline(*_: Any, **how: Any) -> nn.Module:
        if how.get("pretrained") is False:
            return nn.Identity()
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(type(models.get_model_weights("resnet18").DEFAULT), "get_state_dict", offline)
    with pytest.raises(ConfigError, match=r"could not be fetched: no route to host.*NAME@FILE.safetensors"):
        encoder(f"{name}:pretrained", 3, 32)


def test_nets_without_published_weights_say_so() -> None:
    with pytest.raises(ConfigError, match="timm has no published weights for convnext_atto_rms"):
        encoder("timm/convnext_atto_rms:pretrained", 3, 32)


def test_names_without_a_suffix_never_load_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create, asked = timm.create_model, []

    def spying(*given: Any, **how: Any) -> nn.Module:
        asked.append(how["pretrained"])
        return create(*given, **how)

    monkeypatch.setattr(timm, "create_model", spying)
    for name in ("timm/resnet10t", "timm/resnet10t:empty"):
        assert encoder(name, 3, 32).start is None
    assert asked == [False, False]


# Hugging Face -----------------------------------------------------------------


def test_models_of_hugging_face_need_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        encoder("hf/org/model", 3, 32)


@pytest.mark.parametrize("kind", ["ViT", "ResNet", "CLIP"])
def test_a_local_model_of_hugging_face(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    grid = {"image_size": 32, "patch_size": 8}
    if kind == "ViT":
        model = transformers.ViTModel(transformers.ViTConfig(**small, **grid))
    elif kind == "CLIP":
        config = transformers.CLIPConfig(text_config=small, vision_config={**small, **grid}, projection_dim=8)
        model = transformers.CLIPModel(config)
    else:
        model = transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        )
    model.save_pretrained(tmp_path / "model")
    transformers.ViTImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(tmp_path / "model")
    made = encoder(f"hf/{tmp_path / 'model'}", 3, 32).eval()
    rows = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        tower = getattr(model.eval(), "vision_model", model)
        want = tower(pixel_values=rows.float() / 255 * 2 - 1).pooler_output.flatten(1)
        torch.testing.assert_close(made(ImageViews(32, 3).plain(rows)), want, rtol=1e-4, atol=1e-5)
    assert made.width == 16 and made.start["architecture"].endswith(":empty")
    other = encoder(made.start["architecture"], 3, 64)
    assert other.state_dict().keys() == made.state_dict().keys() and other.start is None
