"""Key files of signed heads, and the settings that name them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from harness.program.settings import create_settings
from saldo.background.head_destinations import CommandDestination, DirectoryDestination
from saldo.bootstrap.heads import (
    check_head_keys,
    create_destination,
    create_private_key,
    load_head_keys,
    load_private_key,
)
from saldo.settings.model import Settings
from saldo.store.errors import ConfigurationError

URL = "postgresql://saldo@db/saldo"


def test_key_file_is_created_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "seals.pem"
    mask = os.umask(0)
    try:
        key = create_private_key(path)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert load_private_key(path).private_bytes_raw() == key.private_bytes_raw()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"can't create the key file .*: File exists"):
        create_private_key(path)
    assert path.read_bytes() == before


def test_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "seals.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="can't create the key file"):
        create_private_key(tmp_path / "seals.pem")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
def test_key_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "seals.pem"
    create_private_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"has the mode {mode:04o}, so other accounts"):
        load_private_key(path)
    path.chmod(0o400)
    load_private_key(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_key_file_of_another_account_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seals.pem"
    create_private_key(path)
    os.chown(path, 65534, -1)
    with pytest.raises(ConfigurationError, match="belongs to another account"):
        load_private_key(path)


def test_unusable_key_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "seals.pem"
    with pytest.raises(ConfigurationError, match="No such file"):
        load_private_key(path)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        load_private_key(make_pipe(tmp_path / "pipe"))
    other = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for content in (b"", b"a key", other):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigurationError, match="contains no Ed25519 key"):
            load_private_key(path)


def make_pipe(path: Path) -> Path:
    os.mkfifo(path, 0o600)
    return path


def test_start_checks_both_key_files(tmp_path: Path) -> None:
    keys = [tmp_path / name for name in ("old.pem", "new.pem")]
    made = [create_private_key(path) for path in keys]
    settings = create_settings(
        URL, seals_key_file=keys[0], seals_next_key_file=keys[1], seals_publish_dir=tmp_path
    )
    loaded = load_head_keys(settings)
    assert loaded.current.private_bytes_raw() == made[0].private_bytes_raw()
    assert loaded.following is not None
    assert loaded.following.private_bytes_raw() == made[1].private_bytes_raw()
    check_head_keys(settings)
    keys[1].chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"new\.pem"):
        check_head_keys(settings)
    # Without seals there are no heads.
    check_head_keys(settings.model_copy(update={"seals_enabled": False}))
    check_head_keys(create_settings(URL))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seals_key_file": "k"}, "set both or none"),
        ({"seals_publish_dir": "d"}, "set both or none"),
        ({"seals_publish_command": "c"}, "set both or none"),
        (
            {"seals_key_file": "k", "seals_publish_dir": "d", "seals_publish_command": "c"},
            "set only one of them",
        ),
        ({"seals_next_key_file": "n"}, "requires SALDO_SEALS_KEY_FILE"),
        (
            {"seals_key_file": "k", "seals_publish_command": "put 'it"},
            "a program and its arguments",
        ),
        ({"seals_key_file": "k", "seals_publish_command": " "}, "a program and its arguments"),
    ],
)
def test_settings_that_contradict_each_other_are_rejected(
    values: dict[str, str], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        create_settings(URL, **values)


def test_destination_is_the_one_in_the_settings() -> None:
    settings: Settings = create_settings(URL, seals_key_file="k", seals_publish_dir="d")
    assert isinstance(create_destination(settings), DirectoryDestination)
    command = "put --key 'heads/{name}' -"
    settings = create_settings(URL, seals_key_file="k", seals_publish_command=command)
    assert settings.seals_publish_arguments == ("put", "--key", "heads/{name}", "-")
    assert isinstance(create_destination(settings), CommandDestination)
