"""Takes the screenshots in docs/images: run `make demo`, then `make screenshots` (needs Debian's chromium)."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from upstream_pipelines.cli.supervisor import running_platform, sole_copy
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.settings import read_settings

IMAGES = Path(__file__).with_name("images")
CUSTOMER = "demo-denials"
# The UI draws its graph and fetches metadata after the page has loaded.
SETTLE_MS = 6000


def open_page(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)


def keep(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / name)
    print(IMAGES / name)


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium is not installed; on Debian: apt-get install chromium")
        return 1
    os.environ.setdefault("UPSTREAM_LOG_LEVEL", "WARNING")
    settings = read_settings()
    IMAGES.mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(sole_copy(settings))
        migrate(settings)
        stack.enter_context(running_platform(settings, print))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
            ],
        )
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        # The UI asks its first visitor to sign up for news, sooner or later, over whatever is to be clicked.
        page.add_locator_handler(page.get_by_text("Skip", exact=True), lambda greeting: greeting.click())
        ui = settings.ui_url
        open_page(page, f"{ui}/asset-groups")
        for group in ("ingest", "claims", "drift"):
            page.locator("foreignObject, svg").get_by_text(group, exact=True).last.click()
            page.wait_for_timeout(1000)
        open_page(page, f"{ui}/asset-groups")  # opened again, the graph fits its window
        keep(page, "graph.png")
        open_page(page, f"{ui}/assets/payer_drift?view=partitions&partition={CUSTOMER}")
        keep(page, "payer_drift.png")
        page.get_by_text("[Show Markdown]").last.click()
        page.wait_for_timeout(2000)
        keep(page, "payer_drift_chart.png")
        open_page(page, f"{ui}/assets/claims?view=checks&checkDetail=no_future_date")
        keep(page, "failing_check.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
