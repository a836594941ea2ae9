import inspect

from producers import errors


def test_the_tree_at_the_top_names_every_error_in_its_place() -> None:
    drawing = (errors.__doc__ or "").splitlines()
    ours = [error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__]
    for error in ours:
        line = next(line for line in drawing if error.__name__ in line.split())
        above = [base for base in error.__mro__[1:] if base in ours]
        assert line.index(error.__name__) == 4 * len(above), line
