"""Books what runs saved: what each abort saved, and nothing twice of a run that was aborted more than once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from watchdog.domain.decision import Abort, Saving
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import SavingTakenBack, Trouble
from watchdog.domain.ports import AbortFilter, BookLedger, Observer
from watchdog.domain.run import Snapshot, replace
from watchdog.engine.savings import estimate, settle
from watchdog.errors import LedgerError

#: Records of a run are looked for from its start on; the platform's clock and ours may differ by so much.
_CLOCKS_APART = timedelta(days=1)


class Books:
    """The savings in the ledger. `first_of` names the account that stands for another one of the same owner."""

    def __init__(self, ledger: BookLedger, observer: Observer, first_of: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._observer = observer
        self._first_of = first_of

    async def book(self, abort: Abort) -> Abort:
        """The record of an abort whose figures are settled, with what it saved. What earlier aborts of the same run
        have booked counts against it; what they booked in vain is taken back."""
        final = abort.final or abort.before
        history: list[Usage] = []
        try:
            history = await self._ledger.finished_usages(abort.before.source.id)
        except Exception as error:  # noqa: BLE001  # also a fault of ours must not keep the books open
            # An estimate without the history of the source is better than a record that never closes.
            self._trouble(abort, error)
        earlier = [each for each in await self._aborts_of(final) if each.id != abort.id]
        final = replace(final, usage=_most([final, *(each.final for each in earlier if each.final is not None)]))
        return replace(abort, saving=await self._settle(estimate(abort.before, final, history), final, earlier))

    async def correct(self, run: Snapshot) -> None:
        """Take back what aborts of this run have booked in vain: it was resurrected, and has ended now by itself."""
        await self._settle(Saving(), run, await self._aborts_of(run))

    async def _settle(self, latest: Saving, final: Snapshot, earlier: Sequence[Abort]) -> Saving:
        """What is left of this saving beside those of earlier aborts, and what is left of them."""
        latest, kept = settle(latest, final.usage, [each.saving or Saving() for each in earlier])
        for abort, saving in zip(earlier, kept, strict=True):
            if saving != abort.saving:
                await self._take_back(replace(abort, saving=saving), abort.saving or Saving())
        return latest

    async def _take_back(self, abort: Abort, before: Saving) -> None:
        try:
            await self._ledger.save(abort)
        except Exception as error:  # noqa: BLE001  # as above
            self._trouble(abort, error)
        self._observer.notice(SavingTakenBack(abort, before))

    async def _aborts_of(self, run: Snapshot) -> list[Abort]:
        """The booked aborts of this run, oldest first."""
        if run.resurrect_count == 0 and run.account not in {*self._first_of, *self._first_of.values()}:
            return []  # a run that stopped can only have gone on if it was resurrected
        since = None if run.started_at is None else run.started_at - _CLOCKS_APART
        try:
            found = await self._ledger.aborts(AbortFilter(since=since, run_id=run.run_id))
        except Exception as error:  # noqa: BLE001  # as above
            self._trouble(run, error)
            return []
        owner = self._first_of.get(run.account, run.account)
        return [each for each in found if each.saving and self._first_of.get(each.account, each.account) == owner]

    def _trouble(self, about: Abort | Snapshot, error: Exception) -> None:
        text = str(error) if isinstance(error, LedgerError) else f"internal error in the ledger: {error!r}"
        self._observer.notice(Trouble(text, account=about.account, run_id=about.run_id, level="error"))


def _most(seen: list[Snapshot]) -> Usage:
    """The highest of each figure: what a run has used does not become less when it is resurrected."""

    def of(kind: Meter) -> float | None:
        figures = [run.usage.of(kind) for run in seen]
        # The last one counts; one that is not known is not made up for by an older one.
        return None if figures[0] is None else max(figure for figure in figures if figure is not None)

    return Usage.by(of)
