"""Ctrl-C: the process ends within two seconds and in one sentence, whatever it is doing.

The usual way is ``KeyboardInterrupt``: what is half written is removed on its way up. Where it does
not get through (a library catches it, or a long call does not come back to Python), a thread ends
the process nevertheless.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

CODE = 130
"""The exit code, as shells have it."""

_GRACE_SECONDS = 1.5
_begun = threading.Event()
_ending = threading.Lock()


def _finished() -> str:
    return "what is finished is stored"


stored: Callable[[], str] = _finished
"""Says what is stored; whoever knows more than the default puts it here."""


@contextmanager
def watched() -> Iterator[None]:
    """Ctrl-C in this block ends the process; once more changes nothing."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a job in the background
        yield
        return
    receive, send = os.pipe()
    os.set_blocking(send, False)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_insist, args=(receive,), daemon=True).start()
    try:
        yield
    finally:
        if _begun.is_set():  # whatever became of KeyboardInterrupt on its way
            _end()


def _interrupt(*_: Any) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _begun.set()
    # What libraries throw away of it is nobody's concern.
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None
    raise KeyboardInterrupt


def _insist(receive: int) -> None:
    while os.read(receive, 1) != bytes([signal.SIGINT]):
        pass
    time.sleep(_GRACE_SECONDS)
    _end()


def _end() -> NoReturn:
    """Say what is stored, and end this process and its workers at once."""
    if not _ending.acquire(blocking=False):
        time.sleep(60)  # another thread is about to end this one
    with contextlib.suppress(Exception):
        _stop_workers()
    try:
        what = stored()
    except Exception:  # the folder may just be gone
        what = _finished()
    show_cursor = "\x1b[?25h" if os.isatty(2) else ""
    text = f"{show_cursor}interrupted: {what}, and the same command goes on from there\n"
    with contextlib.suppress(OSError):
        os.write(2, text.encode(errors="replace"))
    os._exit(CODE)


def _stop_workers() -> None:
    processes = sys.modules.get("multiprocessing")
    for worker in processes.active_children() if processes else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
