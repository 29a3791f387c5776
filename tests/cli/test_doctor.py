"""The command, on the set of coloured squares."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def arguments(folder: Path) -> list[object]:
    lists = ["--labeled", folder / "train.json", "--valid", folder / "valid.json"]
    return ["doctor", *lists, "--unlabeled", folder / "unlabeled"]


def test_a_clean_set(softdet: Callable[..., int], own_squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert softdet(*arguments(own_squares)) == 0
    assert capsys.readouterr().out == "nothing wrong in 22 images (labeled 8, unlabeled 6, valid 8)\n"


def test_what_is_too_small_depends_on_the_anchors(
    softdet: Callable[..., int], own_squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert softdet(*arguments(own_squares), "--anchor-sizes", "300,400,500,600,700") == 0
    assert "warning objects-without-anchor" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--no-cache"], ["--quick"]])
def test_mistakes_are_grouped_named_and_written(
    softdet: Callable[..., int],
    own_squares: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    for number in range(6):
        shutil.copy(own_squares / "images" / f"valid_{number}.png", own_squares / "unlabeled" / f"copy[{number}].png")
    (own_squares / "unlabeled" / "page.jpg").write_text("<html>")
    assert softdet(*arguments(own_squares), "--json", tmp_path / "x.json", *more) == 1
    out = capsys.readouterr().out
    assert out.index("error leak: 6 places") < out.index("warning file-unreadable: 1 place")
    assert "= copy[0].png" in out
    assert "and 1 more" in out
    assert out.splitlines()[-1] == "1 error, 1 warning in 29 images (labeled 8, unlabeled 13, valid 8)"
    content = json.loads((tmp_path / "x.json").read_text())
    assert [finding["code"] for finding in content["findings"]] == ["leak", "file-unreadable"]
    assert len(content["findings"][0]["places"]) == 6
    assert (tmp_path / "cache").exists() == (more != ["--no-cache"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--labeled", "no.json"], "no file or folder no.json"),
        (["--unlabeled", "nowhere"], "no image matches"),
        (["--image-size", "8x8"], "--image-size 8x8"),
        (["--image-size", "large"], "--image-size large"),
        (["--anchor-sizes", "16,32,64"], "--anchor-sizes 16,32,64: five numbers"),
        (["--anchor-sizes", "16,32,64,128,wide"], "five numbers above 0"),
    ],
)
def test_unusable_arguments_end_with_2(
    softdet: Callable[..., int],
    own_squares: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    message: str,
) -> None:
    assert softdet(*arguments(own_squares), *change) == 2
    assert message in capsys.readouterr().err
