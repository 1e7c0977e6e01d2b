"""An answer that Kubernetes refuses to store is owed, and stored before anything else happens to its resource."""

import asyncio

import pytest

from tair_operator import answers
from tair_operator.models import Action, Outcome
from tair_operator.ports import ClusterRefusedError
from tests.builders import KEY, resource
from tests.fakes import World, present, world
from tests.meters import Meter

REFUSAL = "the Kubernetes API answered 403 Forbidden"


def refuse_answers(w: World) -> list[None]:
    """Refuse every answer until the list that is returned is cleared."""
    is_refusing = [None]

    def refuse() -> None:
        if is_refusing:
            w.cluster.at["write_answer"] = refuse
            raise ClusterRefusedError(REFUSAL)

    w.cluster.at["write_answer"] = refuse
    return is_refusing


async def test_an_answer_that_is_refused_is_stored_before_anything_else_happens_to_its_resource() -> None:
    w = world(present(), resource(False))
    refusal, changes = refuse_answers(w), Meter("tair_operator_direct_connection_changes_total")
    for _ in range(3):
        with pytest.raises(ClusterRefusedError, match=rf"Accepted, RequestId .+: not recorded .*: {REFUSAL}"):
            await w.one_pass()
    looks, meanwhile = w.cloud.looks, w.seen().status
    refusal.clear()
    await w.one_pass()
    await w.run(60)
    status = w.seen().status

    assert looks == 1
    assert meanwhile.operation is not None
    assert meanwhile.operation.outcome is Outcome.STARTED
    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")
    assert status.request_id == w.cloud.effective_releases[0]
    assert changes.gained() == {(Action.RELEASE, "Succeeded"): 1}


@pytest.mark.parametrize("is_mended", [True, False])
async def test_a_process_that_ends_tries_a_last_time(
    caplog: pytest.LogCaptureFixture,
    is_mended: bool,  # noqa: FBT001
) -> None:
    w = world(present(), resource(False))
    refusal = refuse_answers(w)
    with pytest.raises(ClusterRefusedError):
        await w.one_pass()
    if is_mended:
        refusal.clear()
    await w.operator.answers.settle_up()
    operation = w.seen().status.operation

    assert operation is not None
    assert operation.outcome is (Outcome.ACCEPTED if is_mended else Outcome.STARTED)
    assert ("this process ends without it" in caplog.text) is not is_mended


async def test_a_process_that_ends_does_not_wait_for_ever(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = world(present(), resource(False))
    refuse_answers(w)
    with pytest.raises(ClusterRefusedError):
        await w.one_pass()

    async def hang(*_: object) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(answers, "LAST_TRY_SECONDS", 0.01)
    monkeypatch.setattr(w.cluster, "write_answer", hang)
    await w.operator.answers.settle_up()

    assert "1 answers are not recorded" in caplog.text


async def test_an_answer_that_is_owed_to_a_resource_that_is_gone_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    w = world(present(), resource(False))
    refusal = refuse_answers(w)
    with pytest.raises(ClusterRefusedError):
        await w.one_pass()
    refusal.clear()
    del w.cluster.stored[KEY]

    assert await w.one_pass() is None
    assert await w.one_pass() is None
    assert caplog.text.count("its status does not show this call") == 1
