"""Training: one loop for notebooks, a CPU, a GPU and several processes; it resumes bit-equal and stops on collapse.

prepared = prepare(preset("scenes"))
run = fit(prepared, out=Path("runs/first"))
run.history            # a DataFrame, one row per evaluation
"""

import copy
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from userlib.arguments import checked
from userlib.checkpoints import (
    check_run,
    checkpoint_path,
    load_state_strict,
    prune,
    read_checkpoint,
    write_checkpoint,
    writing,
)
from userlib.config import Config, to_json
from userlib.data.captions import Batch
from userlib.data.extractors import check_made_by
from userlib.data.tokenizers import Tokenizer
from userlib.errors import UserError
from userlib.files import write_checksummed
from userlib.model.contrast import Output
from userlib.model.user import USER, DualEncoder, Loaded, encoder_weights, load_model, save_model, write_model
from userlib.precision import training_attention
from userlib.progress import Progress
from userlib.rules import check_used
from userlib.training.background import Background, snapshot
from userlib.training.cca_init import init_from_cca
from userlib.training.concept_init import init_concepts
from userlib.training.interpolation import ALPHAS, check_interpolation, interpolate, start_of
from userlib.training.preparing import Prepared, metadata_of, prepare, total_steps
from userlib.training.processes import any_process, make_accelerator
from userlib.training.schedule import (
    batches,
    lr_factor,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    step_seed,
)
from userlib.training.stopping import GracefulInterrupt
from userlib.training.tracking import Tracking, check_trackers
from userlib.training.watching import (
    check_collapse,
    check_loss,
    check_start,
    evaluate_now,
    key_age,
    positives,
    scale_stats,
)
from userlib.training.workers import workers_needed

if TYPE_CHECKING:
    import pandas as pd

# settings that change no result: on resuming, files may have moved and workers may be more
PLACES = {("data", name) for name in ("data", "pictures", "token_weights", "keep_pixels", "workers")}
LOOK = 50  # steps after which the host checks whether every loss was finite
PIXELS = 64  # images that a trained tower encodes at each evaluation to monitor the residual scales


@dataclass
class State:
    """The progress of a run; together with weights and optimizer it is all that a resumed run needs."""

    step: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)  # one per evaluation
    best_step: int = 0
    best_rsum: float = -1.0
    seconds: float = 0.0  # spent in earlier sessions


@dataclass
class Run:
    """A finished or interrupted run. model: the weights of the last step; encoders: those of the best evaluation."""

    model: USER
    encoders: DualEncoder
    tokenizer: Tokenizer
    config: Config
    rows: list[dict[str, float]]
    seconds: float
    finished: bool
    folder: Path | None

    @property
    def history(self) -> "pd.DataFrame":
        """One row per evaluation."""
        import pandas as pd

        return pd.DataFrame(self.rows)


@checked
def fit(
    prepared: Prepared | Config,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    stop_at: int | None = None,
    progress: bool = True,
    track: Sequence[str] = (),
) -> Run:
    """Trains (first preparing a configuration), evaluates on the selection split, and keeps best and last checkpoint.

    stop_at ends the run after that many steps, Ctrl-C after the current step: a checkpoint is written, from which
    `resume=True` continues bit-equal to an uninterrupted run. A second Ctrl-C ends it at once, with the previous
    checkpoint. track: trackers that also receive the history, such as ("tensorboard",); see tracking.py.

    Raises UserError where `out` already holds a run and resume is False, where settings or data differ on resuming, and
    where the loss is no longer finite; and CollapseError where the embeddings have collapsed.
    """
    config = prepared if isinstance(prepared, Config) else prepared.config
    check_trackers(track, None if out is None else Path(out))
    check_interpolation(config)
    if not resume:
        check_used(config)
    if out is not None:
        check_run(Path(out), resume=resume)
    if isinstance(prepared, Config):
        prepared = prepare(prepared, progress=progress)
    try:
        return Trainer(prepared, None if out is None else Path(out), track).run(
            resume=resume, stop_at=stop_at, progress=progress
        )
    finally:
        prepared.train.release()


class Trainer:
    """The parts of `fit`: its state, one step, one evaluation, saving and resuming."""

    def __init__(self, prepared: Prepared, out: Path | None, track: Sequence[str] = ()) -> None:
        self.prepared, self.out, self.config = prepared, out, prepared.config
        self.training = self.config.training
        self.accelerator, self.track = make_accelerator(self.config), track
        self.device = self.accelerator.device
        prepared.train.cache_on_device(self.device)
        self.total = total_steps(self.training, len(prepared.train))
        self.per_epoch = len(prepared.train) // self.training.batch_size
        self.every = max(1, round(self.training.evaluate_every * self.per_epoch))
        sampled = 256 if prepared.train.pixels() is None else PIXELS
        self.sample_tokens = torch.from_numpy(
            np.array(prepared.train.features.tokens[:sampled], dtype=np.float32)
        )
        there = prepared.train.features.mask
        self.sample_mask: Tensor | None = None
        if there is not None:
            self.sample_mask = torch.from_numpy(np.array(there[:sampled], dtype=bool)).to(self.device)
        ids, mask = prepared.train.words(np.arange(min(256, len(prepared.train))))
        self.sample_captions = ids.to(self.device), mask.to(self.device)
        self.state, self.began = State(), time.monotonic()
        self.kept = 0  # the step of the last checkpoint; at step 0 none is needed
        self.best: dict[str, Tensor] = {}

    def run(self, *, resume: bool, stop_at: int | None, progress: bool) -> Run:
        """Trains, as the only process that writes to its folder."""
        if self.out is None:
            return self.train(None, stop_at, progress)
        check_run(self.out, resume=resume)
        with writing(self.out) if self.accelerator.is_main_process else nullcontext():
            return self.train(
                read_checkpoint(checkpoint_path(self.out, "last")) if resume else None, stop_at, progress
            )

    def train(
        self, saved: tuple[dict[str, Tensor], dict[str, Any]] | None, stop_at: int | None, progress: bool
    ) -> Run:
        """Trains from the checkpoint `saved`, or from the start."""
        torch.manual_seed(self.training.seed)
        model = USER(self.config.model, self.config.objective)
        if saved is None:
            model.load_start(self.config.data.tokens, self.config.data.token_weights)
            model.init_from_data(self.sample_tokens, self.sample_mask)
            if self.config.model.init == "cca":
                init_from_cca(model, self.prepared.train)
            init_concepts(model, self.prepared.train)
            model.init_from_captions(*(part.cpu() for part in self.sample_captions))
        if self.config.model.norm == "batch" and self.accelerator.num_processes > 1:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model.to(self.device)
        self.model.micro_batch, self.model.equal_ranks = self.training.micro_batch, True
        # whether every loss so far was finite
        self.finite = torch.ones((), dtype=torch.bool, device=self.device)
        self.broken = torch.zeros(2, device=self.device)  # step and value of the first loss that was not
        self.optimizer = make_optimizer(self.model, self.training)
        if saved is not None:
            self.restore(*saved)
        self.wrapped = self.accelerator.prepare_model(self.model)
        last = min(self.total, self.total if stop_at is None else stop_at)
        self.tracking = Tracking(self.track, self.accelerator, self.out, self.config)
        state, main = self.state, self.accelerator.is_main_process
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        with (
            GracefulInterrupt() as interrupt,
            workers_needed(),
            Background() as self.background,
            Progress(self.total, "training", show=progress and main) as shown,
        ):
            shown.step(state.step)
            for batch in batches(self.prepared, state.step, last, rank, ranks):
                output = self.step(batch)
                self.background.check()
                self.note(output.loss.detach())
                shown.step()
                self.tracking.step(
                    state.step,
                    {
                        "loss": output.loss.detach(),
                        "grad_norm": self.grad_norm,
                        "lr": self.optimizer.param_groups[0]["lr"],
                    },
                )
                due = state.step % self.every == 0 or state.step == self.total
                requested = self.look(output, interrupt, now=due or state.step == last)
                if due:
                    self.background.wait()  # the checkpoints of at most one evaluation are held in memory
                    shown.say(f"{self.prepared.val.split.name} rSum {self.evaluate(output)['rsum']:.1f}")
                    self.save()
                    check_collapse(
                        state.rows, self.total, self.training,
                        pictures=len(self.prepared.val.split), objective=self.config.objective.name,
                    )  # fmt: skip
                if requested:
                    break
            if self.kept != state.step:  # stopped between two evaluations
                self.save()
        self.tracking.end()
        self.accelerator.wait_for_everyone()
        return self.finish()

    def look(self, output: Output, interrupt: GracefulInterrupt, *, now: bool) -> bool:
        """Whether the run was interrupted. Raises UserError in all processes where in one a loss was not finite.

        The host waits for the device only where a number is shown anyway (now), where the run stops, and every 50
        steps; several processes check at the same steps, so that they stop at the same one.
        """
        alone = self.accelerator.num_processes == 1
        now = now or self.state.step % LOOK == 0 or (not alone and self.device.type == "cpu")
        if not (now or (alone and interrupt.requested)):
            return False
        requested, broken = any_process(self.accelerator, interrupt.requested, not bool(self.finite))
        if broken:  # in one process is enough: the others would wait for it forever
            step, loss = self.broken.tolist()
            check_loss(output, self.state.step, elsewhere=True, first=(step, loss) if step else None)
        return requested

    def note(self, loss: Tensor) -> None:
        """Records on the device, without waiting, whether all losses were finite, and the first that was not."""
        first = self.finite & ~loss.isfinite()
        now = torch.stack([torch.full_like(loss, self.state.step), loss]).to(self.broken.dtype)
        self.broken = torch.where(first, now, self.broken)
        self.finite &= ~first

    def step(self, batch: Batch) -> Output:
        """One optimizer step: forward, backward, gradient clipping, update."""
        step = self.state.step
        self.wrapped.train()
        torch.manual_seed(step_seed(self.training.seed, step, self.accelerator.process_index))
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.lr * group["factor"] * lr_factor(step, self.total, self.training)
        half = self.training.precision == "bf16"
        with training_attention(self.device, self.training.precision):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                output: Output = self.wrapped(
                    batch.to(self.device), count_queue=step >= self.training.warmup * self.total
                )
            if step == 0:
                self.check_start(output)
            self.accelerator.backward(output.loss)
        self.grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.clamp_residual_scales()
        self.state.step += 1
        return output

    def check_start(self, output: Output) -> None:
        """Raises UserError where the original positive term has no gradient in the first batch, over all processes."""
        objective = self.config.objective
        if objective.name == "uto" and not objective.leaky_positive:
            (alive,) = any_process(self.accelerator, bool((positives(output) > 0).any()))
            check_start(output, seed=self.training.seed, dead=not alive)

    def evaluate(self, output: Output) -> dict[str, float]:
        """Evaluates, adds a row to the history and keeps the best encoders."""
        state = self.state
        loss = check_loss(output, state.step)
        encoders = self.model.ema_model() if self.training.use_ema else self.model
        row = {
            "step": float(state.step),
            "epoch": state.step / self.per_epoch,
            "loss": loss,
            "batch_loss": float(output.batch_loss),
            "queue_loss": math.nan if output.queue_loss is None else float(output.queue_loss),
            "grad_norm": float(self.grad_norm),
            "lr": self.training.lr * lr_factor(state.step - 1, self.total, self.training),
            "masked_keys": float(output.masked_keys),
            "key_age": key_age(self.model),
            **scale_stats(
                self.model,
                self.sample_tokens.to(self.device),
                self.sample_captions,
                mask=self.sample_mask,
            ),
            **evaluate_now(encoders, self.prepared.val, str(self.device), self.accelerator),
        }
        row = {name: value for name, value in row.items() if not math.isnan(value)}
        state.rows.append(row)
        self.tracking.row(row, encoders, self.prepared.val, str(self.device))
        if row["rsum"] > state.best_rsum:
            state.best_rsum, state.best_step = row["rsum"], state.step
            if self.out is None:
                self.best = copy.deepcopy(encoder_weights(encoders))
            elif self.accelerator.is_main_process:
                folder, weights = self.out / f"best-{state.step:08d}", snapshot(encoder_weights(encoders))
                self.background.start(lambda: self.write_best(folder, weights, row))
        return row

    def write_best(self, folder: Path, weights: dict[str, Tensor], row: dict[str, float]) -> None:
        about = metadata_of(self.prepared, row)
        write_model(folder, weights, self.prepared.tokenizer, self.config, about)

    def save(self) -> None:
        """Starts to write a checkpoint with all that a bit-equal resume needs. When it is there, run.json names it, and
        older ones are removed.
        """
        state = self.state
        self.kept = state.step
        if self.out is None or not self.accelerator.is_main_process:
            return
        model = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors = snapshot(model | optimizer_tensors(self.optimizer))
        seconds = state.seconds + time.monotonic() - self.began
        documents = {
            "config": to_json(self.config),
            "data": {
                "fingerprint": self.prepared.fingerprint,
                "made_by": self.prepared.made_by,
                "processes": self.accelerator.num_processes,
            },
            "state": {**vars(state), "rows": list(state.rows), "seconds": seconds},
        }
        named = {"last": f"step-{state.step:08d}"}
        if state.best_step:
            named["best"] = f"best-{state.best_step:08d}"
        self.background.start(lambda: self.write_last(named, tensors, documents))

    def write_last(
        self, named: dict[str, str], tensors: dict[str, Tensor], documents: dict[str, Any]
    ) -> None:
        assert self.out is not None
        write_checkpoint(self.out / named["last"], tensors, documents)
        write_checksummed(self.out / "run.json", named, like=("last",))
        prune(self.out)

    def restore(self, tensors: dict[str, Tensor], documents: dict[str, Any]) -> None:
        """Resumes from a checkpoint. Raises UserError where settings, data, tokens or number of processes differ."""
        now, then = to_json(self.config), documents["config"]
        made_by = documents["data"].get("made_by")  # absent in checkpoints of an earlier version
        moved = PLACES if made_by else PLACES - {("data", "token_weights")}
        for part, settings in now.items():
            for key, value in settings.items():
                if (part, key) in moved:  # their content is compared below
                    continue
                if then.get(part, {}).get(key) != value:
                    raise UserError(
                        f"{part}.{key} is {value!r}, and in the run to resume it is "
                        f"{then.get(part, {}).get(key)!r}; resume with the same settings, or give another --out."
                    )
            # before settings that are derived from the data, such as the size of the vocabulary
            if part == "data" and documents["data"]["fingerprint"] != self.prepared.fingerprint:
                raise UserError(
                    f"the data {self.config.data.data!r} have changed since the run in {self.out} was trained on them. "
                    "Restore them, or give another --out."
                )
        check_made_by(made_by or {}, self.prepared.made_by, where=str(self.out))
        before = documents["data"].get("processes", self.accelerator.num_processes)
        if before != self.accelerator.num_processes:
            raise UserError(
                f"the run in {self.out} has {before} process{'es' if before > 1 else ''} and this command "
                f"{self.accelerator.num_processes}; the random draws depend on their number. Resume with {before}, or "
                "give another --out."
            )
        model = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        load_state_strict(self.model, model, where=str(self.out))
        restore_optimizer(self.optimizer, {k: v for k, v in tensors.items() if k.startswith("optimizer.")})
        self.state = State(**documents["state"])
        self.kept = self.state.step

    def interpolate(self, encoders: DualEncoder, row: dict[str, float]) -> dict[str, Any]:
        """Interpolates the best encoders, updates their checkpoint, and returns its metadata: the score of each share,
        and `row`, of the best evaluation, with the scores of the share that is kept. Where the checkpoint is
        interpolated already, it only returns them.
        """
        where = None if self.out is None else checkpoint_path(self.out, "best")
        if where is not None and "interpolation" in (known := load_model(where).metadata):
            return {key: known[key] for key in ("interpolation", "selected")}
        rows: list[dict[str, float]] = []

        def rsum(model: DualEncoder) -> float:
            rows.append(evaluate_now(model, self.prepared.val, str(self.device), self.accelerator))
            return rows[-1]["rsum"]

        scores = interpolate(encoders, start_of(self.config), rsum)
        shares = {"interpolation": scores, "selected": row | rows[ALPHAS.index(scores["alpha"])]}
        self.accelerator.wait_for_everyone()  # until no process reads the checkpoint any more
        if where is not None and self.accelerator.is_main_process:
            about = metadata_of(self.prepared, row) | shares
            save_model(where, encoders, self.prepared.tokenizer, self.config, about)
        return shares

    def finish(self) -> Run:
        encoders = (
            self.model.ema_model()
            if self.training.use_ema
            else DualEncoder(
                self.config.model,
                image_encoder=self.model.image_encoder,
                text_encoder=self.model.text_encoder,
                scorer=self.model.scorer,
            )
        )
        if self.out is not None and self.state.best_step:
            encoders = load_model(self.out, device=str(self.device)).model
        elif self.best:
            encoders = copy.deepcopy(encoders)
            encoders.load_state_dict(self.best)
        self.model.eval()
        row = next((row for row in self.state.rows if row["step"] == self.state.best_step), {})
        done = self.training.interpolate and self.state.step == self.total
        shares = self.interpolate(encoders, row) if done else {}
        about = metadata_of(self.prepared, row)
        encoders.loaded = Loaded(encoders, self.prepared.tokenizer, self.config, about | shares)
        # the model has the weights of the last step, and so the row of that step, if there was an evaluation
        last = self.state.rows[-1] if self.state.rows and not self.training.use_ema else {}
        own = {"selected": last if last.get("step") == self.state.step else {}}
        self.model.loaded = Loaded(self.model, self.prepared.tokenizer, self.config, about | own)
        return Run(
            self.model,
            encoders.eval(),
            self.prepared.tokenizer,
            self.config,
            self.state.rows,
            self.state.seconds + time.monotonic() - self.began,
            self.state.step == self.total,
            self.out,
        )
