"""From `auto` to values: with the data's facts, once for all ranks, and never twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from softdet import builders
from softdet.builders.settings import config_of, decide, with_values
from softdet.config import Config, keys, load_config, parse_config, save_config
from softdet.config.auto import OR_AUTO, undecided
from softdet.derive.settings import RULES
from softdet.evaluation.run import RunFolder

ALL_AUTO = [f"{key}=auto" for key in RULES]


def fabric(rank: int = 0, received: object = None, kind: str = "cpu") -> Any:
    """Enough of a fabric to decide with."""
    return SimpleNamespace(
        is_global_zero=rank == 0,
        world_size=1,
        device=torch.device(kind),
        broadcast=lambda value: value if rank == 0 else received,
    )


def test_every_key_that_may_be_auto_has_a_rule_and_every_rule_a_key() -> None:
    config = parse_config({"data": {"train": "a", "valid": "b"}}, ALL_AUTO)
    assert set(undecided(config)) == set(RULES)
    marked = {
        f"{section}.{name}"
        for section, values in config
        for name, field in type(values).model_fields.items()
        if OR_AUTO in field.metadata
    }
    assert marked == set(RULES)


def test_nothing_is_left_and_the_rest_stays(tiny_config: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny_config(*ALL_AUTO)
    data = builders.load_data(config)
    decided = decide(config, data, fabric())
    assert undecided(decided.config) == []
    assert {setting.key for setting in decided.settings} == set(RULES)
    for key in keys():
        section, _, name = key.partition(".")
        before, after = (getattr(getattr(each, section), name) for each in (config, decided.config))
        assert (before == after) == (key not in RULES), key
    # What was decided is a config like any other: it is saved and read back the same.
    save_config(decided.config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == decided.config
    assert decide(decided.config, data, fabric()).settings == ()


def test_the_other_ranks_take_what_rank_0_decided(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config("optimizer.lr=auto")
    data = builders.load_data(config)
    first = decide(config, data, fabric())
    received = [first.settings[0]._replace(value=0.125)]
    assert decide(config, data, fabric(1, received)).config.optimizer.lr == 0.125


def test_passes_that_were_written_down_win(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config("params.iterations=auto", "params.epoch=5")
    assert decide(config, builders.load_data(config), fabric()).config.params.iterations == 10
    config = tiny_config("params.iterations=auto")
    assert decide(config, builders.load_data(config), fabric()).config.params.iterations == 3500


def test_weights_to_start_from_bring_their_architecture(tiny_config: Callable[..., Config], tiny_run: Path) -> None:
    config = tiny_config(f"model.model_path={RunFolder(tiny_run).best}", *ALL_AUTO)
    decided = decide(config, builders.load_data(config), fabric())
    assert decided.config.basenet.arch == "test_resnet"
    assert decided.config.model.fpn_channels == 32
    assert decided.config.model.anchor_sizes == (12, 20, 40, 80, 160)
    reasons = {setting.key: setting.reason for setting in decided.settings}
    assert reasons["model.head_convs"] == "that of model.model_path"


def test_values_go_where_their_keys_say(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config()
    changed = with_values(config, {"params.epoch": 7, "params.flip": 0.25, "model.head_convs": 3})
    assert (changed.params.epoch, changed.params.flip, changed.model.head_convs) == (7, 0.25, 3)
    assert config.params.epoch != 7


def test_an_undecided_config_is_not_built(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config("optimizer.lr=auto")
    made = builders.make_fabric(config)
    made.launch()
    with pytest.raises(AssertionError, match=r"optimizer\.lr"):
        builders.make_trainer(config, made, builders.load_data(config), resume=False)


def test_without_steps_the_default_passes_are_the_length(tiny_config: Callable[..., Config]) -> None:
    changes = ("params.iterations=None", "params.evaluate_every=auto", "soft_teacher.ema_decay=auto")
    config = tiny_config(*changes, "soft_teacher.burn_in_steps=auto")
    assert "epoch" not in config.params.model_fields_set
    data = builders.load_data(config)
    config = decide(config, data, fabric()).config
    steps = builders.count_steps(config, len(data.train))
    assert 0 < config.params.evaluate_every <= steps
    assert 0 < config.soft_teacher.burn_in_steps < steps


def test_a_burn_in_that_was_left_out_stays_when_the_run_is_made_longer(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config("params.iterations=50", "soft_teacher.burn_in_steps=None")
    data = builders.load_data(config)
    decided = decide(config, data, fabric())
    assert decided.settings[-1] == ("soft_teacher.burn_in_steps", 10, "for 50 steps, as it was left out")
    longer = decide(with_values(decided.config, {"params.iterations": 100}), data, fabric())
    assert longer.config.soft_teacher.burn_in_steps == 10
    supervised = with_values(config, {"soft_teacher.enabled": False})
    assert decide(supervised, data, fabric()).config == supervised


@pytest.mark.parametrize("name", ["try #2", "a: b", "null", "[1]"])
def test_a_runs_config_is_for_the_place_where_it_lies_whatever_that_is_called(
    tmp_path: Path, tiny_config: Callable[..., Config], name: str
) -> None:
    run = RunFolder(tmp_path / name)
    run.path.mkdir()
    config = tiny_config("model.exp_path=elsewhere")
    save_config(config, run.config)
    loaded = config_of(run)
    assert loaded.model.exp_path == run.path
    assert loaded.data == config.data


def test_a_runs_own_lists_move_with_it(tmp_path: Path, tiny_config: Callable[..., Config]) -> None:
    old, new = RunFolder(tmp_path / "mine"), RunFolder(tmp_path / "first")
    valid = tiny_config().data.valid
    for run in (new, old):
        run.data.mkdir(parents=True)
        run.control.path.mkdir()
        shutil.copy(valid, run.data / "valid.json")
    # Another run has made its own lists in the old place since.
    (old.data / "valid.json").write_text("{}")
    for run, moved in ((old, new), (old.control, new.control)):
        config = tiny_config(f"model.exp_path={run.path}", f"data.valid={old.data / 'valid.json'}")
        save_config(config, moved.config)
        loaded = config_of(moved)
        assert loaded.data.valid == new.data / "valid.json", "and not what another run has put into the old place"
        assert loaded.data.train == config.data.train, "which lies elsewhere"
    # A copy reads the lists of the original while they are there: from there the images are found.
    shutil.copy(new.data / "valid.json", old.data / "valid.json")
    assert config_of(new).data.valid == old.data / "valid.json"
