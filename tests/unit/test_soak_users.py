"""The users of the soak notice what a status should not say, and whoever looks after the operator that it ended."""

import random
import time
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.fleet import instance_of
from tests.cluster.tenants import RELEASE
from tests.soak.disruption import Life
from tests.soak.samples import Sample, rates
from tests.soak.users import GoneError, Users

NOBODY: Any = None


@pytest.fixture
def users() -> Users:
    chance = random.Random(1)  # noqa: S311 - the same each time
    return Users(NOBODY, 3, 1, simulator=NOBODY, chance=chance, secrets=("hush",))


def resource(**status: object) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "observedGeneration": 1, "reason": "Released"}
    return {
        "metadata": {"name": "cache-00001", "uid": "u", "generation": 1, "resourceVersion": "7"},
        "spec": {"instanceId": instance_of(1), "directConnection": False},
        "status": {"observedGeneration": 1, "conditions": [ready]} | status,
    }


def show(users: Users, body: dict[str, Any], kind: str = "MODIFIED") -> list[str]:
    users._note({"type": kind, "object": body}, time.time())
    return users.problems


def test_a_good_status_is_no_problem_and_is_known(users: Users) -> None:
    operation = {"id": "one", "action": RELEASE, "generation": 1, "outcome": "Started"}

    assert show(users, resource(operation=operation, requestId="id-1")) == []
    assert users.ready() == 1
    assert users.intents == {instance_of(1): {"one"}}
    assert users.shown == {"id-1": "cache-00001"}
    assert show(users, resource(), "DELETED") == []
    assert users.current == {}


def test_a_status_that_breaks_the_rules_is_a_problem(users: Users) -> None:
    stalled = {"type": "Stalled", "status": "True", "observedGeneration": 1}
    body = resource()
    body["status"]["conditions"].append(stalled)

    assert any("breaks FAIL0001" in problem for problem in show(users, body))


def test_a_secret_in_a_status_is_a_problem(users: Users) -> None:
    assert show(users, resource(error={"message": "key hush"})) == ["cache-00001 has a secret in its status"]


def test_an_intent_on_another_manifest_is_a_problem_once(users: Users) -> None:
    body = resource(operation={"id": "one", "action": RELEASE, "generation": 1, "outcome": "Started"})
    body["spec"]["directConnection"] = True

    show(users, body)

    assert show(users, body) == [f"cache-00001 announced {RELEASE} on a manifest that wants True"]


def test_a_watch_that_is_too_old_is_begun_anew(users: Users) -> None:
    with pytest.raises(GoneError, match="too old"):
        users._note({"type": "ERROR", "object": {"message": "too old"}}, 0.0)


# --- the operator -------------------------------------------------------------------------------------------------


@dataclass
class Ended:
    """An operator that has ended, and starts again at once."""

    code: int | None
    starts: int = 0

    def exit_code(self) -> int | None:
        return self.code

    def start(self) -> None:
        self.starts, self.code = self.starts + 1, None

    def probe(self, _path: str) -> tuple[int, str]:
        return 200, "ok"


@pytest.mark.parametrize(("code", "problems"), [(None, []), (1, ["process 0 ended by itself with 1"])])
async def test_a_process_that_ends_by_itself_is_a_problem_and_is_started_again(
    code: int | None, problems: list[str]
) -> None:
    operator: Any = Ended(code)
    chance = random.Random(1)  # noqa: S311 - the same each time
    life = Life(NOBODY, operator, chance, lambda _: None, longest_pause=1)

    await life.revive()

    assert life.problems == problems
    assert operator.starts == len(problems)


def test_a_rate_does_not_cross_a_restart() -> None:
    def sample(minute: float, process: int, calls: int) -> Sample:
        return Sample(1, 90, 90, 30, 2, 80, 0, 1, calls, 0, minute=minute, process=process)

    samples = [sample(0, 1, 0), sample(1, 1, 120), sample(2, 2, 5), sample(3, 2, 65)]

    assert rates(samples, "cloud_calls") == [(1, 2), (3, 1)]
