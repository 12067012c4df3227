"""Labels of a catalogue's rows as paths of node codes."""

from collections import Counter

from hsjax.data.columns import check_table, label_kind
from hsjax.data.fields import UNREADABLE, as_text, listed
from hsjax.data.quarantine import Quarantine
from hsjax.data.sources import read_rows
from hsjax.data.stored_records import labels_of
from hsjax.tree.codes import hs_path, join_levels, split_path

# no goods of international trade are there
SPECIAL_CHAPTERS = {"77": "reserved", "98": "national use", "99": "national use"}


class LabelError(ValueError):
    """Why a row has no usable label: a short phrase, then ': ' and the detail."""


class Labels:
    """Reads labels: code, path, level columns or node, through a label map if given."""

    def __init__(self, config, quarantine, *, columns, digits, nodes) -> None:
        self.tally = quarantine.tally
        self.columns, self.digits, self.nodes = columns, digits, nodes
        self.separator = config.columns.separator
        self.map = _read_label_map(config.label_map, quarantine)
        self.kind = label_kind(config)
        # Levels of a complete label; 0 = only the tree knows how deep a path may go.
        self.depth = {"code": len(digits), "levels": len(columns)}.get(self.kind, 0)

    def path(self, values: dict) -> tuple[str, ...]:
        """Node codes, coarsest first; LabelError where the row has no sound label."""
        fields = [values.get(name) for name in self.columns]
        parts = [as_text(field) for field in fields]
        if not any(parts):
            raise LabelError("no label")
        if any(isinstance(field, list | dict) for field in fields):
            raise LabelError("malformed label: it is a list, not one value")
        if any(UNREADABLE in part for part in parts):
            raise LabelError(f"malformed label: {parts} has unreadable characters")
        if self.map is not None:
            parts = [self.mapped(self.separator.join(filter(None, parts)))]
        if len(parts) == 1 and not (parts := [_single(parts[0])])[0]:
            raise LabelError("no label")
        while not parts[-1]:
            parts.pop()
        if "" in parts:
            raise LabelError(f"gap in the label: {parts}, a coarser level is empty")
        if self.kind == "node":  # a code outside the tree stays, to be told as such
            return self.nodes.get(parts[0], (parts[0],))
        try:
            if self.kind == "code":
                return self.code(parts[0])
            if self.kind == "path":
                return split_path(parts[0], self.separator)
            return join_levels(parts, self.separator)
        except ValueError as error:
            asked = self.asked_path(parts[0]) or self.asked_separator(parts[0])
            raise LabelError(f"malformed label: {error}{asked}") from None

    def code(self, text: str) -> tuple[str, ...]:
        path, deepest = hs_path(text, self.digits), self.digits[-1]
        if sum(c.isdigit() for c in text) > deepest:
            self.tally[f"codes cut to {deepest} digits"] += 1
        return path

    def asked_path(self, text: str) -> str:
        """`: is it a path? ...` of what is read as a code and looks like a path."""
        marks = (self.separator, ">", "/")
        found = next((mark for mark in marks if mark in text), "")
        if self.kind != "code" or not found:
            return ""
        known = found.strip() == self.separator.strip()
        other = "" if known else f" and data.columns.separator={found!r}"
        return f": is it a path? data.columns.label_kind=path{other}"

    def asked_separator(self, text: str) -> str:
        """`: is the separator ' >> '? ...` of a path that has it between its names."""
        if self.kind != "path" or ">>" not in text or ">>" in self.separator:
            return ""
        return ": is it data.columns.separator=' >> '?"

    def special_chapters(self, records) -> str:
        """How many HS codes are of chapters without goods, in words; '' = none."""
        if self.kind != "code":
            return ""
        counts = Counter(path[0][:2] for path, *_ in labels_of(records) if path)
        told = ", ".join(
            f"{counts[chapter]:,} of chapter {chapter} ({use})"
            for chapter, use in SPECIAL_CHAPTERS.items()
            if counts[chapter]
        )
        return f"codes that are taken as they are: {told}" if told else ""

    def mapped(self, native: str) -> str:
        labels = sorted(self.map.get(native, ()))
        if len(labels) > 1:
            raise LabelError(f"conflicting label map: {native!r} -> {labels}")
        if not any(labels):
            raise LabelError(f"unmapped label: {native!r} has none in the label map")
        return labels[0]


def _single(text: str) -> str:
    """A label, or the only one of a JSON list; '' = an empty list."""
    found = listed(text)
    if found and len(found) > 1:
        raise LabelError("malformed label: it is a list, not one value")
    return text if found is None else "".join(found)


def _read_label_map(path: str, quarantine) -> dict[str, set[str]] | None:
    """{native: labels}; more than one label is a conflict, told and never resolved."""
    if not path:
        return None
    check_table(path, ("native", "label"), "config.data.label_map")
    labels: dict[str, set[str]] = {}
    flaws = Quarantine()  # a row of the map is no product, so that none is `dropped`
    for row, values in read_rows(path, flaws):
        native, label = as_text(values["native"]), as_text(values["label"])
        known = labels.setdefault(native, set())
        known.add(label)
        if len(known) > 1:
            reason = f"conflicting label map: {native!r} -> {sorted(known)}"
        elif not native:
            reason = "empty native label"
        else:
            continue
        flaws.add(file=path, row=row, column="native", reason=reason, action="dropped")
    for *note, action in flaws.rows:
        quarantine.rows.append((*note, "ignored" if action == "dropped" else action))
    return labels
