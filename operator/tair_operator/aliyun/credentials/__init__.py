"""Whose AccessKey signs a call, and where it comes from.

The operator has one configured source (``static``: variables or files, ``rrsa``,
``metadata``), and a resource may name a Secret or a ServiceAccount of its own
namespace instead; ``keyring`` hands out the provider of either. There is no
fall-through from one source to another: a Secret that is missing must not make
the role of the node act in its place. ``sts`` exchanges keys or a token for a
role's temporary credentials, ``sessions`` keeps those fresh and ``cache`` lets
one caller at a time ask.

Every provider answers ``get`` with complete, plausible credentials or with a
``CloudError`` that says what to mend; no value is ever part of a message.
"""

from tair_operator.aliyun.credentials.keyring import Identities, Keyring, OwnCredentials
from tair_operator.aliyun.credentials.keys import Credentials, CredentialsProvider
from tair_operator.aliyun.credentials.metadata import EcsRole
from tair_operator.aliyun.credentials.rrsa import PodRole
from tair_operator.aliyun.credentials.sessions import SessionCredentials, assuming
from tair_operator.aliyun.credentials.static import EnvironmentCredentials, FileCredentials
from tair_operator.aliyun.credentials.sts import Role, Sts, sts_endpoint

__all__ = [
    "Credentials",
    "CredentialsProvider",
    "EcsRole",
    "EnvironmentCredentials",
    "FileCredentials",
    "Identities",
    "Keyring",
    "OwnCredentials",
    "PodRole",
    "Role",
    "SessionCredentials",
    "Sts",
    "assuming",
    "sts_endpoint",
]
