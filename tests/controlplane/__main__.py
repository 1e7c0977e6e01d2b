"""``python -m tests.controlplane``: an API server to try things on, until Ctrl-C."""

import argparse
import signal
import sys
import time

from tests.controlplane.binaries import (
    BinariesError,
    find_binaries,
    find_chart_tools,
    find_gitops_oracle,
    find_monitoring_tools,
)
from tests.controlplane.controlplane import ControlPlane, ControlPlaneError


def main() -> int:
    """Start the control plane, say how to reach it, and wait."""
    parser = argparse.ArgumentParser(prog="python -m tests.controlplane", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and data in place at the end")
    parser.add_argument(
        "--build",
        action="store_true",
        help="only find or build the binaries, and those that the tests of what is in deploy/ need",
    )
    arguments = parser.parse_args()
    # A shell that starts it in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()
    try:
        if arguments.build:
            find_binaries()
            find_chart_tools()
            find_gitops_oracle()
            find_monitoring_tools()
            return 0
        with ControlPlane(keep=arguments.keep) as plane:
            seconds = time.monotonic() - started
            print(f"kube-apiserver is ready at {plane.server} after {seconds:.1f} s; Ctrl-C ends it.")
            print(f"Logs and data: {plane.folder}")
            print(f"alias kubectl={plane.kubectl_program}")
            print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (BinariesError, ControlPlaneError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
