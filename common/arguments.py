"""The command line's parser: what is wrong is said in one line, with the nearest known flag."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the description; of the spellings of a flag (``--learning_rate``,
    ``--learning-rate``, ``--no-...``) it shows the first."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        everything = list(action.option_strings)
        shown: list[str] = []
        for word in everything:
            alike = any(word.replace("-", "_") == other.replace("-", "_") for other in shown)
            if not alike and not word.startswith("--no-"):
                shown.append(word)
        action.option_strings = shown
        try:
            return super()._format_action_invocation(action)
        finally:
            action.option_strings = everything


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that keeps the line breaks of its description and, in place of the
    usage of all flags, ends with one sentence and exit status 2."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Formatter)
        super().__init__(**options)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """As of ``ArgumentParser``; flags that are not known are an error."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._about_unknown(unknown))
        return found

    def _about_unknown(self, unknown: Sequence[str]) -> str:
        flags = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        if not flags:
            return f"there is nothing that {' '.join(unknown)!r} could mean here"
        known = [name for name in self._option_string_actions if name.startswith("--")]
        near = difflib.get_close_matches(flags[0], known, n=1, cutoff=0)
        return f"there is no flag {flags[0]}; the nearest one is {near[0]}"

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit with status 2."""
        self.exit(2, f"error: {message} (--help lists all flags)\n")
