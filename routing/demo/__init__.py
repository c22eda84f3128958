"""A small real upstream for demos and tests: it answers, and it misbehaves on request.

Standard library only and free of Django, so that a test can run it in its own process.
"""

from __future__ import annotations

from routing.demo.behaviour import Behaviour, BehaviourKind
from routing.demo.upstream import DemoUpstream, run_upstream

__all__ = ["Behaviour", "BehaviourKind", "DemoUpstream", "run_upstream"]
