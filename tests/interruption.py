"""Stop a training as Ctrl-C does, at a moment that is always the same."""

from __future__ import annotations

from types import ModuleType

import pytest


def interrupt_after(monkeypatch: pytest.MonkeyPatch, module: ModuleType, saves: int) -> None:
    """Ctrl-C once ``module`` has saved its training state so many times."""
    save, count = module.save_training_state, 0

    def saved(path, state):
        nonlocal count
        save(path, state)
        count += 1
        if count == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_training_state", saved)
