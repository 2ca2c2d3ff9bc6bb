"""Leadership: one scheduler at a time has a role, and another one takes it over when that one stops renewing it."""

import secrets

from nst_core.clock import Clock
from scheduler.control.broker import Broker
from scheduler.store.database import Database

#: Redis gives the role to another scheduler if it is not renewed for `HELD_S`.
HELD_S, RENEW_S = 3.0, 1.0


class Leadership:
    """Takes and keeps a role.

    This is a convenience and not a lock: two schedulers may believe that they lead for up to `RENEW_S`.
    """

    def __init__(self, role: str, database: Database, broker: Broker, *, clock: Clock, held_s: float = HELD_S) -> None:
        self._role = role
        self._database = database
        self._broker = broker
        self._clock = clock
        self._held_s = held_s
        self._name = secrets.token_hex(8)
        self._renewed_at = float("-inf")
        #: Whether this scheduler has the role.
        self.leads = False

    def renew(self) -> bool:
        """Take the role or keep it, and return whether this scheduler has it. Call it more often than `HELD_S`.

        Raises DatabaseUnavailableError and BrokerUnavailableError.
        """
        now = self._clock()
        if not self.leads or not 0 <= now - self._renewed_at < RENEW_S:
            # A scheduler that cannot reach the database must not lead: no other one would do the work.
            self._database.ping()
            self.leads = self._broker.hold(self._role, self._name, seconds=self._held_s)
            self._renewed_at = now
        return self.leads

    def leave(self) -> None:
        """Let another scheduler take the role now."""
        if self.leads:
            self.leads = False
            self._broker.let_go(self._role, self._name)
