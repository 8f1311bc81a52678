"""Who does the tasks of a benchmark: this process, or the workers of a Ray cluster."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from core.runtime.ray_cluster import Cluster
from core.runtime.storage import Progress

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
TaskT_contra = TypeVar("TaskT_contra", contravariant=True)
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Worker(Protocol[TaskT_contra, ResultT_co]):
    """Holds a loaded model and does one task after the other. Tasks and results can be pickled."""

    description: Any
    """Of machine and model; can be pickled."""

    def work(self, task: TaskT_contra) -> ResultT_co:
        """Does a task; what fails in it is told in the result."""
        ...


MakeWorker = Callable[[Progress], Worker[TaskT, ResultT]]


class Done(NamedTuple, Generic[TaskT, ResultT]):
    """A task with its result."""

    task: TaskT
    result: ResultT | None
    """None where every worker that took it ended on it."""


class Executor(Protocol[TaskT, ResultT]):
    """One worker or several."""

    descriptions: list[Any]
    """Of all workers that are ready so far."""

    def start(self, progress: Progress) -> None:
        """Returns when a worker is ready; raises SpecDecodesError where none can be."""
        ...

    def work(self, tasks: Iterable[TaskT]) -> Iterator[Done[TaskT, ResultT]]:
        """The tasks as they are done, in any order."""
        ...


class _OwnExecutor(Generic[TaskT, ResultT]):
    """Implements `Executor` by one worker in this process."""

    def __init__(self, make_worker: MakeWorker[TaskT, ResultT]):
        self.descriptions: list[Any] = []
        self._make_worker = make_worker
        self._worker: Worker[TaskT, ResultT] | None = None

    def start(self, progress: Progress) -> None:
        """See `Executor.start`."""
        self._worker = self._make_worker(progress)
        self.descriptions.append(self._worker.description)

    def work(self, tasks: Iterable[TaskT]) -> Iterator[Done[TaskT, ResultT]]:
        """See `Executor.work`."""
        assert self._worker is not None, "an executor is started before it works"
        for task in tasks:
            yield Done(task, self._worker.work(task))


@contextmanager
def _own_executor(make_worker: MakeWorker[TaskT, ResultT]) -> Iterator[Executor[TaskT, ResultT]]:
    yield _OwnExecutor(make_worker)


def open_executor(
    make_worker: MakeWorker[TaskT, ResultT], cluster: Cluster | None
) -> AbstractContextManager[Executor[TaskT, ResultT]]:
    """An executor for as long as the context lasts; without a cluster, this process.

    Raises InvalidSettingError where Ray is asked for and is not there.
    """
    if cluster is None:
        return _own_executor(make_worker)
    from core.benchmark.ray_executor import ray_executor_on

    return ray_executor_on(make_worker, cluster)
