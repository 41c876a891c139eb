"""The log: one line per event, readable by people or machines, and never a token in it."""

from __future__ import annotations

import io
import json
import logging
from base64 import b64encode
from urllib.parse import quote

import pytest
import structlog
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from watchdog import errors
from watchdog.domain.decision import AbortState, Response, Verdict, VerdictKind
from watchdog.domain.meter import Meter
from watchdog.domain.notice import (
    AbortChanged,
    AbortTrouble,
    InspectionDone,
    LimitNear,
    PollFailed,
    RequestDone,
    RulesRejected,
    SavingBooked,
    Trouble,
    UsageUnknown,
)
from watchdog.domain.run import Source, replace
from watchdog.telemetry.logs import LogObserver, Redactor, configure_logging

pytestmark = pytest.mark.usefixtures("own_logging")

TOKEN = "apify_api_s3cr3t/T0ken+"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def json_log(level="debug"):
    stream = io.StringIO()
    redactor = configure_logging("json", stream, level)
    return stream, redactor


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestFormats:
    def test_auto_is_json_where_no_terminal_is(self):
        stream = io.StringIO()
        configure_logging("auto", stream)
        structlog.get_logger("x").info("hello", account="a")
        (line,) = lines(stream)
        assert line["event"] == "hello"
        assert line["level"] == "info"
        assert line["account"] == "a"
        assert line["timestamp"].endswith("Z")

    def test_auto_is_coloured_text_on_a_terminal(self, monkeypatch):
        monkeypatch.delenv("NO_COLOR", raising=False)
        stream = Terminal()
        configure_logging("auto", stream)
        structlog.get_logger("x").warning("hello", account="a b")
        assert "\x1b[33m" in stream.getvalue()
        assert '"a b"' in stream.getvalue()

    def test_no_colours_without_a_terminal_or_with_no_color(self, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        for stream in (io.StringIO(), Terminal()):
            configure_logging("text", stream)
            structlog.get_logger("x").warning("hello", n=3)
            assert "\x1b" not in stream.getvalue()
            assert stream.getvalue().endswith("warning hello n=3\n")

    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_nothing_in_an_event_can_break_its_line_or_the_terminal(self, log_format):
        stream = io.StringIO()
        configure_logging(log_format, stream)
        evil = "a\nb\r\x1b[2Jc\x85d\u2028e\u202ef\x7f\x9b"
        structlog.get_logger("x").info(evil, **{evil: evil}, nested={"k": [evil]}, fine="plain")
        assert len(stream.getvalue().splitlines()) == 1
        assert not {"\x1b", "\x9b", "\u202e"} & set(stream.getvalue())

    @pytest.mark.parametrize(
        "evil", ["\u200b", "\u200e", "\u200f", "\u061c", "\ufeff", "\u2066", "\x9b", "\U000e0001", "\u00ad"]
    )
    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_what_cannot_be_seen_is_escaped(self, log_format, evil):
        stream = io.StringIO()
        configure_logging(log_format, stream)
        structlog.get_logger("x").info(f"a{evil}b", **{f"key{evil}": f"a{evil}b"}, nested={evil: [evil]})
        assert stream.getvalue()
        assert evil not in stream.getvalue()

    def test_a_stream_that_cannot_write_a_character_escapes_it(self):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
        configure_logging("text", stream)
        structlog.get_logger("x").info("café \ud800")
        assert b"caf\\xe9 \\ud800" in raw.getvalue()

    def test_a_stream_that_is_gone_stops_nobody(self, capsys):
        stream = io.StringIO()
        configure_logging("text", stream)
        stream.close()
        structlog.get_logger("x").info("hello")
        assert capsys.readouterr() == ("", "")


class TestLibraries:
    def test_records_of_the_standard_library_take_the_same_way(self):
        stream, redactor = json_log("info")
        redactor.add(TOKEN)
        logging.getLogger("apscheduler.executors").warning("job %s failed", TOKEN)
        (line,) = lines(stream)
        assert line["event"] == "job *** failed"
        assert line["logger"] == "apscheduler.executors"

    def test_urls_of_httpx_stay_out_even_when_debugging(self):
        stream, _ = json_log("debug")
        logging.getLogger("httpx").info("HTTP Request: GET https://x/?token=abc")
        logging.getLogger("httpcore.http11").debug("send")
        assert stream.getvalue() == ""

    def test_chatty_libraries_speak_only_when_debugging(self):
        for level, count in (("info", 0), ("debug", 1)):
            stream, _ = json_log(level)
            logging.getLogger("uvicorn.error").info("Started server process")
            assert len(lines(stream)) == count

    def test_an_exception_is_its_message_and_a_traceback_only_when_debugging(self):
        for level in ("info", "debug"):
            stream, redactor = json_log(level)
            redactor.add(TOKEN)
            try:
                raise ValueError(f"bad {TOKEN}")
            except ValueError as error:
                structlog.get_logger("x").error("own", exc_info=error)
                structlog.get_logger("x").exception("own too")
                logging.getLogger("lib").exception("theirs")
            own, own_too, theirs = lines(stream)
            assert own["error"] == own_too["error"] == theirs["error"] == "ValueError: bad ***"
            assert ("traceback" in own) == ("traceback" in theirs) == (level == "debug")
            assert TOKEN not in stream.getvalue()


class TestRedactor:
    @pytest.mark.parametrize("token", [TOKEN, "abc", "12345", 'q"u\\o', "é"])
    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_everywhere_in_an_event(self, token, log_format):
        stream = io.StringIO()
        configure_logging(log_format, stream, "debug").add(SecretStr(token))
        nested = {"headers": [f"Bearer {token}", (token, {token: 1})], "error": ValueError(token)}
        number = int(token) if token.isdigit() else 0
        structlog.get_logger("x").info(f"with {token}", url=f"https://h/?t={quote(token, safe='')}", n=nested, i=number)
        text = stream.getvalue()
        assert token not in text.replace("\\\\", "\\").replace('\\"', '"')
        assert quote(token, safe="") not in text
        assert "***" in text

    @pytest.mark.parametrize("around", [("", ""), ("u:", ""), ("ab:", "xy"), ("", "z")])
    def test_base64_of_the_token_inside_something_longer(self, around):
        redactor = Redactor()
        redactor.add(TOKEN)
        encoded = b64encode((around[0] + TOKEN + around[1]).encode()).decode()
        assert encoded[6:-6] not in redactor.text(f"Basic {encoded}")

    def test_a_token_that_begins_like_another_is_covered_whole(self):
        redactor = Redactor()
        redactor.add("secret")
        redactor.add("secret-longer")
        assert redactor.text("x secret-longer y secret") == "x *** y ***"

    def test_nothing_to_hide_changes_nothing(self):
        redactor = Redactor()
        redactor.add("")
        event = {"a": 1, "b": None, "c": True, "d": [1.5, "x"], "e": {"f": "g"}}
        assert redactor(None, "info", dict(event)) == event

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
    @given(
        token=st.text(min_size=1, max_size=40).filter(lambda token: "*" not in token),
        before=st.text(max_size=8),
        after=st.text(max_size=8),
        log_format=st.sampled_from(["text", "json"]),
    )
    def test_no_line_ever_holds_a_token(self, token, before, after, log_format):
        def written(hidden):
            stream = io.StringIO()
            configure_logging(log_format, stream, "debug", redactor)
            text = f"{before}{hidden}{after}"
            log = structlog.get_logger("x")
            log.info(text, field=text, nested={"k": [text, {text: text}]})
            log.error("failed", exc_info=ValueError(text))
            logging.getLogger("lib").warning("got %s", text)
            return stream.getvalue()

        redactor = Redactor()
        assume(token not in written("***"))  # such as the token `e` in the word `level`
        redactor.add(token)
        assert token not in written(token)


class TestLogObserver:
    def told(self, *notices, level="debug"):
        stream, _ = json_log(level)
        observer = LogObserver()
        for notice in notices:
            observer.notice(notice)
        return lines(stream)

    def test_a_breach_has_everything_about_it(self, make):
        (line,) = self.told(make.breached(Response.ABORT))
        assert line["level"] == "warning"
        assert line["event"] == "limit breached"
        expected = {
            "platform": "apify",
            "account": "apify-main",
            "run_id": "run-1",
            "source": "compass/maps",
            "rule": "maps-cap",
            "limit": "max_cost_usd",
            "used": 6.0,
            "limit_value": 5.0,
            "response": "abort",
            "mode": "immediate",
        }
        assert line.items() >= expected.items()

    def test_an_expected_answer_is_no_warning(self, make):
        (line,) = self.told(make.breached(Response.PROTECTED, "signed off"))
        assert (line["level"], line["note"]) == ("info", "signed off")
        assert "mode" not in line

    @pytest.mark.parametrize(
        ("state", "event", "level"),
        [
            (AbortState.CONFIRMED, "abort confirmed", "info"),
            (AbortState.ALREADY_FINISHED, "abort already finished", "info"),
            (AbortState.FAILED, "abort failed", "error"),
        ],
    )
    def test_the_end_of_an_abort(self, make, state, event, level):
        (line,) = self.told(AbortChanged(make.closed(state=state), AbortState.REQUESTED))
        assert (line["event"], line["level"], line["outcome"], line["requests"]) == (event, level, state, 1)

    def test_an_abort_by_hand_has_no_figures_of_a_limit(self, make):
        abort = replace(make.opened(), rule="manual", limit=None, limit_value=0.0, used_at_detection=0.0)
        (line,) = self.told(AbortChanged(abort, None))
        assert (line["used"], line["limit_value"]) == (None, None)

    def test_trouble_and_savings(self, make):
        trouble, saved, unsaid = self.told(
            AbortTrouble(make.requested(), "no answer"), SavingBooked(make.booked()), SavingBooked(make.closed())
        )
        assert (trouble["level"], trouble["error"]) == ("error", "no answer")
        assert (saved["saved_usd"], saved["saved_credits"], saved["basis"]) == (3.0, None, "progress")
        assert unsaid["basis"] is None

    def test_sweeps_are_told_first_and_when_they_work_again(self, make):
        failed = PollFailed(make.apify, "sweep", errors.ServerFault("502"), make.noon)
        told = self.told(make.swept(), make.swept(), failed, make.swept(), make.swept(), level="info")
        assert [line["event"] for line in told] == ["first sweep done", "sweep failed", "sweep works again"]

    def test_failures_are_told_at_growing_distance(self, make):
        failures = [
            PollFailed(make.apify, "inspection", errors.Unreachable("x"), make.noon, n, "run-1") for n in range(1, 20)
        ]
        told = self.told(*failures, level="info")
        assert [line["failures_in_a_row"] for line in told] == [1, 2, 4, 8, 16]
        assert {line["level"] for line in told} == {"warning"}
        assert told[0]["run_id"] == "run-1"

    def test_refused_credentials_are_an_error(self, make):
        (line,) = self.told(PollFailed(make.apify, "sweep", errors.CredentialsRefused("401"), make.noon))
        assert line["level"] == "error"

    def test_an_unreadable_item_is_told_once_while_it_lasts(self, make):
        told = self.told(
            make.swept(bad_items=("x",)),
            make.swept(bad_items=("x", "y")),
            make.swept(),
            make.swept(bad_items=("x",)),
            level="warning",
        )
        assert [line["error"] for line in told] == ["x", "y", "x"]

    def test_rules(self, make):
        problems = [errors.Problem("r.yaml", 3, 1, "no"), errors.Problem("r.yaml", 5, 1, "neither")]
        loaded, rejected, other = self.told(
            make.loaded(make.rule()),
            RulesRejected(errors.ConfigurationError(problems), make.noon),
            RulesRejected(errors.WatchdogError("odd"), make.noon),
        )
        assert (loaded["rules"], loaded["accounts"]) == (1, ["apify-main"])
        assert rejected["problems"] == ["r.yaml:3:1: no", "r.yaml:5:1: neither"]
        assert other["error"] == "odd"

    def test_limits_near_and_unknown(self, make):
        near = Verdict(make.rule(), Meter.COST_USD, 5.0, 4.5, VerdictKind.WARNING)
        unknown = Verdict(make.rule(), Meter.COST_USD, 5.0, None, VerdictKind.UNKNOWN, "usage")
        told = self.told(LimitNear(make.run(), near), UsageUnknown(make.run(), unknown))
        assert [(line["level"], line["used"]) for line in told] == [("info", 4.5), ("warning", None)]
        assert told[1]["missing"] == "usage"

    def test_only_those_who_debug_see_requests_and_inspections(self, make):
        notices = (RequestDone("a", "runs", 200, 0.1), InspectionDone(make.apify, make.run()))
        assert self.told(*notices, level="info") == []
        assert [line["level"] for line in self.told(*notices)] == ["debug", "debug"]

    def test_other_trouble(self):
        told = self.told(Trouble("clock skew"), Trouble("disk full", account="a", level="error"))
        assert [line["level"] for line in told] == ["warning", "error"]
        assert "run_id" not in told[1]

    def test_a_fault_of_its_own_is_told_and_not_passed_on(self, make):
        (line,) = self.told(make.swept(active=None))
        assert (line["event"], line["kind"]) == ("notice not logged", "SweepDone")

    def test_names_from_the_platform_cannot_forge_a_line(self, make):
        run = make.run(source=Source("k", "evil\n2026 error all is lost"))
        (line,) = self.told(make.breached(Response.ABORT, run=run))
        assert line["source"] == "evil\n2026 error all is lost"
