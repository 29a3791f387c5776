"""The detector's file: what is written comes back, what doesn't fit is refused, and classes may be exchanged."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from softdet.errors import WeightsError
from softdet.evaluation.detector import (
    FORMAT_VERSION,
    DetectorCard,
    load_detector,
    load_strictly,
    read_card,
    save_detector,
    start_from,
)
from softdet.models.retinanet import RetinaNet, build_retinanet

ARCHITECTURE: dict[str, Any] = {
    "arch": "test_resnet",
    "num_frozen_stages": 0,
    "freeze_batchnorm": False,
    "fpn_channels": 16,
    "head_convs": 1,
    "anchor_sizes": (12.0, 20.0, 40.0, 80.0, 160.0),
    "anchor_octaves": (1.0, 1.3),
    "anchor_ratios": (1.0, 2.0),
}
CARD = DetectorCard(
    architecture=ARCHITECTURE,
    class_names=("cat", "größe", "dog"),
    class_ids=(7, 21, 3),
    image_size=(64, 96),
    resize="letterbox",
    score_threshold=0.05,
    iou_threshold=0.5,
    top_k=1000,
    operating_threshold=0.37,
    digests={"train": "abc"},
    step=12,
)


def model(num_classes: int = 3, seed: int = 0, **changes: Any) -> RetinaNet:
    torch.manual_seed(seed)
    return build_retinanet(**(ARCHITECTURE | changes), num_classes=num_classes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "detector.safetensors"
    save_detector(path, model(), CARD)
    return path


def test_the_file_gives_back_the_model_and_the_card(saved: Path) -> None:
    detector = load_detector(saved)
    as_read = {key: list(value) if isinstance(value, tuple) else value for key, value in ARCHITECTURE.items()}
    assert detector.card == replace(CARD, architecture=as_read) == read_card(saved)
    before = model().state_dict()
    assert all(torch.equal(value, before[name]) for name, value in detector.model.state_dict().items())


def test_the_loaded_model_detects_the_same_and_learns_nothing(saved: Path) -> None:
    detector = load_detector(saved)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        theirs, ours = detector.model(images), model().eval()(images)
    assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True))
    assert not detector.model.training
    assert not any(parameter.requires_grad for parameter in detector.model.parameters())


def test_writing_twice_gives_the_same_bytes_so_a_digest_means_something(saved: Path, tmp_path: Path) -> None:
    save_detector(tmp_path / "again.safetensors", model(), CARD)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.safetensors", "detector.safetensors"]


def test_others_may_read_the_file_as_far_as_the_system_lets_them(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no weights file .*none\.safetensors"):
        load_detector(tmp_path / "none.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_named(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"detector\.safetensors is not a whole safetensors file"):
        load_detector(saved)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        load_detector(path)
    save_file({"conv1.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=r"no detector written by softdet.*basenet\.pretrained.*convert torchvision"):
        load_detector(path)


def test_a_newer_format_is_refused(saved: Path) -> None:
    rewrite_metadata(saved, lambda content: content | {"format_version": FORMAT_VERSION + 1})
    with pytest.raises(WeightsError, match=rf"has format {FORMAT_VERSION + 1}; .* up to {FORMAT_VERSION}\. Update"):
        load_detector(saved)


def rewrite_metadata(path: Path, change: Any) -> None:
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["softdet"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, the file is no dictionary
    save_file(weights, path, metadata={"softdet": json.dumps(change(content))})


def test_weights_that_do_not_fit_are_named(saved: Path) -> None:
    rewrite_metadata(saved, lambda content: content | {"architecture": ARCHITECTURE | {"fpn_channels": 24}})
    with pytest.raises(WeightsError, match=r"detector\.safetensors doesn't fit the model: \d+ weights.*box_head"):
        load_detector(saved)


def test_loading_strictly_changes_nothing_where_it_refuses() -> None:
    net = model()
    weights = model(seed=1).state_dict()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    del weights["box_head.output.bias"]
    with pytest.raises(WeightsError, match=r"1 weights are missing.*box_head\.output\.bias"):
        load_strictly(net, weights, Path("other"))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_starting_with_the_same_classes_takes_every_weight(saved: Path) -> None:
    net = model(seed=5)
    start_from(net, saved, CARD.class_names, classes_may_differ=False)
    wanted = model().state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("saved_frozen", "frozen"), [(False, True), (True, False)])
def test_frozen_and_learning_batchnorm_hold_the_same_weights(tmp_path: Path, saved_frozen: bool, frozen: bool) -> None:
    path = tmp_path / "detector.safetensors"
    save_detector(path, model(freeze_batchnorm=saved_frozen), CARD)
    net = model(seed=5, freeze_batchnorm=frozen)
    start_from(net, path, CARD.class_names, classes_may_differ=False)
    with torch.no_grad():
        images = torch.rand(1, 3, 64, 64)
        assert torch.equal(net.eval()(images).logits, load_detector(path).model(images).logits)


def test_other_classes_are_refused_with_both_lists(saved: Path) -> None:
    with pytest.raises(WeightsError) as raised:
        start_from(model(2), saved, ("cat", "cow"), classes_may_differ=False)
    message = str(raised.value)
    assert "['cat', 'größe', 'dog']" in message
    assert "['cat', 'cow']" in message
    assert "model.is_finetune=True" in message


def test_the_same_classes_in_another_order_are_other_classes(saved: Path) -> None:
    with pytest.raises(WeightsError, match="is_finetune"):
        start_from(model(3), saved, ("dog", "cat", "größe"), classes_may_differ=False)


def test_finetuning_keeps_the_rows_of_shared_names_and_starts_the_others_anew(saved: Path) -> None:
    net, fresh, old = model(4, seed=5), model(4, seed=5), model()
    start_from(net, saved, ("cow", "dog", "cat", "hen"), classes_may_differ=True)
    num_anchors = 4
    for name in ("class_head.output.weight", "class_head.output.bias"):
        now = net.state_dict()[name].reshape(num_anchors, 4, -1)
        before = fresh.state_dict()[name].reshape(num_anchors, 4, -1)
        theirs = old.state_dict()[name].reshape(num_anchors, 3, -1)
        assert torch.equal(now[:, 1], theirs[:, 2])  # dog
        assert torch.equal(now[:, 2], theirs[:, 0])  # cat
        assert torch.equal(now[:, [0, 3]], before[:, [0, 3]])
    for name, value in net.state_dict().items():
        assert name.startswith("class_head.output") or torch.equal(value, old.state_dict()[name]), name


def test_finetuning_gives_the_shared_class_the_very_same_logits(saved: Path) -> None:
    net = model(2, seed=5)
    start_from(net, saved, ("dog", "cow"), classes_may_differ=True)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = net.eval()(images), model().eval()(images)
    torch.testing.assert_close(ours.logits[..., 0], theirs.logits[..., 2])
    assert torch.equal(ours.deltas, theirs.deltas)


def test_finetuning_exchanges_classes_and_nothing_else(saved: Path) -> None:
    with pytest.raises(WeightsError, match="another number of anchors"):
        start_from(model(2, anchor_ratios=(1.0,)), saved, ("dog", "cow"), classes_may_differ=True)
    with pytest.raises(WeightsError, match="doesn't fit the model"):
        start_from(model(2, head_convs=2), saved, ("dog", "cow"), classes_may_differ=True)
