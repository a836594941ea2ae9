"""Tests of delayed jobs in a worker, without a broker."""
