"""lobstr's calls about the user, what is consumed, the catalogue, and accounts on other platforms."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar, Final

from watchdog.simulated.http import Answer, Route, json_answer, route
from watchdog.simulated.lobstr_calls import Calls, deleted, whole
from watchdog.simulated.lobstr_catalog import ACCOUNT_TYPES, LobstrCrawler
from watchdog.simulated.lobstr_errors import Refusal, not_found
from watchdog.simulated.lobstr_run import TERMINAL
from watchdog.simulated.lobstr_squid import Login

_DAY_S: Final = 86_400.0
_DELETED_SHOWN_S: Final = 30 * _DAY_S
"""How long the credits of a squid are shown after it was deleted."""


class UserCalls(Calls):
    """The user and the allotment."""

    routes: ClassVar[tuple[Route, ...]] = (
        route("/v1/me", GET="me"),
        route("/v1/user/balance", GET="balance"),
        route("/v1/credits/squids", GET="credits_squids"),
        route("/v1/credits/modules", GET="credits_modules"),
    )

    def serve(self, endpoint: str, given: str) -> Answer:
        match endpoint:
            case "me":
                return json_answer(200, self.write.me())
            case "balance":
                return json_answer(200, self.write.balance())
            case "credits_squids":
                return json_answer(200, {"data": self._by_squid()})
            case "credits_modules":
                return json_answer(200, {"data": self._by_crawler()})
        raise AssertionError(f"no such endpoint: {endpoint}")

    def _by_squid(self) -> list[dict[str, Any]]:
        lately = [s for s in self.account.deleted_squids if self.now_s - (s.deleted_s or 0.0) < _DELETED_SHOWN_S]
        return [
            {
                "squid": squid.id,
                "name": squid.name,
                "credits": sum(run.usage_at(self.now_s).credits for run in squid.runs),
                "is_deleted": squid.deleted_s is not None,
            }
            for squid in (*self.account.squids.values(), *lately)
        ]

    def _by_crawler(self) -> list[dict[str, Any]]:
        """Of completed runs only."""
        days = whole(self.request.query, "days", 0)
        since_s = self.now_s - days * _DAY_S if days else float("-inf")
        charged: defaultdict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for run in self.account.runs:
            if run.phase.status in TERMINAL and run.life.start_s >= since_s:
                for part in self.write.credits(run)["breakdown"]:
                    charged[run.squid.crawler_id][part["function"]] += part["credits"]
        return [
            {"module": crawler, "total_credits": sum(parts.values()), "functions": parts}
            for crawler, parts in charged.items()
        ]


class CatalogCalls(Calls):
    """Crawlers."""

    routes: ClassVar[tuple[Route, ...]] = (
        route("/v1/crawlers", GET="crawlers"),
        route("/v1/crawlers/{id}", GET="crawler"),
        route("/v1/crawlers/{id}/params", GET="crawler_params"),
        route("/v1/crawlers/{id}/attributes", GET="crawler_attributes"),
    )

    def serve(self, endpoint: str, given: str) -> Answer:
        if endpoint == "crawlers":
            return self.page(list(self.account.crawlers.values()), LobstrCrawler.document)
        if (crawler := self.account.crawlers.get(given)) is None:
            raise not_found("Crawler")
        match endpoint:
            case "crawler":
                return json_answer(200, crawler.detail())
            case "crawler_params":
                return json_answer(200, crawler.params())
            case "crawler_attributes":
                return json_answer(200, crawler.attributes())
        raise AssertionError(f"no such endpoint: {endpoint}")


class LoginCalls(Calls):
    """Accounts on other platforms, which some crawlers log in with. Every synchronization succeeds at once."""

    routes: ClassVar[tuple[Route, ...]] = (
        route("/v1/accounts", GET="logins", POST="update_login"),
        route("/v1/accounts/cookies", POST="synchronize"),
        route("/v1/accounts/{id}", GET="login", DELETE="delete_login"),
        route("/v1/account_types", GET="login_types"),
        route("/v1/synchronize/{id}", GET="synchronization"),
    )

    def serve(self, endpoint: str, given: str) -> Answer:
        match endpoint:
            case "logins":
                return self.page(list(self.account.logins.values()), self.write.login)
            case "update_login":
                return self._update()
            case "synchronize":
                return self._synchronize()
            case "login":
                return self.page([self._login(given)], self.write.login)
            case "delete_login":
                return self._delete(self._login(given))
            case "login_types":
                return self.page(list(ACCOUNT_TYPES.values()), dict)
            case "synchronization":
                if given not in self.account.syncs:
                    raise not_found("Synchronization task")
                return json_answer(
                    200, {**_sync(given, 200, "synchronized"), "account_hash": self.account.syncs[given]}
                )
        raise AssertionError(f"no such endpoint: {endpoint}")

    def _login(self, login_id: object) -> Login:
        login = self.account.logins.get(login_id) if isinstance(login_id, str) else None
        if login is None:
            raise not_found("Account")
        return login

    def _update(self) -> Answer:
        wanted = self.json()
        login, params = self._login(wanted.get("account")), wanted.get("params")
        if wanted.get("type") != login.type or not isinstance(params, dict):
            raise Refusal(400, "InvalidParam", "Invalid parameters. Check account hash and type.")
        login.params.update(params)
        return json_answer(200, self.write.login(login))

    def _delete(self, login: Login) -> Answer:
        del self.account.logins[login.id]
        for squid in self.account.squids.values():
            squid.logins = [each for each in squid.logins if each != login.id]
        return deleted("account", login.id)

    def _synchronize(self) -> Answer:
        wanted = self.json()
        kind, cookies = ACCOUNT_TYPES.get(str(wanted.get("type"))), wanted.get("cookies")
        if (
            kind is None
            or not isinstance(cookies, dict)
            or any(each["name"] not in cookies for each in kind["cookies"])
        ):
            raise Refusal(400, "InvalidParam", "Invalid account type or missing required cookies.")
        if "account" in wanted:
            login = self._login(wanted["account"])
        else:
            number = len(self.account.logins) + 1
            login = Login(self.account.make_id(), f"{kind['domain'].lower()}-{number}", kind["name"], self.now_s)
            self.account.logins[login.id] = login
        sync_id = self.account.make_id()
        self.account.syncs[sync_id] = login.id
        return json_answer(200, _sync(sync_id, 100, "created"))


def _sync(sync_id: str, code: int, text: str) -> dict[str, Any]:
    return {"id": sync_id, "object": "synchronize-cookies", "status_code": code, "status_text": text}
