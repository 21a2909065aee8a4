"""Runs a study: a grid of runs, side by side, each in a process of its own; what is finished is never run again.

Tokens are made once, before the runs. A run that another study has finished, or that stands in another study, is
taken from there. Two studies at once share the work: a run has a lock, and who finds it taken comes back later.
"""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from userlab.ablation.cells import Study, cell_config
from userlab.ablation.jobs import Job
from userlab.ablation.rows import write_row
from userlib.config import Config
from userlib.errors import UserError
from userlib.files import read_json
from userlib.progress import Progress

BUSY, STOPPED = 75, 130  # exit codes of userlab.ablation.work
AGAIN_S = 2.0  # before a run that another process is at is looked at again


@dataclass
class Done:
    """What a study came to: rows made now, rows that were there, and what went wrong by run."""

    made: int = 0
    found: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def jobs_of(
    study: Study,
    base: Config,
    *,
    out: str,
    threads: int = 1,
    seeds: int | None = None,
    cells: Iterable[str] | None = None,
    rates: dict[str, float] | None = None,
) -> list[Job]:
    """The runs of a study, seed by seed, so that a study that is stopped early has some of every cell.

    seeds: for all cells alike; None: each cell's own number. rates: the learning rate chosen for each cell.
    """
    chosen = list(study.cells) if cells is None else [name for name in cells if study.cell(name)]
    jobs = []
    most = max(seeds or study.cell(name).seeds for name in chosen)
    for seed in range(most):
        for name in chosen:
            cell = study.cell(name)
            wanted = 1 if cell.kind == "zero-shot" else seeds or cell.seeds
            if seed < wanted:
                config = cell_config(study, name, base, seed=seed, rate=(rates or {}).get(name))
                jobs.append(
                    Job(
                        study=study.name, cell=name, config=config, guide=cell.guide, kind=cell.kind,
                        scores=cell.scores, threads=threads, out=out,
                    )
                )  # fmt: skip
    return jobs


def tuning_jobs(study: Study, base: Config, names: Iterable[str], *, out: str, threads: int = 1) -> list[Job]:
    """One run for each cell and learning rate, never scored on the split reported on."""
    jobs = []
    for name in names:
        for rate in study.rates:
            config = cell_config(study, name, base, seed=0, rate=rate)
            config = replace(config, data=replace(config.data, report=None))
            cell = f"{name}-lr-{rate:g}"
            jobs.append(Job(study=f"{study.name}-tuning", cell=cell, config=config, threads=threads, out=out))
    return jobs


def best_rates(study: Study, jobs: list[Job], names: Iterable[str]) -> dict[str, float]:
    """For each cell the learning rate of highest rSum on the selection split, from finished tuning runs."""
    found: dict[str, dict[float, float]] = {name: {} for name in names}
    for job in jobs:
        name, rate = job.cell.rsplit("-lr-", 1)
        if job.row(job.cell).is_file():
            metrics = read_json(job.row(job.cell))["select"]["metrics"]
            found[name][float(rate)] = float(metrics["rsum"])
    bare = [name for name, tried in found.items() if not tried]
    if bare:
        raise UserError(f"no learning rate of {bare[0]!r} led to a finished run; see what its runs said.")
    return {name: max(tried, key=lambda rate: tried[rate]) for name, tried in found.items()}


def run_jobs(jobs: list[Job], *, processes: int, title: str, progress: bool = True) -> Done:
    """Runs what is not finished, `processes` at a time. Ctrl-C stops the running ones at their next step."""
    if processes < 1:
        raise UserError(f"--processes is {processes}; it must be a whole number from 1 up.")
    done = Done()
    todo = []
    for job in jobs:
        if job.finished() or _shared(job):
            done.found += len(job.names())
        else:
            todo.append(job)
    if not todo:
        return done
    make_tokens(todo, progress=progress)
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(len(jobs), title, show=progress))
        bar.step(len(jobs) - len(todo))
        running = stack.enter_context(_Running())
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        stack.callback(running.stop)  # before the pool waits for its threads
        for job, code, said in _ended(pool, running, deque(todo), processes):
            if code == 0:
                done.made += len(job.names())
            else:
                done.failed[f"{job.cell}-{job.seed}"] = said or f"ended with exit code {code}"
            bar.step()
            bar.say(f"{job.cell}, seed {job.seed}{'' if code == 0 else ' FAILED'}")
    return done


def _ended(
    pool: ThreadPoolExecutor, running: "_Running", todo: deque[Job], processes: int
) -> Iterator[tuple[Job, int, str]]:
    """Runs as they end; those that another process is at come back to the end of the line."""
    flying: dict[Future[tuple[int, str]], Job] = {}
    while todo or flying:
        while todo and len(flying) < processes:
            job = todo.popleft()
            if job.finished() or _shared(job):
                yield job, 0, ""
                continue
            flying[pool.submit(running.work, job)] = job
        ended, _ = wait(flying, return_when=FIRST_COMPLETED)
        for future in ended:
            job = flying.pop(future)
            code, said = future.result()
            if code == BUSY:
                todo.append(job)
                time.sleep(AGAIN_S)
            else:
                yield job, code, said


class _Running:
    """The processes of a study. On leaving, or by `stop`, they are asked to stop and are waited for."""

    def __init__(self) -> None:
        self.processes: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def __enter__(self) -> "_Running":
        return self

    def work(self, job: Job) -> tuple[int, str]:
        """Runs a job in a process -> its exit code and its last words."""
        if self.stopped:
            return STOPPED, "stopped before it began"
        if _taken(job):
            return BUSY, ""
        threads = {name: str(job.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        process = subprocess.Popen(
            [sys.executable, "-m", "userlab.ablation.work"],
            env={**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends theirs in order
        )
        self.processes.add(process)
        stdin, stderr = process.stdin, process.stderr
        if stdin is None or stderr is None:  # for the type checker: both were asked for
            raise UserError("a process of the study has no pipes; start the study again.")
        with suppress(BrokenPipeError):
            stdin.write(json.dumps(job.as_json()) + "\n")
            stdin.flush()
        words = stderr.read()
        code = process.wait()
        with suppress(BrokenPipeError):
            stdin.close()
        self.processes.discard(process)
        return code, " ".join(words.strip().splitlines()[-1:])

    def stop(self) -> None:
        """Closes the input of every process, at which it stops with a checkpoint."""
        self.stopped = True
        for process in list(self.processes):
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()

    def __exit__(self, *exception: object) -> None:
        self.stop()


def make_tokens(jobs: list[Job], *, progress: bool) -> None:
    """Tokens, guides and what is true of the test pictures, made before the runs that share them."""
    from userlab.ablation.guides import with_guide
    from userlib.training import prepare
    from userscenes.truths import places_of, true_elsewhere_in, truth_of

    seen = set()
    for job in sorted(jobs, key=lambda one: one.config.data.guide is None):  # one pass makes tokens and guide
        data = job.config.data
        queued = bool(job.config.model.queue_size)
        mark = json.dumps([vars(data) | {"sizes": dict(data.sizes or {})}, job.guide, queued], sort_keys=True)
        if mark in seen:
            continue
        seen.add(mark)
        prepared = with_guide(prepare(job.config, progress=progress), job.guide)
        if job.config.model.queue_size:
            true_elsewhere_in(prepared.train.split)
        if prepared.report is not None:
            truth_of(prepared.report.split)
            if prepared.report.features.grid is not None:
                places_of(prepared.report.split, prepared.report.features.grid)


def _taken(job: Job) -> bool:
    """Whether another process is at the job just now."""
    from filelock import FileLock, Timeout

    lock = job.place().with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def _shared(job: Job) -> bool:
    """Takes the rows of a job from another study of the same folder that has made them."""
    wanted = [name for name in job.names() if not job.row(name).is_file()]
    if not wanted:
        return True
    found: dict[str, Path] = {}
    for file in sorted(Path(job.out).glob("*/*.json")):
        facts: Any = read_json(file)
        if not isinstance(facts, dict) or not file.with_suffix(".npz").is_file():
            continue
        found |= {name: file for name in wanted if job.made(facts, name)}
    if set(found) != set(wanted):
        return False
    from userlab.ablation.rows import read_row

    for name, file in found.items():
        row = read_row(file)
        here = {"study": job.study, "cell": name, "of": job.cell, "made_in": row.facts["study"]}
        write_row(job.row(name), {**row.facts, **here}, row.arrays)
    return True
