"""The client: how programs and the command line reach a server. Imports words and spelling only."""
