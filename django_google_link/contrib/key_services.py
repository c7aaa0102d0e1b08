"""The base class for a key service of your own; see ``docs/howto/keys-in-a-kms.md``."""

from ..encryption.key_services import KeyService

__all__ = ["KeyService"]
