"""The soak: hours of flips, faults and restarts over hundreds of resources, and what must hold meanwhile and then.

``make soak MINUTES=60``, or ``python -m tests.soak --help``. A run has three parts:

* In the first and the last third **one process** lives, so that its memory, files and
  tasks can be seen over a long time. Manifests, instances and the cloud give it no rest.
* In the second third it is killed, ended in order and stopped for moments, and the API
  server goes away, again and again.
* Then the faults end, people do what a Stalled resource asks them to do, everything has
  to converge, and nothing may be written at rest.

``judge`` has what is judged; it knows nothing of processes, so that its tests can show
that it notices. All chance comes from one seed, which is printed. The operator's own
timing is not under the control of the seed: the same seed repeats what is done to it.
"""
