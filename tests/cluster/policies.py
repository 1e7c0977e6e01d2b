"""Admission policies that refuse writes in one namespace, as those of a platform team do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cluster.tenants import wait_until
from tests.controlplane import ControlPlane, KubectlError

ADMISSION = "admissionregistration.k8s.io/v1"


@dataclass(frozen=True)
class Policy:
    """One that has been applied, which takes a moment to be in force."""

    plane: ControlPlane
    words: str

    def wait_in_force(self, *command: str, stdin: str | None = None) -> None:
        """Wait until the policy refuses a command of kubectl, which is only tried out."""
        wait_until(lambda: self._refuses(command, stdin), f"the policy is in force: {' '.join(command)}")

    def wait_lifted(self, *command: str, stdin: str | None = None) -> None:
        """Wait until the policy, which was deleted, refuses the command no more."""
        wait_until(lambda: not self._refuses(command, stdin), f"the policy is gone: {' '.join(command)}")

    def _refuses(self, command: tuple[str, ...], stdin: str | None) -> bool:
        try:
            self.plane.kubectl(*command, "--dry-run=server", stdin=stdin)
        except KubectlError as error:
            if self.words in error.stderr:
                return True
            raise
        return False


@contextmanager
def refusing(
    plane: ControlPlane, namespace: str, resources: tuple[str, str, str, str], expression: str, words: str
) -> Iterator[Policy]:
    """Refuse, with these words, what is no ``expression``; ``resources`` are group, version, plural and verb."""
    name = f"{namespace}-refuses"
    group, version, plural, verb = resources
    rule = {"apiGroups": [group], "apiVersions": [version], "resources": [plural], "operations": [verb]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
        "validations": [{"expression": expression, "message": words}],
    }
    specs = {
        "ValidatingAdmissionPolicy": policy,
        "ValidatingAdmissionPolicyBinding": {"policyName": name, "validationActions": ["Deny"]},
    }
    for kind, spec in specs.items():
        manifest = {"apiVersion": ADMISSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        plane.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    try:
        yield Policy(plane, words)
    finally:
        for kind in reversed(specs):
            plane.kubectl("delete", kind, name)
