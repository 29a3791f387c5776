"""What the detector's file says of itself, from the config."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from softdet import builders
from softdet.config import Config, dump_config
from softdet.data.index_reading import load_labeled
from softdet.evaluation.detector import read_card
from softdet.evaluation.run import RunFolder
from softdet.files import digest

Make = Callable[..., Config]


def test_a_class_that_no_image_has_yet_gets_an_id_of_its_own(tiny_config: Make, squares: Path) -> None:
    index = replace(
        load_labeled(squares / "train.json"),
        class_names=("green", "red", "blue", "grey"),
        category_ids=(None, 17, 5, None),
    )
    ids = builders.make_card(tiny_config(), index).class_ids
    assert ids[1:3] == (17, 5)
    assert len(set(ids)) == 4


def test_the_card_says_all_that_inference_needs(tiny_config: Make, squares: Path) -> None:
    config = tiny_config("params.image_size=64x96", "params.resize=stretch", "inference.top_k=9")
    card = builders.make_card(config, builders.load_data(config).train)
    assert (card.image_size, card.resize, card.top_k) == ((64, 96), "stretch", 9)
    assert (card.score_threshold, card.iou_threshold) == (0.05, 0.5)
    assert card.digests["train"] == digest(squares / "train.json")
    assert card.digests["valid"] == digest(squares / "valid.json")
    assert card.digests["config"] == hashlib.sha256(dump_config(config).encode()).hexdigest()


def test_the_cards_digest_of_the_config_is_that_of_the_saved_file(tiny_run: Path) -> None:
    run = RunFolder(tiny_run)
    assert read_card(run.best).digests["config"] == digest(run.config)
