"""Key services of other people's, by their own clients."""
