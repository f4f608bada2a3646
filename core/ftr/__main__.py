"""`python -m ftr`: the same as the `ftr` command."""

from ftr.cli.main import program

if __name__ == "__main__":
    program()
