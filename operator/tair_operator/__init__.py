"""Keeps the direct connection of Tair and Redis cluster instances on Alibaba Cloud as a manifest says.

Start reading at ``plan``: it decides everything. ``reconcile`` runs one pass
around it (observe, decide, act, report), ``models`` is the resource, ``ports``
is what the core needs from outside. ``aliyun`` and ``cluster`` are the outside,
``handlers`` says which Kubernetes events lead to a pass, and ``__main__`` puts
it all together.
"""
