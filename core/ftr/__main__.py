"""`python -m ftr`: the same as the `ftr` command."""

from ftr.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
