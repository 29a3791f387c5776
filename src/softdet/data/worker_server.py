"""For the process alone that loader processes are forked from: importing this sets it up.

A scheduler's SIGTERM may go to every process of a run, and loader processes end when the one they came from does.
"""

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
