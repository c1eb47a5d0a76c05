"""Which key opens what is sealed? The one of `main_secret`, else of the key file beside the database; another than the first is refused.

Without that look a lost key file would be made anew, and a forgotten setting go unnoticed: the server would start, fail each request that
needs a secret, and seal new ones with a key that opens none of the others.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from ringback.config import Settings
from ringback.errors import OperatorError
from ringback.store.base import Store
from ringback.store.opening import database_path, named_path
from ringback.store.operations import sealing
from ringback.store.vault import KEY_BYTES, Vault, key_from_file, key_from_text

# What the fingerprint of a key is made of.
_MARK: Final = b"database"
_REMEDY: Final = "set main_secret as it was, or restore the key file from a backup; a database keeps the key that it began with"


async def open_vault(settings: Settings, store: Store) -> Vault:
    """The vault of an open database. Blocks for a small file. Raises OperatorError when its key is not the one that was used before."""
    path = database_path(settings.database_url)
    known = await store.read(sealing.fingerprint)
    sample = None if known is not None else await store.read(sealing.sample)
    if settings.main_secret is not None:
        vault, source = Vault(key_from_text(settings.main_secret.reveal())), "main_secret"
    elif path == ":memory:":
        return Vault(secrets.token_bytes(KEY_BYTES))
    else:
        file = _key_file(settings.database_url, path)
        if not file.exists() and (known or sample) is not None and await store.read(sealing.in_use):
            raise OperatorError(
                f"the key of the secrets in database {path} is not here: no main_secret is set, and there is no key file {file}; {_REMEDY}"
            )
        vault, source = Vault(key_from_file(file)), f"key file {file}"
    if not _fits(vault, known, sample) and await store.read(sealing.in_use):
        raise OperatorError(f"the secrets in database {path} are sealed with another key than that of {source}; {_REMEDY}")
    mark = vault.fingerprint(_MARK)
    if known != mark:
        await store.write(lambda tx: sealing.remember(tx, mark))
    return vault


def _key_file(url: str, path: str) -> Path:
    """Where the key is, or is to be made: beside the database, or beside the link to it that `url` names, where older versions made it."""
    file, beside_link = Path(f"{path}.key"), Path(f"{named_path(url)}.key")
    return beside_link if beside_link.exists() and not file.exists() else file


def _fits(vault: Vault, known: bytes | None, sample: bytes | None) -> bool:
    if known is not None:
        return known == vault.fingerprint(_MARK)
    try:
        return sample is None or vault.open(sample) is not None
    except OperatorError:
        return False
