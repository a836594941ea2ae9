import inspect
import subprocess
import sys

import producers
from tests.imports import imports, modules, name_of


def test_all_is_sorted_and_complete() -> None:
    public = {
        name for name, value in vars(producers).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert list(producers.__all__) == sorted(producers.__all__)
    assert public == set(producers.__all__)


def test_publishing_needs_neither_faust_nor_the_worker_nor_a_client_of_registries() -> None:
    program = (
        "import sys, producers; producers.JobProducer()\n"
        "names = {'faust', 'mode', 'aiokafka', 'streams', 'aiohttp', 'confluent_kafka.schema_registry'}\n"
        "heavy = names & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports for types alone count, too: who reads a module should not have to read the ones above it."""
    names = {name_of(path): path for path in modules("producers")}
    needs = {name: {each for each in imports(path) if each in names and each != name} for name, path in names.items()}
    while free := {name for name, needed in needs.items() if not needed}:
        needs = {name: needed - free for name, needed in needs.items() if name not in free}
    assert needs == {}
