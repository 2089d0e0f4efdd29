"""The check of the sections `Args`, `Attributes` and `Raises`: it finds names that don't exist, and no others."""

from __future__ import annotations

import ast

from tests.style.mentions import members_of
from tests.style.sections import (
    find_unknown_attributes,
    find_unknown_exceptions,
    find_unknown_parameters,
)
from tests.style.source import modules

EXAMPLE = '''
from errors import LostError
import errors

def post(amount, *rest, user, **more):
    """Post.

    Args:
        amount: The amount: it is positive.
        user, rest: Two.
        more: Others.
        date: It was removed.
            continued: no entry.

    Returns:
        result: no entry.

    Raises:
        LostError: It is lost.
        errors.OtherError: It is another.
        ValueError: It is wrong.
        KnownError, GoneError: One of them is gone.
    """

class Account:
    """An account.

    Attributes:
        balance: The balance: it is never negative.
        owner, opened_at: Two.
        closed: It was renamed.
            continued: no entry.
    """
    balance: int
    owner: int

    def __init__(self):
        self.opened_at = self.is_closed = 0

class SavingsAccount(Account, typing.NamedTuple):
    """An account.

    Attributes:
        balance: It comes from the base.
        interest: It was removed.
    """
'''


def test_unknown_names_are_found() -> None:
    tree = ast.parse(EXAMPLE)
    assert [*find_unknown_parameters(tree)] == ["post: date"]
    assert [*find_unknown_exceptions(tree, {"KnownError"})] == ["post: GoneError"]
    assert [*find_unknown_attributes(tree, members_of([tree]))] == [
        "Account: closed",
        "SavingsAccount: interest",
    ]


def test_sections_name_what_exists() -> None:
    trees = {module.path: module.tree for module in modules()}
    nodes = (node for tree in trees.values() for node in ast.walk(tree))
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    members = members_of(trees.values())
    found = [
        f"{path}: {fault}"
        for path, tree in trees.items()
        for fault in (
            *find_unknown_parameters(tree),
            *find_unknown_attributes(tree, members),
            *find_unknown_exceptions(tree, classes),
        )
    ]
    assert not found
