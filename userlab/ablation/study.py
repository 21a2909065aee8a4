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
AGAIN_S = 2.0  # before a run that another process is at is looked at again


@dataclass
class Done:
    """What a study came to: rows made now, rows that were there, and what went wrong by run."""

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

    seeds: for all variants alike; None: each variant's own number. tuned: what tuning chose for each variant.
    """
    chosen = list(study.variants) if variants is None else [name for name in variants if study.variant(name)]
    jobs = []
    most = max(seeds or study.variant(name).seeds for name in chosen)
    for seed in range(most):
        for name in chosen:
            variant = study.variant(name)
            wanted = (seeds or variant.seeds) if variant.kind == "trained" else 1
            if seed < wanted:
                found = (tuned or {}).get(name, Tuned())
                config = variant_config(study, name, base, seed=seed, tuned=found.changes)
                jobs.append(
                    Job(
                        study=study.name, variant=name, config=config, guide=variant.guide, kind=variant.kind,
                        scores=variant.scores, threads=threads, out=out, costs=study.costs,
                        tuning=found.as_json() if found.tried else {},
                    )
                )  # fmt: skip
    return jobs


def run_jobs(jobs: list[Job], *, processes: int, title: str, progress: bool = True) -> Done:
    """Runs what is not finished, `processes` at a time. Ctrl-C stops the running ones at their next step."""
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
    """Runs as they end; those that another process is at come back to the end of the line."""
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
    """The processes of a study. On leaving, or by `stop`, they are told to stop and are waited for."""

    def __init__(self) -> None:
        self.processes: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def __enter__(self) -> "_Running":
        return self

    def run(self, job: Job) -> tuple[int, str]:
        """Runs a job in a process -> its exit code and its last words."""
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
    """Tokens, guides and what is true of the test images, made before the runs that share them."""
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
