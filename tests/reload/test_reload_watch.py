"""The watch of the rule files: every way in which files change on real disks."""

# ruff: noqa: ASYNC240  # files are what is tested here

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from watchdog.domain.notice import Trigger
from watchdog.rulefile import read_rule_files

pytestmark = pytest.mark.anyio

BAD = "rules: [{name: cap, limits: {max_cost: 1}}]\n"


def rename_over(file: Path, text: str) -> None:
    """As editors save: a file of another name beside it, renamed over it."""
    fresh = file.with_name(f".{file.name}.swp")
    fresh.write_text(text)
    fresh.replace(file)


def in_place(file: Path, text: str) -> None:
    """The same inode, as a bind-mounted file must be written."""
    inode = file.stat().st_ino
    with file.open("r+") as opened:
        opened.write(text)
        opened.truncate()
    assert file.stat().st_ino == inode


@pytest.mark.parametrize("write", [rename_over, in_place])
@pytest.mark.parametrize("poll_s", [0.1, 60.0], ids=["by looking", "by event"])
async def test_a_changed_file_is_taken(folder: Path, watched: Any, cap: Any, write: Any, poll_s: float) -> None:
    async with watched(folder).watching(poll_s=poll_s) as w:
        await w.until(lambda: w.reads, "the first look")
        await asyncio.sleep(0.3)  # the event needs a watch that is there
        write(folder / "a.yaml", cap(2))
        await w.until(lambda: w.limits == {"cap": 2}, "the new rule")
    (notice,) = w.loaded
    assert notice.trigger is Trigger.FILE
    assert notice.changes.changed == ("rule 'cap': max_cost_usd 1 -> 2",)
    assert not w.rejected


@pytest.mark.parametrize("write", [rename_over, in_place])
@pytest.mark.parametrize("poll_s", [0.1, 60.0], ids=["by looking", "by event"])
async def test_a_single_file_again_and_again(folder: Path, watched: Any, cap: Any, write: Any, poll_s: float) -> None:
    """A watch on the inode that was there at first would miss the second change."""
    file = folder / "a.yaml"
    async with watched(file).watching(poll_s=poll_s) as w:
        for limit in (2, 3, 4):
            await asyncio.sleep(0.3)
            write(file, cap(limit))
            await w.until(lambda limit=limit: w.limits == {"cap": limit}, f"the rule of {limit}")
    assert len(w.loaded) == 3


async def test_files_come_and_go(folder: Path, watched: Any, cap: Any) -> None:
    async with watched(folder).watching() as w:
        (folder / "b.yml").write_text(cap(7, "more"))
        await w.until(lambda: w.limits == {"cap": 1, "more": 7}, "the second file")
        (folder / "a.yaml").unlink()
        await w.until(lambda: w.limits == {"more": 7}, "the end of the first")
    assert [(notice.changes.added, notice.changes.removed) for notice in w.loaded] == [
        (("rule 'more': max_cost_usd 7, action abort",), ()),
        ((), ("rule 'cap': max_cost_usd 1, action abort",)),
    ]


def kubernetes_writes(volume: Path, version: str, files: dict[str, str]) -> None:
    """As the kubelet's atomic writer does it: a new folder, a link to it renamed over `..data`, the old one removed."""
    data = volume / "..data"
    before = volume / os.readlink(data) if data.is_symlink() else None
    (volume / version).mkdir()
    for name, text in files.items():
        (volume / version / name).write_text(text)
    (volume / "..data_tmp").symlink_to(version)
    (volume / "..data_tmp").replace(data)
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    for link in volume.glob("*.yaml"):
        if link.name not in files:
            link.unlink()
    if before is not None:
        shutil.rmtree(before)


@pytest.mark.parametrize("poll_s", [0.1, 60.0], ids=["by looking", "by event"])
async def test_a_config_map_is_swapped(tmp_path: Path, watched: Any, cap: Any, poll_s: float) -> None:
    volume = tmp_path / "rules"
    volume.mkdir()
    kubernetes_writes(volume, "..2026_11_22_06_00_00.1", {"a.yaml": cap(1)})
    async with watched(volume).watching(poll_s=poll_s) as w:
        for turn in (2, 3):
            await asyncio.sleep(0.3)
            files = {"a.yaml": cap(turn), "b.yaml": cap(turn, "more")}
            kubernetes_writes(volume, f"..2026_11_22_06_00_00.{turn}", files)
            await w.until(lambda turn=turn: w.limits == {"cap": turn, "more": turn}, f"swap {turn}")
    assert len(w.loaded) == 2, "one reload for a swap"
    assert not w.rejected


async def test_the_folder_itself_is_a_link_that_moves(tmp_path: Path, watched: Any, cap: Any) -> None:
    for number in (1, 2):
        (tmp_path / f"release-{number}").mkdir()
        (tmp_path / f"release-{number}" / "a.yaml").write_text(cap(number))
    rules = tmp_path / "rules"
    rules.symlink_to("release-1")
    async with watched(rules).watching(poll_s=60) as w:
        await asyncio.sleep(0.3)
        (tmp_path / "new").symlink_to("release-2")
        (tmp_path / "new").replace(rules)
        await w.until(lambda: w.limits == {"cap": 2}, "the other release")


async def test_a_file_behind_a_link_elsewhere_has_no_events_and_is_found(
    folder: Path, tmp_path: Path, watched: Any, cap: Any
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text(cap(5, "more"))
    (folder / "b.yaml").symlink_to(tmp_path / "elsewhere" / "b.txt")
    async with watched(folder).watching() as w:
        in_place(tmp_path / "elsewhere" / "b.txt", cap(6, "more"))
        await w.until(lambda: w.limits == {"cap": 1, "more": 6}, "the change")


async def test_the_same_content_is_no_change(folder: Path, watched: Any, cap: Any) -> None:
    async with watched(folder).watching() as w:
        rename_over(folder / "a.yaml", cap(1))
        os.utime(folder / "a.yaml", (1, 1))
        (folder / "notes.txt").write_text("not a rule")
        (folder / ".a.yaml.swp").write_text(BAD)
        await w.looks(5)
        assert not w.notices


async def test_a_change_of_the_names_of_files_changes_no_rule(folder: Path, watched: Any) -> None:
    async with watched(folder).watching() as w:
        (folder / "a.yaml").rename(folder / "b.yaml")
        await w.until(lambda: w.loaded, "the reload")
        assert not w.loaded[0].changes
        assert w.rulebook.rules.rules[0].file == str(folder / "b.yaml")


async def test_what_changed_before_the_watch_began_is_taken(folder: Path, watched: Any, cap: Any) -> None:
    made = watched(folder)
    (folder / "a.yaml").write_text(cap(2))
    async with made.watching(poll_s=60) as w:
        await w.until(lambda: w.limits == {"cap": 2}, "the change")


async def test_half_a_file_is_neither_taken_nor_told(folder: Path, watched: Any, cap: Any) -> None:
    """Written slowly: at every moment it is bad, empty, or fewer rules than it will be."""
    async with watched(folder).watching(settle_s=0.4, patience_s=10) as w:
        with (folder / "a.yaml").open("w") as file:
            for part in ("rules:\n", "  - name: cap\n", "    limits: {max_cost", "_usd: 2}\n", "  - name: more\n"):
                file.write(part)
                file.flush()
                await w.looks(1)
            file.write("    limits: {max_cost_usd: 3}\n")
        await w.until(lambda: w.loaded, "the rules")
    assert w.limits == {"cap": 2, "more": 3}
    assert len(w.notices) == 1


async def test_good_files_that_come_one_by_one_are_one_change(folder: Path, watched: Any, cap: Any) -> None:
    async with watched(folder).watching(settle_s=1.0) as w:
        for number in range(4):
            (folder / f"more-{number}.yaml").write_text(cap(number + 1, f"more-{number}"))
            await asyncio.sleep(0.1)
        await w.until(lambda: w.loaded, "the reload")
        assert len(w.limits) == 5
        await w.looks()
    assert len(w.loaded) == 1


async def test_a_mistake_that_is_mended_at_once_is_not_told(folder: Path, watched: Any, cap: Any) -> None:
    async with watched(folder).watching(patience_s=5) as w:
        (folder / "a.yaml").write_text(BAD)
        await w.looks(4)
        assert not w.notices
        (folder / "a.yaml").write_text(cap(1))
        await w.looks(6)
    assert not w.notices, "the old content again: nothing has happened"
    assert w.rulebook.generation == 0


async def test_a_mistake_that_stays_is_told_once(folder: Path, watched: Any, cap: Any) -> None:
    async with watched(folder).watching() as w:
        (folder / "a.yaml").write_text(BAD)
        await w.until(lambda: w.rejected, "the rejection")
        await w.looks(5)
        (rejected,) = w.rejected
        assert "did you mean 'max_cost_usd'" in str(rejected.error)
        assert rejected.trigger is Trigger.FILE
        assert w.limits == {"cap": 1}, "the last good ones stay"
        said = w.reloader.describe()
        assert said.startswith("the files on disk are rejected since 2")
        assert "1 rule loaded 2" in said
        assert "max_cost_usd" in said
        (folder / "a.yaml").write_text(cap(1))
        await w.until(lambda: w.loaded, "the end of the trouble")
        assert w.reloader.describe().startswith("1 rule, loaded 2")


async def test_a_folder_is_away_for_a_moment(folder: Path, watched: Any, cap: Any) -> None:
    away = folder.with_name("away")
    async with watched(folder).watching(patience_s=5) as w:
        folder.rename(away)
        await w.looks(3)
        away.rename(folder)
        await w.looks(6)
        assert not w.notices
        (folder / "a.yaml").write_text(cap(2))
        await w.until(lambda: w.limits == {"cap": 2}, "a change in the folder that came back")


async def test_a_folder_that_stays_away_is_told_and_may_come_back(folder: Path, watched: Any, cap: Any) -> None:
    async with watched(folder).watching() as w:
        shutil.rmtree(folder)
        await w.until(lambda: w.rejected, "the rejection")
        assert "no such file or folder" in str(w.rejected[0].error)
        assert w.limits == {"cap": 1}
        folder.mkdir()
        (folder / "a.yaml").write_text(cap(3))
        await w.until(lambda: w.limits == {"cap": 3}, "the new folder")


async def test_not_even_the_parent_is_there(folder: Path, tmp_path: Path, watched: Any, cap: Any) -> None:
    deep = tmp_path / "deep" / "rules"
    deep.mkdir(parents=True)
    (deep / "a.yaml").write_text(cap(1))
    async with watched(deep).watching() as w:
        shutil.rmtree(tmp_path / "deep")
        await w.until(lambda: w.rejected, "the rejection")
        deep.mkdir(parents=True)
        (deep / "a.yaml").write_text(cap(2))
        await w.until(lambda: w.limits == {"cap": 2}, "the new folder")


async def test_a_file_that_never_rests_is_taken_all_the_same(folder: Path, watched: Any, cap: Any) -> None:
    async with watched(folder).watching(settle_s=0.05, unrest_s=0.4) as w:
        for number in range(500):
            (folder / "a.yaml").write_text(cap(2) + f"# {number}\n")
            if w.limits == {"cap": 2}:
                break
            await asyncio.sleep(0.02)
        assert w.limits == {"cap": 2}


async def test_busy_neighbours_neither_wake_nor_starve_the_watch(folder: Path, watched: Any, cap: Any) -> None:
    """A ledger that is written all the time may lie beside the folder."""
    async with watched(folder).watching(poll_s=1.0) as w:
        await w.until(lambda: w.reads, "the first look")
        before, began = w.reads, asyncio.get_running_loop().time()
        for number in range(60):
            (folder.parent / "ledger.db").write_text(str(number))
            await asyncio.sleep(0.05)
        polls = asyncio.get_running_loop().time() - began
        assert 2 <= w.reads - before <= polls + 2


async def test_asked_for_while_the_watch_waits_it_is_done_once(folder: Path, watched: Any, cap: Any) -> None:
    async with watched(folder).watching(settle_s=0.3) as w:
        (folder / "a.yaml").write_text(cap(2))
        await w.looks(1)
        done = await w.reloader.reload(Trigger.SIGNAL)
        assert done.changes.changed
        await w.looks(4)
    assert [notice.trigger for notice in w.loaded] == [Trigger.SIGNAL]


async def test_who_asks_is_answered_at_once_whatever_there_is(folder: Path, watched: Any, cap: Any) -> None:
    w = watched(folder)
    same = await w.reloader.reload(Trigger.SIGNAL)
    assert (same.error, bool(same.changes), same.rules) == (None, False, 1)
    (folder / "a.yaml").write_text(BAD)
    for turn in (1, 2):
        bad = await w.reloader.reload(Trigger.HTTP)
        assert bad.error is not None
        assert len(w.rejected) == turn, "told to everybody who asks"
        w.clock.more += timedelta(hours=1)
    since = w.reloader.describe().split("since ")[1][:20]
    assert f"{w.rejected[0].at:%Y-%m-%dT%H:%M:%SZ}" == since, "since the first time"
    assert w.rulebook.generation == 0


async def test_who_reads_first_is_done_first(folder: Path, watched: Any, cap: Any) -> None:
    """A slow reading of old files must not undo what a later one has put in force."""
    w = watched(folder)
    read, go_on = threading.Event(), threading.Event()

    def hold(reads: int) -> None:
        if reads == 1:
            read.set()
            go_on.wait(10)

    w.hold = hold
    slow = asyncio.create_task(w.reloader.reload(Trigger.SIGNAL))
    await asyncio.to_thread(read.wait, 10)
    (folder / "a.yaml").write_text(cap(2))
    quick = asyncio.create_task(w.reloader.reload(Trigger.HTTP))
    await asyncio.wait([quick], timeout=0.3)
    go_on.set()
    await asyncio.gather(slow, quick)
    assert w.limits == {"cap": 2}


def test_what_cannot_be_read_is_told_apart(folder: Path) -> None:
    digests = [read_rule_files(folder).digest]
    (folder / "a.yaml").unlink()
    digests.append(read_rule_files(folder).digest)
    (folder / "a.yaml").symlink_to("nowhere")
    digests.append(read_rule_files(folder).digest)
    (folder / "a.yaml").unlink()
    folder.rmdir()
    digests.append(read_rule_files(folder).digest)
    folder.symlink_to(folder)
    digests.append(read_rule_files(folder).digest)
    assert len(set(digests)) == 5


async def test_the_end_is_quick(folder: Path, watched: Any) -> None:
    loop = asyncio.get_running_loop()
    async with watched(folder).watching(poll_s=60) as w:
        await w.until(lambda: w.reads, "the first look")
        await asyncio.sleep(0.2)
        began = loop.time()
    assert loop.time() - began < 1
