"""The command line of the simulator: read the flags and the seed, serve until told to stop.

It prints exactly one line to standard output, with its address, once it listens. A signal (SIGTERM or SIGINT) ends it
with status 0, a mistake in flags or seed with 2, an address that cannot be had with 1.
"""

import argparse
import asyncio
import signal
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from tair_simulator.cloud import Cloud
from tair_simulator.mistakes import InputError
from tair_simulator.seed import Seed, read_seed
from tair_simulator.server import create_app

EPILOG = """\
Point a client at the printed address and sign with an access key of the seed. It speaks plain HTTP, or HTTPS with a
certificate and its key. The control API under /_simulator/ (instances, accessKeys, roles, oidcProviders, ecs,
throttling, ledger, faults, holds, reset, healthz) is not protected in any way: anybody who reaches the port may change
everything. Run it in trusted test environments only.
"""
GRACE_SECONDS = 1.0
HIGHEST_PORT = 65_535


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        seed = read_seed(options.seed) if options.seed else Seed()
        tls = read_certificate(options.tls_cert, options.tls_key)
    except InputError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return 2
    try:
        asyncio.run(_serve_until_told(Cloud(seed), options.host, options.port, tls))
    except OSError as error:
        print(f"cannot listen on {options.host} port {options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def read_certificate(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what HTTPS needs, or ``None`` for plain HTTP; raise ``InputError`` with every mistake."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InputError(["--tls-cert and --tls-key: needed both, or none of them"])
    files = {"--tls-cert": certificate, "--tls-key": key}
    mistakes = [f"{flag} {file}: cannot be read: {why}" for flag, file in files.items() if (why := _unreadable(file))]
    if mistakes:
        raise InputError(mistakes)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password of our own, OpenSSL would stop and ask for that of an encrypted key.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        needed = "must be a PEM certificate and the PEM key that belongs to it, not encrypted"
        raise InputError([f"--tls-cert {certificate} and --tls-key {key}: {needed}"]) from None
    return context


async def serve(cloud: Cloud, host: str, port: int, stop: asyncio.Event, tls: ssl.SSLContext | None = None) -> None:
    """Serve this cloud until ``stop`` is set; print the address as soon as it listens. Port 0 means any free one."""
    runner = web.AppRunner(create_app(cloud), access_log=None, shutdown_timeout=GRACE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        print(f"tair-simulator listening on {'https' if tls else 'http'}://{_address(runner)}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


async def _serve_until_told(cloud: Cloud, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(cloud, host, port, stop, tls)


def _unreadable(file: Path) -> str | None:
    try:
        file.read_bytes()
    except OSError as error:
        return error.strerror
    return None


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tair-simulator",
        description="A stand-in for the R-kvstore (Tair, Redis) API of Alibaba Cloud.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)"
    )
    parser.add_argument(
        "--port", type=_port, default=0, help="port to listen on, 0 to 65535 (default 0: any free one; it is printed)"
    )
    parser.add_argument(
        "--seed",
        type=Path,
        metavar="FILE",
        help="YAML file with access keys, roles and instances to start with (default: none, so every call is refused)",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM certificate for HTTPS (default: plain HTTP)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM key that belongs to the certificate")
    return parser


if __name__ == "__main__":
    sys.exit(main())
