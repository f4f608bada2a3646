"""Plain text tables: aligned columns, no borders, nothing cut."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return `rows` under `header` in columns two spaces apart; columns that are empty in every row are left out."""
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    kept = [at for at in range(len(header)) if not cells or any(row[at] for row in cells)]
    lines = [[header[at] for at in kept], *([row[at] for at in kept] for row in cells)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(kept))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
