"""What keeps data from being used, in words for the one who can put it right."""


class DataError(ValueError):
    """A file, folder or download that can't be used; its text says what to do about it."""
