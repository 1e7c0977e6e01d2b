"""How the models meet the wire: camelCase names, times to the second, and nothing lost that is not known."""

from datetime import UTC
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

Time = Annotated[
    AwareDatetime,
    PlainSerializer(
        lambda time: time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), return_type=str, when_used="json"
    ),
]
"""A time as Kubernetes writes it: UTC, to the second."""


class Model(BaseModel):
    """Lenient on purpose: a field that a newer version stored must survive in an older one."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="allow", use_attribute_docstrings=True
    )
