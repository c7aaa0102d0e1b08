"""What takes long: a bounded part of it in CI, all of it by ``make long``."""
