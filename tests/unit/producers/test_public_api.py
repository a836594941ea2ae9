import inspect
import subprocess
import sys

import producers


def test_all_is_sorted_and_complete() -> None:
    public = {
        name for name, value in vars(producers).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert list(producers.__all__) == sorted(producers.__all__)
    assert public == set(producers.__all__)


def test_publishing_needs_neither_faust_nor_the_worker() -> None:
    program = (
        "import sys, producers; producers.JobProducer()\n"
        "heavy = {'faust', 'mode', 'aiokafka', 'streams', 'aiohttp'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
