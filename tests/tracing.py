"""What coverage and the garbage collector cost, kept out of where it would tell a lie or take minutes."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def untraced() -> Iterator[None]:
    """Run something without coverage, which makes it three times as long, and without collections of garbage."""
    tracer, profiler = sys.gettrace(), sys.getprofile()
    sys.settrace(None)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.settrace(tracer)
        sys.setprofile(profiler)
