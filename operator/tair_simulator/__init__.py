"""A stand-in for Alibaba Cloud's R-kvstore (Tair, Redis) API, for tests and for trying manifests without an account.

It also plays the two services that give out credentials: STS and the metadata server of an ECS instance.

Start reading in ``server``, which follows one request from its bytes to its reply. ``gateway`` and ``signature``
decide who is calling, ``authorization`` whether that caller may, ``products`` which service answers: ``operations``,
``sts`` or ``metadata``. ``instances`` and ``transitions`` say how an instance changes over time, ``faults`` what goes
wrong, ``control`` how a test arranges and inspects all of it. Nothing here imports the operator, and the operator
imports nothing of this: both compute signatures by themselves, or they could be wrong together.
"""
