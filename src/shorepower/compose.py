"""The one file that knows every room."""
