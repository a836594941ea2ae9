"""What the worker decides, free of Faust, Kafka, the wall clock and the environment.

Every module here is pure: records come in, values come out, `now` is passed in. A test holds them to that.
"""
