"""The command `softdet`; a few lines a command, the work is below."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import softdet
from softdet.cli.compare import compare
from softdet.cli.doctor import doctor
from softdet.cli.evaluate import evaluate
from softdet.cli.export import export
from softdet.cli.output import console, say
from softdet.cli.predict import predict
from softdet.cli.prepare import prepare_app
from softdet.cli.pseudo_label import merge, pseudo_label
from softdet.cli.report import report
from softdet.cli.train import train
from softdet.config import describe, json_schema, keys, markdown
from softdet.engine.host_memory import keep_freed_memory
from softdet.errors import ConfigError, SoftdetError
from softdet.evaluation.torchvision_weights import save_converted

app = typer.Typer(
    name="softdet",
    help="Train an object detector from a few labeled images and a folder of unlabeled ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(prepare_app, name="prepare")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(f"softdet {softdet.__version__}")
        raise typer.Exit


app.command()(train)
app.command()(evaluate)
app.command()(compare)
app.command()(doctor)
app.command()(predict)
app.command()(pseudo_label)
app.command()(merge)
app.command()(export)
app.command()(report)


@app.command()
def explain(
    key: Annotated[str | None, typer.Argument(help="SECTION or SECTION.KEY; left out: all keys.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="All keys as a page: docs/config.md.")] = False,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="The JSON schema for editors: configs/softdet.schema.json.")
    ] = False,
) -> None:
    """Say what a key of the config does, what it may be and what it is if left out."""
    if as_markdown or as_schema:
        if key or (as_markdown and as_schema):
            raise ConfigError("--markdown and --schema tell of all keys; give one of them, and no key beside it")
        typer.echo(markdown() if as_markdown else json_schema(), nl=False)
        return
    for each in [key] if key else keys():
        say(describe(each))


convert_app = typer.Typer(help="Make other libraries' weights into a start for training.", no_args_is_help=True)
app.add_typer(convert_app, name="convert")


@convert_app.command("torchvision")
def convert_torchvision(
    file: Annotated[Path, typer.Argument(help="torchvision's retinanet_resnet50_fpn_v2 weights (.pth).")],
    out: Annotated[Path, typer.Option(help="The detector's file to write.")] = Path("retinanet_r50_coco.safetensors"),
) -> None:
    """Convert torchvision's COCO-trained RetinaNet, to start from with model.is_finetune=True."""
    save_converted(file, out)
    say(f"wrote {out}; train with model.model_path={out} model.is_finetune=True basenet.arch=Res50")


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the input is told without a traceback and ends with 2."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A class's name that the terminal can't write is no reason to stop.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(argv)
    except SoftdetError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _ABOUT_PLACES:
            raise
        place = f"{error.filename}: " if error.filename else ""
        told = f"{place}{error.strerror}. {_ABOUT_PLACES[error.errno]}"
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(told)}", soft_wrap=True)
        sys.exit(2)


_ELSEWHERE = "Something else is in the way there. Choose another place."
_NOT_ALLOWED = "You may not write or read there. Choose another place, or ask for the right."
_FULL = "Make room there; what was written before is whole. `softdet train --resume RUN` goes on with a run."
_ABOUT_PLACES = {
    errno.EEXIST: _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EISDIR: _ELSEWHERE,
    errno.ENAMETOOLONG: _ELSEWHERE,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _NOT_ALLOWED,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
}
