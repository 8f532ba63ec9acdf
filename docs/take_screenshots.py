"""Takes the screenshots in docs/images: run `make demo`, then `make screenshots` (needs Debian's chromium)."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from upstream_pipelines.cli.supervisor import running_platform
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.settings import read_settings

IMAGES = Path(__file__).with_name("images")
CUSTOMER = "demo-denials"
# The UI draws its graph and fetches metadata after the page has loaded.
SETTLE_MS = 6000


def take(page: Page, url: str, name: str, scroll: str | None = None) -> None:
    """Open a page of the UI and keep what is seen."""
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    for label in ("Skip", "Dismiss", "Got it"):
        button = page.get_by_role("button", name=label)
        if button.count():
            button.first.click()
    if scroll:
        page.locator(scroll).first.scroll_into_view_if_needed()
        page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / name)
    print(IMAGES / name)


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium is not installed; on Debian: apt-get install chromium")
        return 1
    os.environ.setdefault("UPSTREAM_LOG_LEVEL", "WARNING")
    settings = read_settings()
    migrate(settings)
    IMAGES.mkdir(exist_ok=True)
    with running_platform(settings, print), sync_playwright() as playwright:
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
        ui = settings.ui_url
        take(page, f"{ui}/asset-groups", "graph.png")
        drift = f"{ui}/assets/payer_drift?view=partitions&partition={CUSTOMER}"
        take(page, drift, "payer_drift.png")
        take(page, drift, "payer_drift_chart.png", scroll="img[alt^='Lakeside']")
        take(page, f"{ui}/assets/claims?view=checks&checkDetail=date_not_in_future", "failing_check.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
