"""The config's lists and batches: what fits together, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainers import trainer_of

from softdet import builders
from softdet.config import Config, load_config
from softdet.errors import ConfigError, DataError

Make = Callable[..., Config]


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_lists_are_read_with_one_numbering_of_the_classes(own_squares: Path) -> None:
    # The validation list has the same classes under other ids, in another order.
    def renumber(content: dict[str, Any]) -> None:
        new = {5: 1, 17: 2}
        for entry in (*content["categories"], *content["annotations"]):
            key = "id" if "name" in entry else "category_id"
            entry[key] = new[entry[key]]

    rewrite(own_squares / "valid.json", renumber)
    data = builders.load_data(load_config(own_squares / "tiny.yaml"))
    assert data.train.class_names == data.valid.class_names == ("blue", "red")
    assert (data.train.category_ids, data.valid.category_ids) == ((5, 17), (1, 2))
    assert data.unlabeled is not None
    assert len(data.unlabeled) == 6
    assert not data.unlabeled.class_names


def test_unlabeled_images_may_be_a_list_whose_boxes_are_never_read(tiny_config: Make, squares: Path) -> None:
    unlabeled = builders.load_data(tiny_config(f"data.unlabeled={squares / 'train.json'}")).unlabeled
    assert unlabeled is not None
    assert all(len(record.boxes) == 0 for record in unlabeled.images)


def test_without_unlabeled_images_the_two_ways_on_are_named(tiny_config: Make) -> None:
    with pytest.raises(ConfigError, match=r"data\.unlabeled is missing.*folder.*--supervised"):
        builders.load_data(tiny_config("data.unlabeled=None"))
    assert builders.load_data(tiny_config("data.unlabeled=None", "soft_teacher.enabled=False")).unlabeled is None


def test_an_image_is_never_both_trained_on_and_evaluated_on(tiny_config: Make, squares: Path) -> None:
    for key, override in (
        ("data.train", f"data.train={squares / 'valid.json'}"),
        ("data.unlabeled", f"data.unlabeled={squares / 'images'}"),
    ):
        with pytest.raises(DataError, match=rf"8 images of {key} .*valid_0\.png"):
            builders.load_data(tiny_config(override))


def test_the_class_list_sets_the_order_and_must_hold_every_class(tiny_config: Make, tmp_path: Path) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("green\nred\nblue\n")
    data = builders.load_data(tiny_config(f"params.classes={names}"))
    assert data.train.class_names == ("green", "red", "blue")
    assert data.train.category_ids == (None, 17, 5)
    names.write_text("red\n")
    with pytest.raises(DataError, match=r"'blue'.*not in the class list"):
        builders.load_data(tiny_config(f"params.classes={names}"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["params.batch_size=3", "params.accumulate=2"], "params.batch_size = 3 .* multiple of 2"),
        (["params.batch_size=2", "params.accumulate=4"], "params.batch_size = 2 .* multiple of 4"),
        (
            ["params.batch_size=4", "params.accumulate=4", "soft_teacher.unlabeled_ratio=1.5"],
            r"params\.batch_size \* soft_teacher\.unlabeled_ratio = 6 .* multiple of 4",
        ),
        (["params.batch_size=1", "soft_teacher.unlabeled_ratio=0.1"], r"unlabeled_ratio = 0 "),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(
    tiny_config: Make, tmp_path: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        trainer_of(tiny_config(f"model.exp_path={tmp_path}", *overrides))


def test_pairs_that_are_torn_apart_are_refused_at_the_start_and_on_resume(tiny_config: Make, tmp_path: Path) -> None:
    torn = ["params.batch_size=6", "params.accumulate=2", "params.paste=0.5"]
    config = tiny_config(f"model.exp_path={tmp_path}", *torn)
    # A run goes on with its config.yaml, in which params.accumulate may have been changed.
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"is 3 at once.* pairs.* multiple of 4"):
            trainer_of(config, resume=resume)
    builders.data.require_pairs(tiny_config(*torn[:2]), 1)


def test_memory_for_decoded_images_is_shared_by_the_lists_of_a_process(tiny_config: Make) -> None:
    one = 3 * 80 * 80
    for cached, workers, rooms in ((10, 0, (8, 2)), (10, 1, (8, 10)), (5, 0, (5, 0)), (0, 0, (0, 0))):
        config = tiny_config(f"data.cache_gb={(cached + 0.5) * one / 1e9}", f"params.data_worker={workers}")
        assert builders.data.cache_rooms(config, 8) == rooms


def test_each_branch_looks_as_its_keys_say(tiny_config: Make, tmp_path: Path) -> None:
    keys = ["params.flip=1", "params.scale=[0.9, 0.9]", "soft_teacher.weak_scale=[0.5, 0.5]", "params.colour=True"]
    keys += ["soft_teacher.burn_in_steps=0", "soft_teacher.translate=0", "soft_teacher.erase=True"]
    trainer = trainer_of(tiny_config(f"model.exp_path={tmp_path}", *keys))
    views = trainer.augment(next(iter(trainer.batches(range(1))))[0])
    assert views.weak is not None
    assert views.strong is not None
    # The stored image is 1.25 times as large as the view; a flip turns the sign.
    for view, scale in ((views.labeled, 0.9), (views.weak, 0.5), (views.strong, 0.9)):
        assert view.matrices[:, 0, 0].tolist() == pytest.approx([-scale * 0.8] * 4)
    # What the teacher sees keeps its colours.
    assert views.weak.clean is views.weak.images
    assert views.labeled.clean is not views.labeled.images
    assert views.strong.clean is not views.strong.images
