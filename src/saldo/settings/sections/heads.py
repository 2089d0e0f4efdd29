"""Settings of signed heads."""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset


class HeadSettings(SettingsSection):
    """Signed heads of the ledger, which the relay's process publishes outside of the database."""

    seals_key_file: Annotated[Path | None, Unset] = Field(
        None,
        description="File with the private key that signs heads (docs/howto/prove.md). `saldo seals key --create` "
        "creates it. Only the account of the relay's process may be able to read it. By default no heads are signed.",
    )
    seals_next_key_file: Annotated[Path | None, Unset] = Field(
        None,
        description="File with the private key that replaces the one in SALDO_SEALS_KEY_FILE. One more head is signed "
        "by the old key, which names the new key. After that, move the new key to SALDO_SEALS_KEY_FILE.",
    )
    seals_key_replaced: bool = Field(
        False,
        description="Whether the key in SALDO_SEALS_KEY_FILE may sign although the head before does not name it, "
        "because the old key is lost. People who verify the heads must then be given the new public key.",
    )
    seals_publish_seconds: float = Field(
        300.0, ge=1, le=86_400, description="Interval at which a signed head is published."
    )
    seals_publish_dir: Annotated[Path | None, Unset] = Field(
        None,
        description="Directory in which heads are published, as new files. It must exist, and should be on storage "
        "that the administrators of the database can't change.",
    )
    seals_publish_command: Annotated[str | None, Unset] = Field(
        None,
        description="Command that publishes a head, as an alternative to the directory. It gets the head on its "
        "standard input. {name} in an argument is replaced by the name of the head. The command is started without a "
        "shell, and without Saldo's settings in its environment.",
    )
    seals_publish_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Timeout for the publication of a head. A command that takes longer is killed.",
    )

    @field_validator("seals_publish_command")
    @classmethod
    def _check_command(cls, command: str | None) -> str | None:
        try:
            arguments = shlex.split(command or "")
        except ValueError:
            arguments = []
        if command is not None and not arguments:
            raise ValueError("expected a program and its arguments, quoted as in a shell")
        return command

    @model_validator(mode="after")
    def _check_destination(self) -> Self:
        destinations = (self.seals_publish_dir, self.seals_publish_command)
        if all(destinations):
            raise ValueError(
                "SALDO_SEALS_PUBLISH_DIR and SALDO_SEALS_PUBLISH_COMMAND: set only one of them"
            )
        if (self.seals_key_file is None) is any(destinations):
            raise ValueError(
                "SALDO_SEALS_KEY_FILE, and SALDO_SEALS_PUBLISH_DIR or SALDO_SEALS_PUBLISH_COMMAND: "
                "set both or none"
            )
        if self.seals_next_key_file is not None and self.seals_key_file is None:
            raise ValueError("SALDO_SEALS_NEXT_KEY_FILE requires SALDO_SEALS_KEY_FILE")
        return self

    @property
    def seals_publish_arguments(self) -> tuple[str, ...]:
        """The program that publishes a head, and its arguments; empty if there is none."""
        return tuple(shlex.split(self.seals_publish_command or ""))

    @property
    def seals_publish_interval(self) -> timedelta:
        """The interval at which a signed head is published."""
        return timedelta(seconds=self.seals_publish_seconds)
