"""The only code that keeps root: starts and signals processes of other users, and nothing else.

A program of its own, ``python3 -I -S helper [helper.toml]``, that imports nothing but the standard library
and its own files. Its one socket is the server user's alone, by file mode and by the kernel's word on who
connected. A connection carries one request, a JSON object in one packet, with three descriptors where
something is started; the answer is ``{"ok": ...}``, for a start with a pidfd and a pipe that tells the end,
or ``{"no": ...}``. Who may be served is read from a file that root owns, never asked of the server.
"""
