"""Workers on a Ray cluster, each with a model of its own; one that ends gives its task back."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic

from core.benchmark.executor import Done, Executor, MakeWorker, ResultT, TaskT
from core.errors import InvalidSettingError, SpecDecodesError
from core.runtime.ray_cluster import Cluster, Share, connect, share_of
from core.runtime.storage import Progress, no_progress

# A task that ends its worker so often is no accident.
_MOST_ATTEMPTS = 3


class _Actor(Generic[TaskT, ResultT]):
    """What runs on the cluster: a worker that is made there, out of what the driver sends."""

    def __init__(self, make_worker: MakeWorker[TaskT, ResultT]):
        self._make_worker = make_worker

    def start(self) -> Any:
        self._worker = self._make_worker(no_progress)
        return self._worker.description

    def work(self, task: TaskT) -> ResultT:
        return self._worker.work(task)


class _RayExecutor(Generic[TaskT, ResultT]):
    """Implements `core.benchmark.executor.Executor`."""

    def __init__(self, ray: Any, make_worker: MakeWorker[TaskT, ResultT], share: Share):
        self.descriptions: list[Any] = []
        self._ray = ray
        self._make_worker = make_worker
        self._actor_class = ray.remote(**share.resources)(_Actor)
        self._num_deaths = 0
        self._starting: dict[Any, Any] = {}
        self._busy: dict[Any, tuple[Any, TaskT]] = {}
        self._idle: list[Any] = []
        for _ in range(share.num_workers):
            self._hire()

    def _hire(self) -> None:
        actor = self._actor_class.remote(self._make_worker)
        self._starting[actor.start.remote()] = actor

    def start(self, progress: Progress) -> None:
        """See `Executor.start`."""
        progress("waiting for a worker", 0, 0)
        while not self._idle:
            self._next()

    def work(self, tasks: Iterable[TaskT]) -> Iterator[Done[TaskT, ResultT]]:
        """See `Executor.work`."""
        waiting = deque(tasks)
        attempts: Counter[int] = Counter()
        while waiting or self._busy:
            while waiting and self._idle:
                actor, task = self._idle.pop(), waiting.popleft()
                attempts[id(task)] += 1
                self._busy[actor.work.remote(task)] = (actor, task)
            done = self._next()
            if done is None:
                continue
            if done.result is not None or attempts[id(done.task)] >= _MOST_ATTEMPTS:
                yield done
            else:
                waiting.appendleft(done.task)

    def _next(self) -> Done[TaskT, ResultT] | None:
        """Waits until a worker is ready, done, or dead; a task without a result was given back."""
        refs = [*self._starting, *self._busy]
        (ref,), _ = self._ray.wait(refs, num_returns=1)
        if ref in self._starting:
            self._greet(ref)
            return None
        actor, task = self._busy.pop(ref)
        try:
            result: ResultT = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise _own_error(error) from None
        except self._ray.exceptions.RayActorError:
            self._hire()
            return Done(task, None)
        self._idle.append(actor)
        return Done(task, result)

    def _greet(self, ref: Any) -> None:
        actor = self._starting.pop(ref)
        try:
            self.descriptions.append(self._ray.get(ref))
        except self._ray.exceptions.RayTaskError as error:
            raise _own_error(error) from None
        except self._ray.exceptions.RayActorError as error:
            self._num_deaths += 1
            if self._num_deaths >= _MOST_ATTEMPTS and not (self._idle or self._busy):
                raise InvalidSettingError(
                    f"{self._num_deaths} workers of the Ray cluster ended while they started; see "
                    "Ray's logs, give fewer --workers, or leave --ray out."
                ) from error
            self._hire()
            return
        self._idle.append(actor)


def _own_error(error: Any) -> Exception:
    """What a worker raised, without Ray's wrapping where it is one sentence of ours."""
    cause: Exception = error.cause if isinstance(error.cause, SpecDecodesError) else error
    return cause


@contextmanager
def ray_executor_on(
    make_worker: MakeWorker[TaskT, ResultT], cluster: Cluster
) -> Iterator[Executor[TaskT, ResultT]]:
    """An executor on a cluster, or on one that is started here and ends with the context.

    Raises InvalidSettingError where Ray is not installed or the cluster is not there.
    """
    ray = connect(cluster)
    try:
        share = share_of(ray, cluster)
        yield _RayExecutor(ray, make_worker, share)
    finally:
        ray.shutdown()
