"""Runs a study: a grid of runs in parallel, each in a process of its own; finished runs are never repeated.

Tokens are made once, before the runs. A run that another study has finished is taken from there. Two studies at once
share the work: each run has a lock, and a study that finds it taken returns to this run later.
"""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from userlab.ablation.jobs import Job
from userlab.ablation.rows import write_row
from userlab.ablation.tuning import Tuned
from userlab.ablation.variants import Study, variant_config
from userlib.config import Config
from userlib.errors import UserError
from userlib.files import read_json
from userlib.progress import Progress

BUSY, STOPPED = 75, 130  # exit codes of userlab.ablation.worker
AGAIN_S = 2.0  # seconds until a run that another process is making is tried again


@dataclass
class Done:
    """The outcome of a study: rows made, rows that existed already, and the error of each run that failed."""

    made: int = 0
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def jobs_of(
    study: Study,
    base: Config,
    *,
    out: str,
    threads: int = 1,
    seeds: int | None = None,
    variants: Iterable[str] | None = None,
    tuned: Mapping[str, Tuned] | None = None,
) -> list[Job]:
    """The runs of a study, seed by seed, so that a study that is stopped early has some of every variant.

    seeds: the same number for all variants; None: each variant's own. tuned: the settings tuned for each variant.
    Raises UserError for an unknown variant.
    """
    chosen = list(study.variants) if variants is None else [name for name in variants if study.variant(name)]
    jobs = []
    most = max(seeds or study.variant(name).seeds for name in chosen)
    for seed in range(most):
        for name in chosen:
            variant = study.variant(name)
            wanted = (seeds or variant.seeds) if variant.kind == "trained" else 1
            if seed < wanted:
                settled = (tuned or {}).get(name, Tuned())
                config = variant_config(study, name, base, seed=seed, tuned=settled.changes)
                jobs.append(
                    Job(
                        study=study.name, variant=name, config=config, guide=variant.guide, kind=variant.kind,
                        scores=variant.scores, threads=threads, out=out, costs=study.costs,
                        tuning=settled.as_json() if settled.tried else {},
                    )
                )  # fmt: skip
    return jobs


def run_jobs(jobs: list[Job], *, processes: int, title: str, progress: bool = True) -> Done:
    """Runs the unfinished jobs, `processes` at a time. Ctrl-C stops the running ones at their next step."""
    if processes < 1:
        raise UserError(f"--processes is {processes}; it must be a whole number from 1 up.")
    done = Done()
    todo = []
    for job in jobs:
        if job.finished() or _shared(job):
            done.reused += len(job.names())
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
                done.failed[f"{job.variant}-{job.seed}"] = said or f"ended with exit code {code}"
            bar.step()
            bar.say(f"{job.variant}, seed {job.seed}{'' if code == 0 else ' FAILED'}")
    return done


def _ended(
    pool: ThreadPoolExecutor, running: "_Running", todo: deque[Job], processes: int
) -> Iterator[tuple[Job, int, str]]:
    """Runs the jobs and yields each as it ends, with exit code and message; one that another process is making goes to
    the end of the queue.
    """
    flying: dict[Future[tuple[int, str]], Job] = {}
    while todo or flying:
        while todo and len(flying) < processes:
            job = todo.popleft()
            if job.finished() or _shared(job):
                yield job, 0, ""
                continue
            flying[pool.submit(running.run, job)] = job
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
    """The processes of a study. On leaving the context, or by `stop`, they are told to stop."""

    def __init__(self) -> None:
        self.processes: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def __enter__(self) -> "_Running":
        return self

    def run(self, job: Job) -> tuple[int, str]:
        """Runs a job in a process; returns its exit code and the last line of its stderr."""
        if self.stopped:
            return STOPPED, "stopped before it began"
        if _taken(job):
            return BUSY, ""
        threads = {name: str(job.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        process = subprocess.Popen(
            [sys.executable, "-m", "userlab.ablation.worker"],
            env={**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C reaches only this process, which then stops the others
        )
        self.processes.add(process)
        stdin, stderr = process.stdin, process.stderr
        assert stdin is not None and stderr is not None  # both are pipes
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
        """Closes the input of every process, which then stops after writing a checkpoint."""
        self.stopped = True
        for process in list(self.processes):
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()

    def __exit__(self, *exception: object) -> None:
        self.stop()


def make_tokens(jobs: list[Job], *, progress: bool) -> None:
    """Makes tokens, guides and the ground truth of drawn images before the runs that share them."""
    from userlab.ablation.guides import with_guide
    from userlib.training import prepare
    from userscenes.ground_truth import places_of, true_elsewhere_in, truth_of

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
        if prepared.test is not None:
            truth_of(prepared.test.split)
            if prepared.test.features.grid is not None:
                places_of(prepared.test.split, prepared.test.features.grid)


def _taken(job: Job) -> bool:
    """Whether another process is making the job."""
    from filelock import FileLock, Timeout

    lock = job.place().with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def _shared(job: Job) -> bool:
    """Takes the missing rows of a job from other studies in the same folder; returns whether all exist now."""
    wanted = [name for name in job.names() if not job.row(name).is_file()]
    if not wanted:
        return True
    sources: dict[str, Path] = {}
    for file in sorted(Path(job.out).glob("*/*.json")):
        metadata: Any = read_json(file)
        if not isinstance(metadata, dict) or not file.with_suffix(".npz").is_file():
            continue
        if job.costs and "costs" not in metadata:
            continue
        sources |= {name: file for name in wanted if job.made(metadata, name)}
    if set(sources) != set(wanted):
        return False
    from userlab.ablation.rows import read_row

    for name, file in sources.items():
        row = read_row(file)
        here = {"study": job.study, "variant": name, "of": job.variant, "made_in": row.metadata["study"]}
        write_row(job.row(name), {**row.metadata, **here}, row.arrays)
    return True
