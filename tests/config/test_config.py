"""The config: the seed's own file, typed coercion, and messages that name the key, the value and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from softdet.config import Config, describe, dump_config, keys, load_config, parse_config, save_config
from softdet.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
BASE: dict[str, Any] = {"data": {"train": "train.json", "valid": "valid.json"}}

# Issue 2, section 1: the keys of the seed's configs/coco.yaml with their values.
SEED: dict[str, object] = {
    "data.train": Path("data/coco_trainval35k.json"),
    "data.valid": Path("data/coco_minival5k.json"),
    "data.unlabeled": Path("data/coco_unlabel2017.json"),
    "basenet.arch": "Res50",
    "basenet.pretrained": True,
    "basenet.lr_backbone": 1e-4,
    "optimizer.which": "Adam",
    "optimizer.lr": 1e-4,
    "optimizer.weight_decay": 1e-4,
    "params.batch_size": 8,
    "params.epoch": 30,
    "params.random_seed": 3000,
    "params.image_size": (320, 320),
    "params.classes": Path("data/coco_classes.txt"),
    "params.data_worker": 0,
    "soft_teacher.pseudo_cls_th": 0.9,
    "soft_teacher.unsup_loss_weight": 1.0,
    "soft_teacher.ema_decay": 0.99,
    "inference.cls_th": 0.05,
    "inference.nms_th": 0.5,
    "inference.top_k": 1000,
    "model.model_path": None,
    "model.exp_path": Path("/data/tmp"),
    "model.is_finetune": False,
    "cuda.using": True,
    "cuda.gpu_id": 0,
}


def value_of(config: Config, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def message_of(*overrides: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_config(BASE, overrides)
    return str(raised.value)


def test_the_seeds_file_holds_the_seeds_keys_and_no_other() -> None:
    content = yaml.safe_load((ROOT / "configs" / "coco.yaml").read_text(encoding="utf-8"))
    written = {f"{section}.{key}" for section, entries in content.items() for key in entries}
    assert written == set(SEED)


@pytest.mark.parametrize("key", list(SEED))
def test_the_seeds_file_gives_the_seeds_value(key: str) -> None:
    value = value_of(load_config(ROOT / "configs" / "coco.yaml"), key)
    assert value == SEED[key]
    assert type(value) is type(SEED[key])


def test_with_the_seeds_keys_alone_nothing_bends_them() -> None:
    semi = load_config(ROOT / "configs" / "coco.yaml").soft_teacher
    assert semi.pseudo_box_th is None
    assert semi.ramp_steps == 0
    assert semi.unlabeled_ratio == 1
    assert (semi.background, semi.box_reliability) == ("soft", "cluster")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_config_loads_and_says_how_to_run_it(path: Path) -> None:
    load_config(path)
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any("softdet train" in line and path.name in line for line in header)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optimizer.lr=1e-4", 1e-4),  # a word to YAML 1.1
        ("optimizer.lr=3E-5", 3e-5),
        ("model.model_path=None", None),
        ("model.model_path=null", None),
        ("params.iterations=None", None),
        ("soft_teacher.burn_in_steps=None", None),
        ("soft_teacher.background=none", "none"),  # a choice, not a None
        ("soft_teacher.box_reliability=none", "none"),
        ("params.image_size=320x640", (320, 640)),
        ("params.image_size=320 X 640", (320, 640)),
        ("params.image_size=[320, 640]", (320, 640)),
        ("params.image_size=96", (96, 96)),
        ("params.image_size=[96]", (96, 96)),
        ("cuda.gpu_id=3", 3),
        ("cuda.gpu_id=[0, 1]", (0, 1)),
        ("cuda.using=False", False),
        ("basenet.pretrained=False", False),
        ("basenet.pretrained=weights/resnet50.safetensors", Path("weights/resnet50.safetensors")),
        ("basenet.frozen_stages=auto", "auto"),
        ("basenet.frozen_stages=1", 1),
        ("soft_teacher.weak_scale=[0.5, 1]", (0.5, 1.0)),
        ("optimizer.milestones=[]", ()),
    ],
)
def test_a_value_is_read_as_its_key_means_it(override: str, value: object) -> None:
    config = parse_config(BASE, [override])
    assert value_of(config, override.partition("=")[0]) == value


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("soft_teacher.ema_decay=1.5", ["soft_teacher.ema_decay = 1.5", "less than or equal to 1"]),
        ("soft_teacher.ema_decay=fast", ["soft_teacher.ema_decay = 'fast'", "valid number"]),
        ("optimizer.lr=0", ["optimizer.lr = 0", "greater than 0"]),
        ("optimizer.lr=.nan", ["optimizer.lr = nan", "finite"]),
        ("optimizer.which=Adagrad", ["optimizer.which = 'Adagrad'", "'Adam', 'AdamW' or 'SGD'"]),
        ("params.batch_size=2.5", ["params.batch_size = 2.5", "valid integer"]),
        ("params.batch_size=0", ["params.batch_size = 0", "greater than or equal to 1"]),
        ("params.image_size=100", ["params.image_size = 100", "multiples of 32"]),
        ("params.image_size=320by320", ["params.image_size = '320by320'", "320x320"]),
        ("params.image_size=320.5", ["params.image_size = 320.5"]),
        ("params.image_size=None", ["params.image_size = None"]),
        ("params.scale=[1.2, 0.8]", ["params.scale = [1.2, 0.8]", "low <= high"]),
        ("params.scale=[0.5, .inf]", ["params.scale = [0.5, inf]", "low <= high"]),
        ("soft_teacher.weak_scale=[0.8, 1.2]", ["soft_teacher.weak_scale = [0.8, 1.2]", "at or below 1"]),
        ("basenet.frozen_stages=all", ["basenet.frozen_stages = 'all'", "integer", "'auto'"]),
        ("basenet.frozen_batchnorm=maybe", ["basenet.frozen_batchnorm = 'maybe'", "boolean", "'auto'"]),
        ("cuda.gpu_id=-1", ["cuda.gpu_id = -1", "greater than or equal to 0"]),
        ("cuda.gpu_id=[]", ["cuda.gpu_id = []", "[0, 1]"]),
        ("cuda.gpu_id=[1, 1]", ["cuda.gpu_id = [1, 1]", "different"]),
        ("model.anchor_sizes=[16, 32]", ["model.anchor_sizes = [16, 32]", "too few"]),
        ("model.anchor_sizes=[1, 2, 3, 4, 5, 6]", ["model.anchor_sizes = [1, 2, 3, 4, 5, 6]", "at most 5"]),
        ("model.anchor_octaves=[]", ["model.anchor_octaves = []", "at least 1"]),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_what_is_allowed(override: str, said: list[str]) -> None:
    message = message_of(override)
    for part in said:
        assert part in message
    about = describe(override.partition("=")[0]).partition("): ")[2]
    assert about.rstrip(".").split(". One of")[0] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("soft_teacher.ema_deacy=0.5", ["soft_teacher.ema_deacy = 0.5", "Did you mean soft_teacher.ema_decay?"]),
        ("params.lr=1", ["params.lr = 1", "Did you mean optimizer.lr?"]),
        ("soft_teachr.ema_decay=0.5", ["soft_teachr", "Did you mean soft_teacher?"]),
        ("zzz.qqq=1", ["zzz", "There are data, basenet, optimizer, params"]),
        ("cuda.zzzz=1", ["cuda.zzzz = 1", "There are using, gpu_id"]),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(override: str, said: list[str]) -> None:
    for part in said:
        assert part in message_of(override)


@pytest.mark.parametrize("override", ["ema_decay=0.5", "soft_teacher.ema_decay", "soft_teacher.=1", "=", "params"])
def test_a_bad_override_says_how_to_write_one(override: str) -> None:
    assert f"override {override!r}: write section.key=value" in message_of(override)


def test_an_override_that_is_no_yaml_is_named() -> None:
    assert "override 'params.scale=[1, 2'" in message_of("params.scale=[1, 2")


def test_all_mistakes_are_told_at_once() -> None:
    message = message_of("soft_teacher.ema_decay=2", "params.batch_size=0", "params.epocs=3")
    assert all(key in message for key in ("soft_teacher.ema_decay", "params.batch_size", "params.epoch?"))


def test_a_mistake_is_told_where_it_was_made() -> None:
    content = BASE | {"params": {"batch_size": 0}}
    with pytest.raises(ConfigError) as caught:
        parse_config(content, ["optimizer.lr=-1", "params.epoch=2"], source="my.yaml")
    on_command_line, in_file = str(caught.value).splitlines()
    assert in_file.startswith("my.yaml: params.batch_size = 0")
    assert on_command_line.startswith("on the command line: optimizer.lr = -1")


def test_a_missing_key_is_told_with_what_it_is_for() -> None:
    with pytest.raises(ConfigError, match=r"data\.valid is missing \(Images to evaluate on"):
        parse_config({"data": {"train": "train.json"}})
    with pytest.raises(ConfigError, match="data is missing"):
        parse_config({})


def test_an_empty_section_holds_the_defaults() -> None:
    assert parse_config({**BASE, "params": None}) == parse_config(BASE)
    assert parse_config({**BASE, "params": None}, ["params.epoch=3"]).params.epoch == 3


def test_a_section_that_is_no_section_is_named() -> None:
    with pytest.raises(ConfigError, match="params = 8"):
        parse_config({**BASE, "params": 8})
    with pytest.raises(ConfigError, match="params holds keys; found 8"):
        parse_config({**BASE, "params": 8}, ["params.epoch=3"])


def test_overrides_win_and_leave_the_given_content_alone() -> None:
    content = {**BASE, "params": {"epoch": 2}}
    assert parse_config(content, ["params.epoch=3", "params.epoch=4"]).params.epoch == 4
    assert content["params"] == {"epoch": 2}


@pytest.mark.parametrize("name", ["run.yaml", "run.yml"])
def test_both_endings_load(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("data: {train: a.json, valid: b.json}")
    assert load_config(tmp_path / name).data.train == Path("a.json")


def test_a_file_that_is_no_config_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    with pytest.raises(ConfigError, match=re.escape(f"there is no config file {path}")):
        load_config(path)
    for content in ("", "- a\n- b", "just words"):
        path.write_text(content)
        with pytest.raises(ConfigError, match=r"bad\.yaml: a config holds sections"):
            load_config(path)
    for broken in (b"data: [", b"\xff\xfe\x00"):
        path.write_bytes(broken)
        with pytest.raises(ConfigError, match=r"bad\.yaml is not valid YAML"):
            load_config(path)
    (path.parent / "typo.yaml").write_text("data: {train: a, valid: b}\nparams: {epoch: many}")
    with pytest.raises(ConfigError, match=r"typo\.yaml: params\.epoch = 'many'"):
        load_config(path.parent / "typo.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_saving_and_loading_is_the_identity(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_config(path, ["cuda.gpu_id=[0, 1]", "soft_teacher.background=none", "data.root=Bilder/größe"])
    save_config(before, tmp_path / "config.yaml")
    # Paths are absolute, so it means the same wherever it's read.
    monkeypatch.chdir(tmp_path)
    after = load_config(tmp_path / "config.yaml")
    assert after.data.train.is_absolute()
    assert after.model.exp_path.is_absolute()
    for key in keys():
        old, new = value_of(before, key), value_of(after, key)
        assert new == ((ROOT / old) if isinstance(old, Path) else old), key
    assert dump_config(after) == (tmp_path / "config.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_describe_says_what_a_key_does_may_be_and_is() -> None:
    assert describe("optimizer.which") == (
        "optimizer.which (default Adam): SGD has momentum .9. One of Adam, AdamW, SGD."
    )
    assert describe("data.train").startswith("data.train (must be given): ")
    assert describe("soft_teacher").splitlines() == [describe(key) for key in keys() if key.startswith("soft_teacher.")]
    for key in keys():
        assert len(describe(key).partition("): ")[2]) > 10, f"{key} has no description"


@pytest.mark.parametrize(
    ("key", "near"), [("optimizer.whch", "optimizer.which"), ("softteacher", "soft_teacher"), ("lr", "optimizer.lr")]
)
def test_describe_names_the_nearest_key(key: str, near: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"Did you mean {near}?")):
        describe(key)


def test_a_config_is_never_changed() -> None:
    config = parse_config(BASE)
    with pytest.raises(ValueError, match="frozen"):
        setattr(config.params, "epoch", 3)  # noqa: B010, a plain assignment is refused by the type checker already


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = parse_config(
        BASE, ["model.exp_path=~/run", "basenet.pretrained=~/w.pth", "data.root=~nobody_of_that_name/a"]
    )
    assert config.model.exp_path == tmp_path / "run"
    assert config.basenet.pretrained == tmp_path / "w.pth"
    assert config.data.root == Path("~nobody_of_that_name/a")
