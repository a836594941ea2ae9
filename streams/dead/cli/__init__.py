"""The commands `faust -A streams dead ...`, and their output."""
