"""`softdet train --labeled X --unlabeled Y`: from folders as they come to the lists in the run folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_fabric import Fabric

from softdet.builders.settings import with_values
from softdet.cli.prepare import print_prepared
from softdet.config import Config
from softdet.data.prepare import prepare
from softdet.errors import ConfigError, DataError, SoftdetError
from softdet.evaluation.run import RunFolder

# The lists that are made, and the options that say of what.
_OPTIONS = {
    "data.train": "--labeled",
    "data.unlabeled": "--unlabeled",
    "data.valid": "--valid",
    "data.test": "--test",
}


@dataclass(frozen=True, slots=True)
class OwnData:
    """What the options of the command name; see `prepare`."""

    labeled: Path
    unlabeled: str | None
    valid: Path | None
    test: Path | None
    group_by: str | None = None

    @property
    def sources(self) -> dict[str, str | Path | None]:
        """What was named, by the option."""
        return {"labeled": self.labeled, "unlabeled": self.unlabeled, "valid": self.valid, "test": self.test}


def own_data(
    labeled: Path | None,
    unlabeled: str | None,
    valid: Path | None,
    test: Path | None,
    group_by: str | None,
    overrides: Sequence[str] = (),
    *,
    supervised: bool,
) -> OwnData | None:
    """What was named, if anything.

    Raises:
        ConfigError: something without which the rest is of no use is missing, or a list is named that would be made.
    """
    if labeled is None:
        names = {"--unlabeled": unlabeled, "--valid": valid, "--test": test, "--group-by": group_by}
        if given := [name for name, value in names.items() if value is not None]:
            raise ConfigError(
                f"{' and '.join(given)} without --labeled: name your labeled images too, or set data.train, "
                "data.valid, data.unlabeled and data.test beside --config"
            )
        return None
    if unlabeled is None and not supervised:
        raise ConfigError(
            "--unlabeled is missing: Soft Teacher learns from unlabeled images, a folder of them will do. To train on "
            "the labeled ones alone, add --supervised."
        )
    for change in overrides:
        key, _, value = change.partition("=")
        if option := _OPTIONS.get(key.strip()):
            raise ConfigError(
                f"{change} beside --labeled, from which the lists are made: give {option} {value.strip()}. Lists of "
                "your own go beside --config, all of them."
            )
    return OwnData(labeled, unlabeled, valid, test, group_by)


@contextmanager
def prepared(own: OwnData | None, settings: Config, fabric: Fabric, *, overwrite: bool, keep: bool) -> Iterator[Config]:
    """Write the lists, and give the config that names them; they are gone afterwards unless they were adopted.

    Args:
        own: what was named; None leaves the config as it is.
        settings: of the run.
        fabric: launched; rank 0 writes.
        overwrite: an earlier run in the run's folder is about to be deleted.
        keep: write into the run's folder, for `adopt`; else elsewhere.

    Raises:
        SoftdetError: on all ranks, where rank 0 couldn't.
    """
    if own is None:
        yield settings
        return
    run = RunFolder(settings.model.exp_path)
    if keep:
        run.check(fabric, resume=False, overwrite=overwrite)
    with TemporaryDirectory(prefix="softdet-") as elsewhere:
        out = run.new_data if keep else Path(elsewhere) / "data"
        try:
            yield _with_lists(own, settings, out, fabric)
        except SoftdetError as error:
            raise type(error)(_as_named(str(error), own, out)) from error
        finally:
            if keep and fabric.is_global_zero:
                shutil.rmtree(out, ignore_errors=True)


def _as_named(text: str, own: OwnData, out: Path) -> str:
    """A message about the lists that are about to go, in words of the folders that they were made from."""
    for option, source in own.sources.items():
        name = "train" if option == "labeled" else option
        text = text.replace(str(out / f"{name}.json"), str(source or own.labeled))
    return text


def adopt(settings: Config, fabric: Fabric) -> Config:
    """Make the lists those of the run, once it has its folder."""
    run = RunFolder(settings.model.exp_path)
    if fabric.is_global_zero:
        run.new_data.rename(run.data)
    fabric.barrier()
    named = {name: getattr(settings.data, name) for name in ("train", "valid", "unlabeled", "test")}
    return with_values(settings, {f"data.{name}": run.data / path.name for name, path in named.items() if path})


def _with_lists(own: OwnData, settings: Config, out: Path, fabric: Fabric) -> Config:
    found: dict[str, Path | None] | str = ""
    if fabric.is_global_zero:
        # Of a command that was killed; what it had listed may have changed since.
        shutil.rmtree(out, ignore_errors=True)
        try:
            lists = prepare(own.labeled, own.unlabeled, out=out, valid=own.valid, test=own.test, group_by=own.group_by)
            print_prepared(lists)
            found = {name: getattr(lists, name) for name in ("train", "valid", "unlabeled", "test")}
        except SoftdetError as error:
            if fabric.world_size == 1:
                raise
            found = str(error)
    found = fabric.broadcast(found)
    if isinstance(found, str):
        raise DataError(found)
    return with_values(settings, {f"data.{name}": path for name, path in found.items()})
