"""The training phase of a run: the steps of one segment, from one checkpoint to the next."""

import secrets
import time
from collections.abc import Callable

from nst_core.clock import Clock
from nst_core.protocol.events import SegmentFinished, TrainProgress
from nst_core.protocol.segments import StoredFile, TrainSegment, losses_uri, segment_checkpoint_uri
from nst_core.storage.blobs import BlobStore
from nst_core.training.checkpoint import dump_checkpoint
from nst_core.training.curve import dump_losses
from nst_core.training.step_losses import StepLosses
from nst_core.training.trainer import Trainer
from worker.runtime.loss_networks import COMPILING
from worker.runtime.steering import Steering
from worker.segments.builder import TrainingBuilder
from worker.segments.cache import LoadedTraining, TrainingCache, state_after
from worker.segments.samples import Compute
from worker.segments.stored import put_file

#: Seconds between two checks whether to continue while a segment waits for photos.
_POLL_S = 0.2


class Training:
    """Runs the steps of segments; may be used by several threads, one segment each.

    Each step is a separate call to the engine, so that images of jobs can run in between.
    """

    def __init__(
        self,
        *,
        name: str,
        blobs: BlobStore,
        builder: TrainingBuilder,
        cache: TrainingCache,
        compute: Compute,
        on_step: Callable[[StepLosses], object] = lambda losses: None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Work as the named worker. `on_step` is called after each step."""
        self._on_step = on_step
        self._name = name
        self._blobs = blobs
        self._builder = builder
        self._cache = cache
        self._compute = compute
        self._clock = clock

    def run(self, segment: TrainSegment, steering: Steering[TrainProgress]) -> SegmentFinished:
        """Train until the segment's time is over, the run's last step is done, or the segment was stopped.

        Returns the segment's last event, with a checkpoint in storage if a step was done and the result is wanted.
        Raises InterruptedWorkError if the segment was stopped before everything was loaded, and an NstError,
        MemoryError or RuntimeError if it failed; the run then continues from the previous checkpoint.
        """
        started = self._clock()
        kept = self._cache.take(state_after(segment, segment.checkpoint) if segment.checkpoint else None)
        live = kept or self._builder.build(segment, steering)
        try:
            made = self._train(segment, live, steering)
            checkpoint, losses = self._save(segment, live.trainer, made) if made and steering.wanted() else (None, None)
            photos = live.photos()
            live.notes.save()
            end = SegmentFinished(
                run_id=segment.run_id,
                attempt=segment.attempt,
                worker=self._name,
                step=live.trainer.step_number,
                seconds=self._clock() - started,
                checkpoint=checkpoint,
                losses=losses,
                config=live.trainer.config.to_dict(),
                photos=photos,
                progress=live.tally.progress(live.trainer.step_number),
            )
        except BaseException:
            live.close()
            raise
        self._keep(segment, live, checkpoint if made else segment.checkpoint)
        return end

    def _train(
        self, segment: TrainSegment, live: LoadedTraining, steering: Steering[TrainProgress]
    ) -> list[StepLosses]:
        """Run steps and return their losses."""
        trainer, tally = live.trainer, live.tally
        tally.begin()
        made: list[StepLosses] = []
        ends_at = self._clock() + segment.segment_s
        while not trainer.done and steering.going() and not (made and self._clock() >= ends_at):
            if not trainer.wait(timeout_s=_POLL_S):
                steering.on_progress(tally.progress(trainer.step_number, note="reading photos"))
                continue
            losses = self._step(live, steering)
            made.append(losses)
            tally.add(losses)
            self._on_step(losses)
            if segment.sample_every and (losses.step % segment.sample_every == 0 or trainer.done):
                live.samples.show(trainer, self._compute)
            steering.on_progress(tally.progress(trainer.step_number))
        return made

    def _step(self, live: LoadedTraining, steering: Steering[TrainProgress]) -> StepLosses:
        """Run one step. The first one is compiled on this thread, not by the engine, because it takes a minute."""
        if not live.compiles:
            return self._compute(live.trainer.step)
        steering.on_progress(live.tally.progress(live.trainer.step_number, note="compiling"))
        with COMPILING:
            losses = live.trainer.step()
        live.compiles = False
        return losses

    def _save(self, segment: TrainSegment, trainer: Trainer, made: list[StepLosses]) -> tuple[StoredFile, str]:
        """Store the losses, then the checkpoint, under names that no other delivery of the message uses."""
        nonce = secrets.token_hex(4)
        losses = put_file(self._blobs, losses_uri(segment, nonce=nonce), dump_losses(made), content_type="text/csv")
        data = self._compute(lambda: dump_checkpoint(trainer.checkpoint()))
        uri = segment_checkpoint_uri(segment, step=trainer.step_number, nonce=nonce)
        return put_file(self._blobs, uri, data), losses.uri

    def _keep(self, segment: TrainSegment, live: LoadedTraining, saved_at: StoredFile | None) -> None:
        """Keep a training for the next segment if there is one and the training is exactly at a checkpoint."""
        if saved_at is None or live.trainer.done:
            live.close()
        else:
            self._cache.put(state_after(segment, saved_at), live)
