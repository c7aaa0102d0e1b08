"""Many workers doing the same at the same moment, in real processes on real databases."""
