"""What all tests share: how hypothesis tries its examples."""

from hypothesis import settings

# How long an example takes tells how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
