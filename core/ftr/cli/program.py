"""The program `ftr`: one command, and then out at once."""

import atexit
import contextlib
import logging
import os
import sys
from typing import NoReturn

from ftr.cli.main import main


def program() -> NoReturn:
    """Run the command line of this process and leave it.

    With torch, transformers and Ray imported the interpreter takes about a second to take itself apart; all that must
    happen at the end (exit handlers, full streams) is done here, and the rest is left to the system.
    """
    code = main()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
