"""Webhooks that the test delivers step by step to a real HTTPS server."""

from ipaddress import ip_network

from prometheus_client import CollectorRegistry

from nst_core.clock import Clock
from scheduler.control.metrics import Metrics
from scheduler.local.servers import HOST
from scheduler.store.webhooks import Delivery
from scheduler.webhooks.address import Rules
from scheduler.webhooks.deliver import Deliverer
from scheduler.webhooks.send import Sender
from scheduler.webhooks.service import WebhookService
from scheduler.webhooks.vault import Vault
from tests.integration.conftest import TENANT, Rig
from tests.integration.receiver import Certificates, Receiver

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OTHER_KEY = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI="
RULES = Rules(networks=(ip_network("127.0.0.1/32"),))
DAY_S = 86400.0


class Post:
    """A deliverer that the test ticks by hand, and the webhook service."""

    def __init__(self, rig: Rig, certificates: Certificates, *, keys: str | None = KEY) -> None:
        self.rig = rig
        self.certificates = certificates
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        vault = None if keys is None else Vault(keys)
        self.service = WebhookService(rig.database, vault=vault, rules=RULES, clock=rig.clock)
        self.deliverer = self.new_deliverer(keys)

    def new_deliverer(self, keys: str | None = KEY, *, timer: Clock | None = None) -> Deliverer:
        """Return a second deliverer, as another scheduler would run. `timer` is its steady clock."""
        sender = Sender(
            RULES, clock=self.rig.clock, resolver=lambda host, port: [HOST], ca_file=self.certificates.authority
        )
        return Deliverer(
            self.rig.database,
            sender,
            vault=None if keys is None else Vault(keys),
            clock=self.rig.clock,
            random=lambda: 0.5,
            retention_s=7 * DAY_S,
            metrics=self.metrics,
            timer=timer or self.rig.clock,
        )

    def add(self, receiver: Receiver, *types: str, tenant: str = TENANT) -> tuple[str, str]:
        """Add a webhook for a receiver, and return its id and secret."""
        webhook, secret = self.service.create(
            tenant, url=receiver.url, types=types or ("*",), description="", enabled=True
        )
        return webhook.id, secret

    def deliver(self) -> None:
        """Deliver everything that is due now."""
        while self.deliverer.tick():
            assert self.deliverer.wait(timeout_s=30)

    def tries(self, outcome: str) -> float | None:
        """Return how many tries were counted with an outcome."""
        return self.registry.get_sample_value("nst_webhook_tries_total", {"outcome": outcome})

    def log(self, webhook_id: str) -> list[Delivery]:
        """Return the deliveries of a webhook, oldest first."""
        return self.service.deliveries(TENANT, webhook_id, limit=1000)[::-1]


def cancelled(rig: Rig) -> str:
    """Return a job that has ended: created, cancelling, finalizing, completed."""
    job_id = rig.submit(1)
    rig.service.cancel(TENANT, job_id)
    rig.finalizer.tick()
    return job_id
