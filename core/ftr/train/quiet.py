"""Silence for the libraries below: what they would print on stderr is said by ftr, or raised."""

import logging


def quiet_libraries() -> None:
    """Turn off the libraries' own progress bars, advice and retries: ftr has its own line, and errors still raise."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
