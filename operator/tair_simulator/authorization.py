"""What stands between a genuine call and its operation: flow control, then RAM.

The order is a guess: a gateway that counts first spares itself the policies.
"""

from collections.abc import Mapping

from tair_simulator.access_keys import AccessKey
from tair_simulator.cloud import Cloud
from tair_simulator.ram import Principal, Statement, access_denied, find_denial, resource_name

# A guess: the region of a call to a host that stands for none, about an instance that does not exist.
CENTRAL_REGION = "cn-hangzhou"


def permit(cloud: Cloud, access_key_id: str, action: str, parameters: Mapping[str, str], region_id: str | None) -> None:
    """Let a call of this key pass; raise a ``Throttling`` code, or that of a RAM denial."""
    key = cloud.keys[access_key_id]
    cloud.throttle.take(access_key_id, key.account_id, action, cloud.clock())
    policies = policies_of(cloud, key)
    if policies is None:
        return
    for resource in _resources(cloud, key, parameters, region_id):
        denial = find_denial(policies, f"kvstore:{action}", resource)
        if denial:
            raise access_denied(key.denied_code, f"kvstore:{action}", denial, principal_of(key))


def policies_of(cloud: Cloud, key: AccessKey) -> list[Statement] | None:
    """Return what counts for a key: its own policies, or those that its role has now; ``None`` permits everything."""
    if key.role is None:
        return key.policies
    role = cloud.directory.roles.get(key.role)
    return [] if role is None else role.policies


def principal_of(key: AccessKey) -> Principal:
    """Return who a key stands for; unless it says so, the holder of tokens is a role and any other a RAM user."""
    kind = key.principal_type or ("AssumedRoleUser" if key.all_tokens() else "SubUser")
    # A user is shown as a number, a role with its session: a guess from public bug reports.
    name = "200000000000000001" if kind == "SubUser" else "simulated-role:simulated-session"
    return Principal(key.account_id, kind, key.display_name or name)


def _resources(cloud: Cloud, key: AccessKey, parameters: Mapping[str, str], region_id: str | None) -> list[str]:
    # A guess: who names instances in DescribeInstances needs each of them, who names none needs instance/*.
    named = parameters.get("InstanceId") or parameters.get("InstanceIds") or "*"
    return [
        resource_name(_region(cloud, instance_id, parameters, region_id), key.account_id, instance_id)
        for instance_id in named.split(",")
    ]


def _region(cloud: Cloud, instance_id: str, parameters: Mapping[str, str], region_id: str | None) -> str:
    record = cloud.find(instance_id)
    own = record.instance.region_id if record else None
    return region_id or parameters.get("RegionId") or own or CENTRAL_REGION
