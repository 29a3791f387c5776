"""`softdet compare`: two runs on the same images, in numbers and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from softdet import builders
from softdet.builders.seen import describe_seen
from softdet.builders.settings import config_of
from softdet.cli.output import console, require_ending, say
from softdet.errors import ConfigError
from softdet.evaluation.detector import read_card
from softdet.evaluation.metrics import load_truth
from softdet.evaluation.outcome import describe_gain
from softdet.evaluation.run import RunFolder
from softdet.evaluation.run_comparison import compare as compare_runs
from softdet.evaluation.run_facts import require_run
from softdet.files import whole_file
from softdet.report.tables import comparison_table

# Which boxes count, as the config calls it and as a detector's card does.
_KEEPING = {"cls_th": "score_threshold", "nms_th": "iou_threshold", "top_k": "top_k"}


def compare(
    before: Annotated[Path, typer.Argument(help="A run folder, such as the supervised control.")],
    after: Annotated[Path, typer.Argument(help="Another run folder on the same data.")],
    weights: Annotated[
        str, typer.Option(help="`last`: no run picks its luckiest evaluation; `best`: what each run ships.")
    ] = "last",
    out: Annotated[Path | None, typer.Option(help="Picture to write; left out: comparison.png in AFTER.")] = None,
) -> None:
    """Compare two runs on the validation images of the second: mAP, the gain and its 95% interval, a picture."""
    require_ending("--out", out, ".png", ".jpg", ".jpeg", ".webp")
    if weights not in ("last", "best"):
        raise ConfigError(f"--weights {weights}: it is last or best")
    runs = [RunFolder(before), RunFolder(after)]
    first, second = (run.last if weights == "last" else run.best for run in runs)
    for run in runs:
        require_run(run)
        run.require_result()
    settings = config_of(runs[1])
    result = compare_runs(
        first,
        second,
        builders.load_valid(settings, read_card(second).class_names),
        load_truth(settings.data.valid),
        device=builders.device_of(settings),
        batch_size=settings.inference.batch_size,
    )
    names = [str(run.path) for run in runs]
    for each in describe_seen(runs[0], settings.data.valid, settings.data.root, "validation images of the other run"):
        say(f"warning: {each}")
    console.print(comparison_table([*zip(names, (result.before, result.after), strict=True)]))
    say(f"gain {describe_gain(result.gain)}")
    steps = [read_card(run.last).step for run in runs if run.last.is_file()]
    if len(set(steps)) > 1:
        say(f"after {steps[0]:,} and {steps[1]:,} steps: part of that may be the longer training's")
    cards = [read_card(path) for path in (first, second)]
    values = {key: [getattr(card, field) for card in cards] for key, field in _KEEPING.items()}
    unlike = [f"inference.{key} {one:g} and {other:g}" for key, (one, other) in values.items() if one != other]
    if unlike:
        say(f"warning: they keep boxes by other rules ({', '.join(unlike)}), which alone may be a point of mAP")
    picture = out or runs[1].path / "comparison.png"
    with whole_file(picture) as draft:
        result.picture.save(draft, format=Image.registered_extensions()[picture.suffix.lower()])
    say(f"truth, before and after, a row each: {picture}")
