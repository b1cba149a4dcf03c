"""How the tests call `quern embed`."""
import subprocess


def run(quern, *arguments, **options):
    return subprocess.run([quern, "embed", *map(str, arguments)], capture_output=True, timeout=300, **options)
