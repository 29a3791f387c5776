"""One `softdet train` at a time in a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from softdet.errors import RunError
from softdet.evaluation.run import RunFolder

# Seconds. The loader processes of a command that was killed may hold what it held until they look for it, every 5 s.
_PATIENCE = 6.0


@contextmanager
def sole_writer(run: RunFolder, fabric: Fabric) -> Iterator[None]:
    """Keep a second command out of a run folder while this one is at work there; rank 0 for all.

    The folder is made with its parents, which go again where nothing came into them. The lock goes with the process,
    however that ends.

    Args:
        run: the folder.
        fabric: launched.

    Raises:
        RunError: another command is at work there.
    """
    lock = FileLock(run.lock)
    missing = [path for path in (run.path, *run.path.parents) if not path.exists()]
    refusal = _acquire(lock, run) if fabric.is_global_zero else None
    if refusal := fabric.broadcast(refusal):
        raise RunError(refusal)
    try:
        yield
    finally:
        if fabric.is_global_zero and lock.is_locked:
            lock.release()
            run.lock.unlink(missing_ok=True)
            for path in missing:
                if not path.is_dir() or any(path.iterdir()):
                    break
                path.rmdir()


def _acquire(lock: FileLock, run: RunFolder) -> str | None:
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        return (
            f"{run.path}: another `softdet train` is at work in this folder (it holds {run.lock.name}), and two would "
            "write over each other. Wait for it or end it, or choose another model.exp_path."
        )
    except (OSError, NotImplementedError):
        # Some network disks have no locks. What can't be written at all is told when the run makes its folder.
        pass
    return None
