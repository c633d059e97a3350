"""What gunicorn has to do when a worker ends, so that `/metrics` shows its gauges no longer.

gunicorn --config python:examples.gunicorn_conf --workers 2 examples.web:application
"""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import multiprocess


def child_exit(server: Any, worker: Any) -> None:
    """Called in the parent, also when the worker was killed."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
