"""These tests run by name only (`make image-test`): they need root, Debian's build tools and ten minutes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.building import Builder, BuildError, Image, check_tools

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out unless somebody asks for it, or for a file in it."""
    asked = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(path == HERE or HERE in path.parents for path in asked) else True


@pytest.fixture(scope="session")
def builder() -> Iterator[Builder]:
    """Make the base once; a missing tool is a failure, with what to install."""
    try:
        check_tools()
        builder = Builder.open()
    except BuildError as error:
        pytest.exit(str(error), returncode=1)
    yield builder
    builder.close()


@pytest.fixture(scope="session")
def image(builder: Builder) -> Image:
    """The image, built from nothing."""
    return builder.build("first")


@pytest.fixture(scope="session")
def root(builder: Builder, image: Image) -> Path:
    """The file system of a container of the image."""
    return builder.mount(image)
