"""``make demo``: sets the stage, tells the story, and fails when a fact it shows is false."""

import argparse
import contextlib
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from demo.screen import Screen
from demo.story import Story
from tests.controlplane import BinariesError, ControlPlane, ControlPlaneError, KubectlError
from tests.stage import SEED, OperatorProcess, Stage, StageError


def main() -> int:
    """Run the demo; 0 when every fact held, 1 when one did not or something did not start."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The operator at work, in about a minute.")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end, until Ctrl-C")
    parser.add_argument("--seed", type=Path, default=SEED, help="what the simulated cloud contains (YAML)")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for each result")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end_once)
    print("Tair operator: a real kube-apiserver, a simulated Alibaba Cloud, and the operator between them.", flush=True)
    try:
        return tell(arguments.seed, arguments.patience, keep=arguments.keep)
    except KeyboardInterrupt:
        print("\nEnded; nothing is left running.")
        return 130
    except (BinariesError, ControlPlaneError, KubectlError, StageError) as error:
        print(f"The demo cannot go on: {error}", file=sys.stderr)
        return 1


def tell(seed: Path, patience: float, *, keep: bool) -> int:
    """Set the stage and tell the story on it."""
    started = time.monotonic()
    with ControlPlane() as plane, Stage(plane, seed=seed) as stage:
        screen = Screen(plane)
        screen.chapter("The stage")
        screen.say(f"{'kube-apiserver':18} {plane.server}")
        screen.say(f"{'simulated cloud':18} {stage.simulator.url}")
        screen.command("kubectl", "apply", "--server-side", "-k", "deploy/kustomize/base")
        screen.show(stage.install())
        # Two minutes by default; nobody wants to watch that.
        with stage.operator(TAIR_OPERATOR_STALL_GRACE_SECONDS="3") as operator:
            screen.line("")
            screen.say(f"{'operator':18} process {operator.pid}, as ServiceAccount tair-system/tair-operator")
            story = Story(screen, stage, operator, patience)
            story.adopt()
            story.release()
            story.wait_until_free()
            story.be_denied()
            story.lose_the_answer()
            story.fail()
            _conclude(screen, time.monotonic() - started)
            if keep:
                _keep(screen, stage, operator)
            return 1 if screen.failed else 0


def _end_once(_number: int, _frame: FrameType | None) -> None:
    """End in order, and let nobody who is impatient interrupt that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _conclude(screen: Screen, seconds: float) -> None:
    if not screen.failed:
        screen.line(f"\nEvery fact held, in {seconds:.0f} s. `make demo KEEP=1` leaves it running to play with.")
        return
    screen.line(f"\n{len(screen.failed)} facts did not hold:")
    for text in screen.failed:
        screen.line(f"   ✗ {text}")


def _keep(screen: Screen, stage: Stage, operator: OperatorProcess) -> None:
    screen.line(f"""
It keeps running until Ctrl-C. In another terminal:

   export KUBECONFIG={stage.plane.kubeconfig}
   alias kubectl={stage.plane.kubectl_program}
   kubectl get tair -A -w
   kubectl patch tair orders-cache -n shop --type=merge -p '{{"spec":{{"directConnection":true}}}}'
   curl -s {stage.simulator.url}/_simulator/ledger
   curl -s {stage.simulator.url}/_simulator/instances
   tail -f {operator.log}""")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    screen.line("\nEnded; nothing is left running.")


if __name__ == "__main__":
    sys.exit(main())
