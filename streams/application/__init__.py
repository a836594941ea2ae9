"""The worker as a process: the Faust application, its assembly, its command line, signals and health."""
