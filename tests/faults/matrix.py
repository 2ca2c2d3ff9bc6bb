"""Runs cases of the fault matrix, and checks the result of each job."""

import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nst_core.client import Client
from nst_core.client.resources.jobs import Job, JobInput, JobRequest, Precision
from scheduler.domain.jobs import RESULTS_NAME
from tests.faults.cases import POISON_NAME, STICKY_NAME, Bar, Case
from tests.faults.cluster import Cluster, Setup
from tests.faults.doubles import POISON, STICKY
from tests.faults.harness import Outcome, check_complete, images
from tests.faults.scene import Sampled, Sampler, Scene
from tests.faults.table import Run
from tests.photos import bad_files, small_photos

#: Time for stopped or disconnected workers to finish work that is no longer wanted.
_SETTLE_S = 15.0
#: Time for a worker with an outdated attempt to store its current work.
_LATE_S = 2.0
#: Large enough for all data of a small cluster, and quickly filled.
_DISK_BYTES = {"sqlite": 100 << 20, "postgresql": 400 << 20}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How cases are run."""

    repeats: int = 20
    seed: int = 1
    #: None for the number that each case sets.
    items: int | None = None
    freeze_s: float = 90.0
    item_ms: float = 100.0
    #: That of the jobs.
    precision: Precision = "auto"


class Matrix:
    """Runs cases one by one. Cases that need the same cluster share it."""

    def __init__(
        self,
        folder: Path,
        options: Options,
        *,
        say: Callable[[str], None] = lambda line: None,
        make_cluster: Callable[[Setup, Path], Cluster] | None = None,
        by_nst_up: Callable[[Case, int], Mapping[str, str]] | None = None,
    ) -> None:
        """Keep everything in a folder. `say` is called with progress messages. `make_cluster` makes other clusters.

        `by_nst_up` runs the job of a case with so many photos by `nst up`, and returns the SHA-256 of its
        images, which must be those of the cluster too.
        """
        self._folder = folder
        self._options = options
        self._say = say
        self._make = make_cluster or self._usual_cluster
        self._by_nst_up = by_nst_up
        self._open = ExitStack()
        self._cluster: Cluster | None = None
        self._clusters = 0
        self._undisturbed: dict[str, Outcome] = {}

    def __enter__(self) -> "Matrix":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def runs(self, case: Case, database: str) -> Iterator[Run]:
        """Run a case as often as the options say."""
        items = case.items if case.real else self._options.items or case.items
        for repeat in range(self._options.repeats):
            rng = random.Random(f"{self._options.seed} {case.id} {database} {repeat}")
            run = self._run(case, database, items, rng)
            result = "; ".join(run.problems) or "passed"
            self._say(f"{case.id} {database} {repeat + 1}/{self._options.repeats}: {result}, {run.seconds:.0f} s")
            yield run
        if case.leaves_traces:
            self._close()

    def _run(self, case: Case, database: str, items: int, rng: random.Random) -> Run:
        started = time.monotonic()
        blank = Run(
            case=case.id, title=case.title, database=database, size=f"{items * len(case.styles):,}", seconds=0.0
        )
        try:
            cluster = self._cluster_for(case, database)
            cluster.restore()
            found = self._run_once(case, cluster, items, rng)
        except TimeoutError as error:
            # If the cluster does not recover, this run fails, not the ones after it.
            self._close()
            found = {"problems": (str(error),)}
        return blank.model_copy(update={"seconds": time.monotonic() - started, **found})

    def _cluster_for(self, case: Case, database: str) -> Cluster:
        disk_bytes = _DISK_BYTES[database] if case.own_disk else None
        setup = Setup(database=database, real=case.real, workers=2 if case.real else 3, disk_bytes=disk_bytes)
        if self._cluster is None or self._cluster.setup != setup:
            self._close()
            self._clusters += 1
            home = self._folder / f"cluster-{self._clusters}"
            home.mkdir()
            self._cluster = self._open.enter_context(self._make(setup, home))
        return self._cluster

    def _usual_cluster(self, setup: Setup, home: Path) -> Cluster:
        return Cluster(setup, home, seed=self._options.seed, item_ms=self._options.item_ms)

    def _close(self) -> None:
        self._open.close()
        self._cluster = None
        self._undisturbed.clear()

    def _run_once(self, case: Case, cluster: Cluster, items: int, rng: random.Random) -> dict[str, object]:
        options = self._options
        expected = self._by_nst_up(case, items) if self._by_nst_up else None
        with cluster.client() as client:
            good = self._photos(cluster, case, items)
            if good not in self._undisturbed:
                job = client.wait(self._submit(client, good, case).id, poll_s=0.2, timeout_s=300 + items)
                self._undisturbed[good] = gather(cluster, client, job)
                check_complete(self._undisturbed[good])
            first = self._undisturbed[good]
            prefix, photos = self._spoilt(cluster, case, items) if case.bar.failing else (good, items)
            total = photos * len(case.styles)
            before = _Before(cluster)
            case.prepare(cluster)
            job = self._submit(client, prefix, case)
            scene = Scene(cluster, job, items=total, freeze_s=options.freeze_s, rng=rng)
            disturber = threading.Thread(target=disturb, args=(case, scene), name="faults", daemon=True)
            with Sampler(cluster, job.id, first.job.id) as sampler:
                disturber.start()
                scene.wait(timeout_s=180 + 0.2 * total + 3 * options.freeze_s)
                disturber.join(240 + 2 * options.freeze_s)
            if disturber.is_alive():
                scene.problems.append("the fault does not end")
            scene.close()
            cluster.restore()
            if case.bar.some_cancelled:
                time.sleep(_LATE_S)
            job = client.job(job.id)
            outcome = settled(cluster, client, job) if job.status.is_terminal else None
        checks = _Checks(case.bar, scene, before, sampler.seen)
        checks.all(outcome, first, total)
        if outcome is not None and expected is not None:
            checks.same_as_nst_up(outcome, expected)
        return {
            "recovery_s": tuple(mark.recovery_s for mark in scene.marks if mark.recovery_s is not None),
            "waste": checks.waste,
            "problems": tuple(scene.problems),
            "counted": dict(scene.counted),
            "longest_s": scene.longest_s,
        }

    def _submit(self, client: Client, prefix: str, case: Case) -> Job:
        request = JobRequest(
            input=JobInput(prefix=prefix), styles=tuple(case.styles), precision=self._options.precision
        )
        return client.submit(request)

    def _photos(self, cluster: Cluster, case: Case, items: int) -> str:
        if not case.real:
            return cluster.photos(items)
        name = f"real-{items}-{case.side_px}"
        return cluster.put_photos(name, small_photos(items, side_px=case.side_px))

    def _spoilt(self, cluster: Cluster, case: Case, items: int) -> tuple[str, int]:
        """Return the prefix of photos, including those that must fail, and their number."""
        photos = small_photos(items, side_px=96)
        good = next(data for name, data in photos.items() if name.endswith(".png"))
        bad = bad_files() | {POISON_NAME: good + POISON, STICKY_NAME: good + STICKY}
        photos |= {name: bad[name] for name in case.bar.failing}
        return cluster.put_photos(f"spoilt-{case.id}-{items}", photos), len(photos)


class _Before:
    """The state before a run."""

    def __init__(self, cluster: Cluster) -> None:
        self.effects = cluster.effects.stat().st_size
        self.jobs = cluster.observer.jobs()
        self.fenced, self.silent = count_logged(cluster)


class _Checks:
    """Looks for problems, and reports them to the scene."""

    def __init__(self, bar: Bar, scene: Scene, before: _Before, seen: Sampled) -> None:
        self._bar = bar
        self._scene = scene
        self._before = before
        self._seen = seen
        self.waste: int | None = None

    def all(self, outcome: Outcome | None, first: Outcome, total: int) -> None:
        """Check everything."""
        self._check_course()
        self._check_api()
        if outcome is None:
            self._add(True, f"the job is not at its end: {self._scene.state()}")
            return
        self._check_results(outcome, first, total)
        self._check_commits(total)
        self._check_waste(outcome)

    def same_as_nst_up(self, outcome: Outcome, expected: Mapping[str, str]) -> None:
        """Check that `nst up` made the same images."""
        made = images(outcome)
        same = sum(expected.get(key) == digest for key, digest in made.items())
        engines = Counter(f"{item.engine} in {item.precision}" for item in outcome.items)
        self._add(made.keys() != expected.keys(), "`nst up` made images of other names")
        self._add(same < len(made), f"{len(made) - same} images are not those of `nst up`: {dict(engines)}")
        self._scene.counted["images equal to those of `nst up`"] = same

    def _add(self, wrong: bool, problem: str) -> None:
        if wrong:
            self._scene.problems.append(problem)

    def _check_results(self, outcome: Outcome, first: Outcome, total: int) -> None:
        bar, counts = self._bar, outcome.job.counts
        self._add(outcome.job.status != bar.status, f"the job is {outcome.job.status}")
        lost = total - counts.succeeded - counts.failed - counts.cancelled
        self._add(lost != 0 or len(outcome.items) != total, f"lost {lost} of {total} items, {len(outcome.items)} rows")
        try:
            check_complete(outcome)
        except AssertionError as error:
            self._add(True, f"results and objects differ: {error}")
        made, expected = images(outcome), images(first)
        others = sum(expected.get(key) != digest for key, digest in made.items())
        self._add(others > 0, f"{others} objects are not those of the undisturbed run")
        missing = len(expected.keys() - made.keys())
        self._add(missing > 0 and not bar.some_cancelled, f"{missing} objects are missing")
        failed = {Path(item.input).name: item.error.code for item in outcome.items if item.error}
        self._add(failed != bar.failing, f"failed were {failed}")

    def _check_commits(self, total: int) -> None:
        commits = self._scene.cluster.observer.commits(self._scene.job.id)
        twice = sum(times > 1 for times in commits.values())
        self._add(twice > 0, f"{twice} items were committed twice")
        self._add(len(commits) != total, f"{len(commits)} of {total} items were committed")
        jobs = self._scene.cluster.observer.jobs() - self._before.jobs
        self._add(jobs != 1, f"{jobs} jobs came of one submission")

    def _check_waste(self, outcome: Outcome) -> None:
        if not self._scene.cluster.counts_effects:
            return
        with open(self._scene.cluster.effects, "rb") as file:
            file.seek(self._before.effects)
            keys = [line.split(b" ", 2)[2].strip().decode() for line in file]
        prefix = str(outcome.job.output.prefix).split("/", 3)[3]
        made = Counter(key for key in keys if key.startswith(prefix))
        self.waste = sum(made.values()) - len(made)
        if self._bar.waste is not None:
            most = self._bar.waste * self._scene.faults
            self._add(self.waste > most, f"{self.waste} items were done again, more than {most}")

    def _check_course(self) -> None:
        bar, scene = self._bar, self._scene
        self._add(scene.faults == 0, "nothing went wrong")
        slow = [mark for mark in scene.marks if mark.recovery_s is None]
        self._add(bool(slow), f"no recovery from: {[mark.what for mark in slow]}")
        if bar.recovery_s is not None:
            for mark in scene.marks:
                if mark.recovery_s is not None and mark.recovery_s > bar.recovery_s:
                    self._add(True, f"{mark.what}: recovered after {mark.recovery_s:.1f} s")
        fenced, silent = count_logged(scene.cluster)
        fenced, silent = fenced - self._before.fenced, silent - self._before.silent
        self._add(fenced < bar.fenced, "no report of an outdated attempt was refused")
        self._add(bar.silent is not None and silent > bar.silent, f"{silent} leases were taken away")
        self._add(silent < bar.taken, "no lease was taken away")
        scene.counted.update({"faults": scene.faults, "leases taken away": silent, "reports refused": fenced})

    def _check_api(self) -> None:
        bar, seen = self._bar, self._seen
        for wrong in dict.fromkeys(seen.wrong):
            self._add(True, f"API: {wrong}")
        self._add(seen.reads == 0 and not bar.api_dies, "the API was never read")
        self._add(seen.unreachable > 0 and not bar.api_dies, f"API: unreachable {seen.unreachable} times")
        too_slow = bar.call_s is not None and seen.slowest_s > bar.call_s
        self._add(too_slow, f"a call of the API took {seen.slowest_s:.1f} s")
        self._add(bar.unavailable and not seen.unavailable, "the API never said 503")
        self._scene.counted["answers of 503"] += seen.unavailable


def disturb(case: Case, scene: Scene) -> None:
    """Run a fault. If it fails to run, that is a problem too, because nothing was tested."""
    try:
        case.fault(scene)
    except Exception as error:  # noqa: BLE001  A thread cannot fail its run by raising
        scene.problems.append(f"the fault itself failed: {error!r}")


def gather(cluster: Cluster, client: Client, job: Job) -> Outcome:
    """Return a finished job and everything that it stored."""
    objects = cluster.objects(str(job.output.prefix))
    return Outcome(
        job=job,
        items=list(client.items(job.id)),
        objects={key: hashlib.sha256(data).hexdigest() for key, data in objects.items()},
        results=[json.loads(line) for line in objects.get(RESULTS_NAME, b"").splitlines()],
        errors=[json.loads(line) for line in client.errors(job.id).splitlines()],
    )


def settled(cluster: Cluster, client: Client, job: Job) -> Outcome:
    """Return a finished job and everything that it stored, after workers with outdated attempts have finished too.

    They may store an image again, with the same bytes and key. Amazon's storage replaces an object atomically;
    with rclone, the server here, the object is missing for a moment.
    """
    deadline = time.monotonic() + _SETTLE_S
    while True:
        outcome = gather(cluster, client, job)
        listed = {str(line["output"]).removeprefix(str(job.output.prefix)) for line in outcome.results}
        if listed == images(outcome).keys() or time.monotonic() > deadline:
            return outcome
        time.sleep(0.5)


def count_logged(cluster: Cluster) -> tuple[int, int]:
    """Return how many reports were refused and how many leases were taken away so far, from the schedulers' logs."""
    log = cluster.logs("scheduler")
    return log.count("is outdated"), log.count("its worker stopped responding")


def find_cases(cases: Sequence[Case], wanted: Sequence[str]) -> list[Case]:
    """Return the cases with ids such as F1, or all for ALL, in the order of the matrix."""
    found = [case for case in cases if "ALL" in wanted or case.id in wanted]
    if not found:
        raise SystemExit(f"There is no case {wanted}; there are {', '.join(case.id for case in cases)}.")
    return found
