"""The evidence by one command: makes the runs that are missing, one row each, and writes the tables anew.

    python bench/accuracy.py --weights FILE             all that is missing, two runs at once
    python bench/accuracy.py --list                     what there is to do
    python bench/accuracy.py --report-only              only docs/results.json and the tables in the docs

Which runs there are, and every value of them: `bench/accuracy.yaml`. How it all works: `bench/README.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from evidence.markdown import update_markdown
from evidence.measure import is_finished, measure, num_steps, read_metrics
from evidence.plot import plot_gains
from evidence.results import collect, digest_of, stale_rows, to_json
from evidence.rows import Row, append_row, find_row, read_rows
from evidence.runs import Place, Task, make_runs
from evidence.table import Group, Job, Table, jobs_of, load_table, resolve
from softdet.config import Config
from softdet.errors import ConfigError, DataError, SoftdetError
from softdet.files import write_json
from softdet.report.plots import write_plots

STOPPED = 130
GROUPS_OF_CHANGES: tuple[Group, ...] = ("search", "ablation")


@dataclass(frozen=True, slots=True)
class Files:
    """Where things are and go, as the command line says."""

    table: Path
    data: Path
    runs: Path
    docs: Path
    weights: Path | None

    @property
    def rows(self) -> Path:
        """One row for each finished run."""
        return self.docs / "results.csv"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A run that was asked for, with its config."""

    job: Job
    digest: str
    place: Place
    config: Config


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code is 0 where all went well, and 130 where it was stopped."""
    options = parser().parse_args(arguments)
    files = Files(options.table, options.data, options.runs, options.docs, options.weights)
    # Runs train beside the evaluations made here, so these take one thread as well.
    torch.set_num_threads(1)
    try:
        table = load_table(files.table)
        code = 0
        if options.list:
            print_list(table, files, options)
        elif not options.report_only:
            code = run_missing(table, files, options)
        if not options.list:
            print(write_report(table, files))
    except SoftdetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return code


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0] if __doc__ else None,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--sets", nargs="+", help="only these; left out: all but those for a GPU")
    options.add_argument("--arms", nargs="+", help="only these arms, or groups of them (main, control, ablation)")
    options.add_argument("--folds", nargs="+", type=int, help="only these")
    options.add_argument("--seed", type=int, help="of fold 1, each later fold takes the next; left out: the table's")
    options.add_argument("--parallel", type=int, default=2, help="runs at once, a thread each")
    options.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the sets")
    options.add_argument("--weights", type=Path, help="ImageNet weights of the backbone; left out: downloaded")
    options.add_argument("--runs", type=Path, default=Path("runs/bench"), help="where the runs go")
    options.add_argument("--docs", type=Path, default=Path("docs"), help="folder of results.csv and of the pages")
    options.add_argument("--table", type=Path, default=Path(__file__).parent / "accuracy.yaml", help="which runs")
    options.add_argument("--list", action="store_true", help="only print each run and how far it is")
    options.add_argument("--report-only", action="store_true", help="only write the tables from the rows that exist")
    return options


def choose(table: Table, files: Files, options: argparse.Namespace) -> list[Chosen]:
    """The runs that were asked for; of several that come to the same config only the first.

    Raises:
        ConfigError: a set, arm or fold that was asked for isn't in the table.
    """
    jobs = list(jobs_of(table, options.seed))
    groups = {arm: name for name, group in table.groups.items() for arm in group.arms}
    _check_names("--sets", options.sets, table.sets)
    _check_names("--arms", options.arms, [*table.groups, *groups])
    _check_names("--folds", options.folds, {job.fold for job in jobs})
    sets = options.sets or [name for name, data_set in table.sets.items() if not data_set.gpu]
    chosen: dict[tuple[str, int, str], Chosen] = {}
    for job in jobs:
        is_of_arms = options.arms is None or {job.arm, groups[job.arm]} & set(options.arms)
        if job.set in sets and is_of_arms and (options.folds is None or job.fold in options.folds):
            digest = digest_of(table, job)
            place = Place(files.runs / job.set / f"{job.arm}-fold{job.fold}-seed{job.seed}-{digest}")
            config = resolve(table, job, files.data, files.weights, place.run.path)
            chosen.setdefault((job.set, job.fold, digest), Chosen(job, digest, place, config))
    return list(chosen.values())


def run_missing(table: Table, files: Files, options: argparse.Namespace) -> int:
    """Make the runs that have no row yet."""
    # That the rows can be read and the tables written should be known before hours of training, not after.
    write_report(table, files)
    rows = read_rows(files.rows)
    chosen = choose(table, files, options)
    missing = [each for each in chosen if find_row(rows, each.job, each.digest) is None]
    print(f"{len(chosen)} runs asked for, {len(chosen) - len(missing)} have their row, {len(missing)} to make")
    require_lists([each.config for each in missing])
    of_name = {str(each.job): each for each in missing}
    num_failed, stopped = make_runs(
        [Task(name, each.place, each.config) for name, each in of_name.items()],
        max(1, options.parallel),
        lambda task: add_row(table, files, of_name[task.name]),
        lambda line: print(line, flush=True),
    )
    if num_failed:
        print(f"{num_failed} runs failed")
    return STOPPED if stopped else int(num_failed > 0)


def add_row(table: Table, files: Files, finished: Chosen) -> None:
    """Measure a finished run, append its row, unless another process already has, and write the tables anew."""
    job, place = finished.job, finished.place
    if find_row(read_rows(files.rows), job, finished.digest) is not None:
        return
    numbers = measure(place.run, finished.config)
    sessions = place.sessions()
    row = Row(
        set=job.set,
        arm=job.arm,
        fold=job.fold,
        seed=job.seed,
        steps=num_steps(finished.config),
        AP=numbers.AP,
        AP50=numbers.AP50,
        AP75=numbers.AP75,
        AP_agnostic=numbers.AP_agnostic,
        seconds_supervised=numbers.seconds_supervised,
        seconds_semi=numbers.seconds_semi,
        wall_minutes=sum(session["seconds"] for session in sessions) / 60,
        digest=finished.digest,
        commit=" ".join(dict.fromkeys(session["commit"] for session in sessions)),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )
    append_row(files.rows, row)
    write_report(table, files)
    print(f"{job}: AP {100 * row.AP:.1f}, AP50 {100 * row.AP50:.1f}, {row.wall_minutes:.0f} min", flush=True)


def write_report(table: Table, files: Files) -> str:
    """Write `results.json` and the tables of the docs from the rows; gives what there is to say about it."""
    rows = read_rows(files.rows)
    results = collect(table, rows)
    write_json(files.docs / "results.json", to_json(results))
    update_markdown(files.docs, results)
    drawn = (plot_gains(results, group) for group in GROUPS_OF_CHANGES)
    write_plots(files.docs / "images", [plot for plot in drawn if plot is not None])
    done = f"{len(rows)} rows; results.json and the tables in {files.docs} are up to date"
    return "\n".join([*stale_rows(table, rows), done])


def print_list(table: Table, files: Files, options: argparse.Namespace) -> None:
    """Say of each run that was asked for how far it is, and which rows are stale."""
    rows = read_rows(files.rows)
    for each in choose(table, files, options):
        row = find_row(rows, each.job, each.digest)
        state = f"done, AP {100 * row.AP:.1f}" if row else progress(each)
        print(f"{each.job}  {each.digest}  {num_steps(each.config)} steps: {state}")
    for line in stale_rows(table, rows):
        print(line)


def progress(chosen: Chosen) -> str:
    """How far a run without a row is."""
    run = chosen.place.run
    if is_finished(run, chosen.config):
        return "finished, to be measured"
    if not run.checkpoint.is_file():
        return "to make"
    logged = read_metrics(run.metrics)
    return f"begun, at step {logged[-1]['step'] if logged else 0}"


def require_lists(configs: Sequence[Config]) -> None:
    """Make sure before hours of work that all lists and weights are there.

    Raises:
        DataError: naming those that aren't.
    """
    needed = {path for config in configs for path in (config.data.train, config.data.valid, config.data.unlabeled)}
    needed |= {path for config in configs if isinstance(path := config.basenet.pretrained, Path)}
    missing = sorted(str(path) for path in needed if path is not None and not path.exists())
    if missing:
        listed = "\n  ".join(missing)
        raise DataError(f"these files aren't there; --data names the folder that holds the sets:\n  {listed}")


def _check_names(option: str, asked: Sequence[object] | None, known: Iterable[object]) -> None:
    names = list(known)
    if unknown := [name for name in asked or () if name not in names]:
        raise ConfigError(f"{option} {unknown}: the table has {names}")


if __name__ == "__main__":
    sys.exit(main())
