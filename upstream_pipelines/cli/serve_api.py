"""The API as a process of the platform: `python -m upstream_pipelines.cli.serve_api`."""

from __future__ import annotations

from upstream_pipelines.api.server import serve
from upstream_pipelines.settings import read_settings

if __name__ == "__main__":
    serve(read_settings())
