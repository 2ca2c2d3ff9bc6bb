"""F17: a webhook whose receiver fails during the whole job, and schedulers that die during deliveries."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Sequence

from nst_core.client import Client, Event
from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.webhooks import Delivery
from nst_core.client.signing import ID_HEADER, SignatureError, verify
from tests.faults.cluster import Cluster
from tests.faults.receiver import Message, Mood, Receiver
from tests.faults.scene import Scene

#: Longer than the claim of a dead scheduler, for whose messages the others wait.
_CLAIM_S = 90.0


def watch(cluster: Cluster) -> None:
    """Add a webhook for all events whose receiver is down."""
    cluster.receiver.turn(Mood.DOWN)
    cluster.receiver.messages.clear()
    with cluster.client() as client:
        for left in list(client.webhooks.all()):
            client.webhooks.delete(left.id)
        cluster.receiver.secret = client.webhooks.create(cluster.receiver.url).secret


def torment_receiver(scene: Scene) -> None:
    """Let the receiver be down, answer 500, then hang while schedulers are killed. It works when the job ends."""
    cluster, receiver = scene.cluster, scene.cluster.receiver
    with cluster.client() as client:
        [hook] = client.webhooks.all()
        course = _Course(scene, client, hook.id)
        course.wait(lambda: any(delivery.tries for delivery in course.deliveries()), "a try that nobody answers")
        scene.at(0.2)
        receiver.turn(Mood.ILL)
        course.wait(lambda: receiver.answered(500) > 0, "a try that is answered with 500")
        course.wait(lambda: any(len(each.tries) > 1 for each in course.deliveries()), "a second try")
        scene.at(0.5)
        receiver.turn(Mood.SLOW)
        course.wait(lambda: receiver.holding > 0, "a try that is not answered")
        for name in cluster.schedulers:
            scene.faults += cluster.signal(name, signal.SIGKILL)
        scene.mark("SIGKILL to all schedulers")
        # It does not wait for its receiver, which has accepted no message yet.
        course.wait(course.is_over, "the end of the job", seconds=300.0)
        receiver.turn(Mood.WELL)
        course.recover()
        check(scene, receiver, list(client.events(scene.job.id)), course.deliveries())
        client.webhooks.delete(hook.id)


class _Course:
    """The history of a webhook's messages."""

    def __init__(self, scene: Scene, client: Client, webhook_id: str) -> None:
        self._scene = scene
        self._client = client
        self._id = webhook_id

    def deliveries(self) -> list[Delivery]:
        """Return all messages, sent or not."""
        return list(self._client.webhooks.deliveries(self._id))

    def is_over(self) -> bool:
        """Return whether the job has ended."""
        state = self._scene.state()
        return state is not None and JobStatus(state.status).is_terminal

    def wait(self, condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
        """Wait for a condition. It is a problem if it does not hold in time."""
        try:
            self._scene.cluster.wait_until(condition, seconds=seconds, what=what)
        except TimeoutError as error:
            self._scene.problems.append(str(error))

    def recover(self) -> None:
        """Wait for the retries that come soon, then replay the rest as an impatient operator would."""
        self.wait(lambda: any(each.type == "job.completed" for each in self.deliveries()), "the last message")
        self.wait(lambda: all(map(_is_through, self.deliveries())), "what is sent again soon", seconds=_CLAIM_S)
        if not any(each.status == "delivered" for each in self.deliveries()):
            self._scene.problems.append("nothing was sent again by itself")
        self._client.webhooks.update(self._id, enabled=False)
        self._client.webhooks.update(self._id, enabled=True)
        replayed = self._client.webhooks.replay_failed(self._id)
        if not replayed:
            self._scene.problems.append("nothing was left to be replayed")
        self.wait(lambda: all(each.status == "delivered" for each in self.deliveries()), "all that was replayed")
        self._scene.counted["messages replayed"] += replayed


def _is_through(delivery: Delivery) -> bool:
    """Return whether a message was accepted, or waits five minutes for its third attempt."""
    return delivery.status == "delivered" or len(delivery.tries) > 1


def check(scene: Scene, receiver: Receiver, events: Sequence[Event], deliveries: Sequence[Delivery]) -> None:
    """Compare what the receiver got with the job's events and the log of deliveries, and report problems."""
    by_id: dict[str, list[Message]] = {}
    for message in receiver.messages:
        try:
            by_id.setdefault(verify(receiver.secret, message.headers, message.body, now=message.at), []).append(message)
        except SignatureError as error:
            scene.problems.append(f"a message has no valid signature: {error}")
    told = Counter(_text(event) for event in events)
    heard = Counter(_text(Event(id=0, **json.loads(messages[0].body))) for messages in by_id.values())
    problems = {
        "events and messages differ": told != heard,
        "a message has several bodies": any(len({each.body for each in messages}) > 1 for messages in by_id.values()),
        "the log has other messages": {each.message_id for each in deliveries} != by_id.keys(),
        "a message was not taken": any(all(each.answer != 204 for each in messages) for messages in by_id.values()),
        "a delivery is not at its end": any(each.status != "delivered" for each in deliveries),
        "the log leaves answers out": _logged(deliveries) != _answers(receiver),
        "no try found nobody": not any(each.status is None for delivery in deliveries for each in delivery.tries),
    }
    scene.problems += [problem for problem, is_so in problems.items() if is_so]
    tries = sum(len(each.tries) for each in deliveries)
    scene.counted.update(
        {"events": len(events), "tries in the log": tries, "messages that came": len(receiver.messages)}
    )


def _text(event: Event) -> str:
    return json.dumps(event.model_dump(mode="json", exclude={"id"}), sort_keys=True)


def _logged(deliveries: Sequence[Delivery]) -> Counter[tuple[str, int]]:
    return Counter((each.message_id, tried.status) for each in deliveries for tried in each.tries if tried.status)


def _answers(receiver: Receiver) -> Counter[tuple[str, int]]:
    return Counter((each.headers[ID_HEADER], each.answer) for each in receiver.messages if each.answer)
