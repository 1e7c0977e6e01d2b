"""How the models meet the wire: camelCase names, times to the second, and nothing lost that is not known."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel


def _written(time: datetime) -> str:
    try:
        utc = time.astimezone(UTC)
    except OverflowError:
        # Whoever wrote it, it is at an end of the calendar, and beyond that end in UTC.
        utc = datetime(1, 1, 1, tzinfo=UTC) if time.year == 1 else datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    # Not strftime, which writes the zero time of Go as the year 1: no API server takes that.
    return f"{utc.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


Time = Annotated[AwareDatetime, PlainSerializer(_written, return_type=str, when_used="json")]
"""A time as Kubernetes writes it: UTC, to the second."""


class Model(BaseModel):
    """Lenient on purpose: a field that a newer version stored must survive in an older one."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="allow", use_attribute_docstrings=True
    )
