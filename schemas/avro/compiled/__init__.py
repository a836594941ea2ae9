"""Functions that are made once for each schema, since they run for each job."""
