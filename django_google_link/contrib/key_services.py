"""What a key service of your own is made of: see ``docs/howto/keys-in-a-kms.md``."""

from ..encryption.key_services import KeyService

__all__ = ["KeyService"]
