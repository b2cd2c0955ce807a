"""``shore serve``: be a server. Started by `shore` itself, by systemd, by an administrator."""
