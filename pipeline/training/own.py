"""The class of a network that is not ours: `module:Class` from a training config, which its owner wrote and runs."""

from __future__ import annotations

import importlib

from torch import nn

from operators.errors import ContractError


def own_class(use: str) -> type[nn.Module]:
    """Imports it. Raises ContractError for what is not there or is no nn.Module."""
    module, _, name = use.partition(":")
    if not (module and name):
        raise ContractError(f"own network wants of: module:Class, got {use!r}")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ContractError(f"{use}: {' '.join(str(error).split())}; is its folder on PYTHONPATH?") from None
    except Exception as error:  # noqa: BLE001 - importing runs the user's own file, which may raise anything
        raise ContractError(f"{use}: importing it failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ContractError(f"{use} is no torch.nn.Module; write of: module:Class")
    return found
