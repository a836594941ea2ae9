"""Every line of the log that tells of jobs, and which lines of the libraries are shown."""
