"""Mistakes in a config: each is told with its place, what was found and what is allowed, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

TRAIN = "train --config tiny.yaml --out out"

KEYS = {
    "a key that there is not": (
        "params.batchsize=4",
        "params.batchsize = 4: there is no such key. Did you mean params.",
    ),
    "a key of another section": (
        "optimizer.batch_size=4",
        "optimizer.batch_size = 4",
        "Did you mean params.batch_size?",
    ),
    "a section that there is not": ("parms.batch_size=4", "parms: there is no such key. Did you mean params?"),
    "a word for a number": ("params.batch_size=many", "params.batch_size = 'many': input should be a valid integer"),
    "a choice that there is not": ("optimizer.which=Adagrad", "'Adagrad': input should be 'Adam', 'AdamW' or 'SGD'"),
    "below the range": ("params.batch_size=0", "params.batch_size = 0: input should be greater than or equal to 1"),
    "above the range": ("soft_teacher.ema_decay=1.5", "ema_decay = 1.5: input should be less than or equal to 1"),
    "not a number": ("optimizer.lr=nan", "optimizer.lr = 'nan': input should be a finite number"),
    "infinite": ("optimizer.lr=.inf", "optimizer.lr = inf: input should be a finite number"),
    "a canvas that the network can't take": (
        "params.image_size=100x100",
        "'100x100': both sides must be multiples of 32",
    ),
    "too few of several": ("model.anchor_sizes=[12, 20]", "model.anchor_sizes = [12, 20]: has too few values"),
    "one of several below the range": ("model.anchor_sizes=[-1, 2, 3, 4, 5]", "-1: input should be greater than 0"),
    "a range turned round": (
        "params.scale=[2.0, 1.0]",
        "params.scale = [2.0, 1.0]: write [low, high] with 0 < low <= high",
    ),
    "nothing behind the equals sign": (
        "params.batch_size=",
        "params.batch_size = None: input should be a valid integer",
    ),
    "no equals sign": ("params.batch_size", "override 'params.batch_size': write section.key=value, for example"),
    "no section": ("batch_size=4", "override 'batch_size=4': write section.key=value, for example"),
    "an override that is no YAML": ("params.scale=[1", "override 'params.scale=[1': the value is not valid YAML"),
    "a batch that can't be shared out": (
        "params.accumulate=3",
        "params.batch_size = 4 can't be shared out",
        "multiple of 3",
    ),
    "a burn-in without an end": (
        "soft_teacher.control=True soft_teacher.burn_in_steps=24",
        "24 steps and a burn-in of 24, so not one step of Soft Teacher would follow. Take more params.iterations",
    ),
    "a network that there is not": ("basenet.arch=resnet5000", "basenet.arch: 'resnet5000' is neither", "Near: "),
    "hours that are none": ("--max-hours -1", "--max-hours -1: write a number above 0, for example 2 or 0.5"),
    "an option that there is not": ("--lableled x", "No such option: --lableled", "--labeled"),
}

FILES = {
    "cut off": ("data: {train: [", "tiny.yaml is not valid YAML", "line 1, column 16"),
    "tabs": ("data:\n\ttrain: x", "tiny.yaml is not valid YAML", "line 2, column 1"),
    "a list": ("- a\n- b\n", "a config holds sections (data, basenet,", "found ['a', 'b']"),
    "empty": ("", "a config holds sections (data, basenet,", "found None"),
    "no data": ("data:\n", "data.train is missing (Labeled images", "data.valid is missing"),
    "a number for a section": ("data: {train: a, valid: b}\ncuda: 3\n", "cuda = 3: input should be"),
    "a section twice": ("data: {}\nparams: {}\ndata: {}\n", "tiny.yaml: data stands twice, in lines 1 and 3"),
    "a key twice": ("data:\n  train: a\n  train: b\n", "tiny.yaml: train stands twice, in lines 2 and 3"),
    "another encoding": (b"\xff\xfed\x00a\x00", "tiny.yaml is not valid YAML: no text in UTF-8", "saved as UTF-8?"),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_cannot_be_used_is_told(name: str, place: Any, refuses: Callable[..., None]) -> None:
    arguments, *said = KEYS[name]
    # Quoted, since a list has blanks in it.
    whole = arguments if " " not in arguments or "=[" not in arguments else f"'{arguments}'"
    refuses(place, f"{TRAIN} {whole}", *said)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_config_is_told(name: str, place: Any, refuses: Callable[..., None]) -> None:
    content, *said = FILES[name]
    place.write("tiny.yaml", content)
    refuses(place, TRAIN, *said)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.yaml", "there is no config file nowhere.yaml (seen from "),
        ("images", "images can't be read as a config (Is a directory). A config is one YAML file"),
        ("images/train_0.png", "images/train_0.png is not valid YAML: no text in UTF-8"),
    ],
)
def test_a_path_that_leads_to_no_config_is_told(path: str, said: str, place: Any, refuses: Callable[..., None]) -> None:
    refuses(place, f"train --config {path} --out out", said)


def test_a_command_that_there_is_not_is_told(place: Any, refuses: Callable[..., None]) -> None:
    refuses(place, "trian", "No such command 'trian'. Did you mean 'train'?")
