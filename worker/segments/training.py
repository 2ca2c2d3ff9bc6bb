"""The training phase of a segment: some steps, from one checkpoint to the next."""

import secrets
import time

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

#: While it waits for photos, a segment looks this often whether it is to go on.
_POLL_S = 0.2


class Training:
    """Takes runs some steps further; may be used by several threads, one segment each.

    Each step is a call of its own to whatever runs networks, so that images of jobs come in between.
    """

    def __init__(
        self,
        *,
        name: str,
        blobs: BlobStore,
        builder: TrainingBuilder,
        cache: TrainingCache,
        compute: Compute,
        clock: Clock = time.monotonic,
    ) -> None:
        """Work under the name of a worker."""
        self._name = name
        self._blobs = blobs
        self._builder = builder
        self._cache = cache
        self._compute = compute
        self._clock = clock

    def run(self, segment: TrainSegment, steering: Steering[TrainProgress]) -> SegmentFinished:
        """Train until the segment's time is over, the run's last step is done, or it is not to go on.

        Returns the segment's end, with a checkpoint in storage if a step was done and somebody wants it. Raises
        InterruptedWorkError where it was stopped before all was loaded, and the NstError, MemoryError or RuntimeError
        of what failed; the run then goes on from the checkpoint before.
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
            if segment.sample_every and (losses.step % segment.sample_every == 0 or trainer.done):
                live.samples.show(trainer, self._compute)
            steering.on_progress(tally.progress(trainer.step_number))
        return made

    def _step(self, live: LoadedTraining, steering: Steering[TrainProgress]) -> StepLosses:
        """Run one step; the first is compiled, here and not where networks run: it takes a minute, and images go on."""
        if not live.compiles:
            return self._compute(live.trainer.step)
        steering.on_progress(live.tally.progress(live.trainer.step_number, note="compiling"))
        with COMPILING:
            losses = live.trainer.step()
        live.compiles = False
        return losses

    def _save(self, segment: TrainSegment, trainer: Trainer, made: list[StepLosses]) -> tuple[StoredFile, str]:
        """Store the losses, then the checkpoint, at places of this delivery's own."""
        nonce = secrets.token_hex(4)
        losses = put_file(self._blobs, losses_uri(segment, nonce=nonce), dump_losses(made), content_type="text/csv")
        data = self._compute(lambda: dump_checkpoint(trainer.checkpoint()))
        uri = segment_checkpoint_uri(segment, step=trainer.step_number, nonce=nonce)
        return put_file(self._blobs, uri, data), losses.uri

    def _keep(self, segment: TrainSegment, live: LoadedTraining, stands_at: StoredFile | None) -> None:
        """Keep a training for the next segment where there is one, and where it stands exactly at a checkpoint."""
        if stands_at is None or live.trainer.done:
            live.close()
        else:
            self._cache.put(state_after(segment, stands_at), live)
