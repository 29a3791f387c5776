"""The command `softdet` and its subcommands, a file each."""
