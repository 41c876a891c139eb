"""What Apify's account holds beside the state of its runs: Actors, tasks, and what a run shows in a list."""

from __future__ import annotations

import random
import string
from typing import Any, Final

import msgspec

ID_ALPHABET: Final = string.ascii_letters + string.digits
ID_LENGTH: Final = 17


class RunMeta(msgspec.Struct, rename="camel", omit_defaults=True):
    origin: str
    schedule_id: str | None = None
    scheduled_at: str | None = None
    user_agent: str | None = None


class RunShort(msgspec.Struct, rename="camel"):
    """One item of the run list, as the description's RunShort has it."""

    id: str
    act_id: str
    user_id: str
    actor_task_id: str | None
    status: str
    started_at: str | msgspec.UnsetType
    finished_at: str | None
    build_id: str
    build_number: str
    meta: RunMeta
    default_key_value_store_id: str
    default_dataset_id: str
    default_request_queue_id: str
    usage_total_usd: float | msgspec.UnsetType = msgspec.UNSET


class ApifyActor(msgspec.Struct, frozen=True):
    """An Actor (in words of the user: `owner/name`)."""

    id: str
    owner: str
    name: str
    created_s: float
    title: str | None = None

    @property
    def build_id(self) -> str:
        """The id of its only build: its own, backwards."""
        return self.id[::-1]

    @property
    def owner_id(self) -> str:
        """The id of the user who owns it."""
        return "".join(random.Random(self.owner).choices(ID_ALPHABET, k=ID_LENGTH))

    @property
    def label(self) -> str:
        return f"{self.owner}/{self.name}"


class ApifyTask(msgspec.Struct, frozen=True):
    """A task: a saved configuration of an Actor. `options` and `input` as the API writes them."""

    id: str
    actor: ApifyActor
    name: str
    created_s: float
    options: dict[str, Any] = {}
    input: Any = {}


class Metamorph(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of `metamorphs`."""

    created_at: str
    actor_id: str
    build_id: str
