"""The image, built for real: `make image-test`."""
