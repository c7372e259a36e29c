"""The command line: ``liser``, and ``python -m liser``."""

import os
import signal


def main() -> None:
    """Run `liser.cli.app.main`; Ctrl-C while that is imported exits with status 130 at once."""
    before = signal.getsignal(signal.SIGINT)
    # an ignored signal, as of a script's background job, stays ignored
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    from liser.cli.app import main as run

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
