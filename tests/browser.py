"""Opens notebooks in a real JupyterLab, runs them from top to bottom and moves every widget: `make browser`.

    python tests/browser.py [NOTEBOOK ...] [--out build/browser] [--limit SECONDS]

Needs Chromium, chromedriver and selenium; not part of `make test`. Notebooks are copied first, so the checkout stays as
it is. Each control of each board is moved, the picture must follow within the limit, and a screenshot shows it.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import JavascriptException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}
"""Of JupyterLab: all cells are in the page, and no question lies over it."""
MINUTES = 15
"""The most that a notebook may run."""
RUN_ALL = """
const done = arguments[0], app = window.jupyterapp;
app.restored.then(async () => {
  const panel = app.shell.currentWidget;
  await panel.context.ready; await panel.sessionContext.ready;
  await app.commands.execute('notebook:run-all-cells');
  done('run');
}).catch(error => done(String(error)));
"""
CELLS = "return window.jupyterapp.shell.currentWidget.content.model.toJSON().cells"


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """A JupyterLab on a folder: its address."""
    for name, setting in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(setting)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
               "--IdentityProvider.token=", "--expose-app-in-browser", f"--notebook-dir={folder}"]  # fmt: skip
    paths = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    environment = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "PYTHONPATH": paths}
    with open(folder / "jupyterlab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(60):
                try:
                    urllib.request.urlopen(f"{address}/api/status", timeout=5)
                    break
                except OSError:
                    time.sleep(1)
            yield address
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A headless Chromium of the system."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1500,1400"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    browser.set_script_timeout(60 * MINUTES)
    browser.command_executor.client_config.timeout = 60 * MINUTES + 60  # else the connection gives up before the script
    try:
        yield browser
    finally:
        browser.quit()


def run(browser: webdriver.Chrome, address: str, name: str) -> list[str]:
    """Run a notebook from top to bottom; what went wrong."""
    browser.get(f"{address}/lab/workspaces/{name[:2]}/tree/{name}.ipynb")
    opened = "return Boolean(window.jupyterapp?.shell?.currentWidget?.sessionContext)"
    WebDriverWait(browser, 180).until(lambda b: b.execute_script(opened))
    said = browser.execute_async_script(RUN_ALL)
    cells = browser.execute_script(CELLS)
    wrong = [] if said == "run" else [said]
    for i, cell in enumerate(cells):
        if cell["cell_type"] == "code" and cell["source"] and cell["execution_count"] is None:
            wrong.append(f"cell {i} has not run")
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                wrong.append(f"cell {i}: {output['ename']}: {output['evalue']}")
    return wrong


def boards(browser: webdriver.Chrome) -> list[WebElement]:
    """The boards of the open notebook: boxes with controls, a picture and a line."""
    found = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output .widget-vbox")
    return [box for box in found if box.find_elements(By.CSS_SELECTOR, "img.widget-image")]


def move(control: WebElement) -> str:
    """Move one control to another position; its kind."""
    if buttons := control.find_elements(By.CSS_SELECTOR, "button.widget-toggle-button"):
        next(button for button in buttons if "mod-active" not in button.get_attribute("class")).click()
        return "buttons"
    if selects := control.find_elements(By.TAG_NAME, "select"):
        choice = Select(selects[0])
        at = choice.options.index(choice.first_selected_option)
        choice.select_by_index((at + 1) % len(choice.options))
        return "choice"
    handle = control.find_element(By.CSS_SELECTOR, ".noUi-handle")
    at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    handle.send_keys(Keys.ARROW_LEFT if at_end else Keys.ARROW_RIGHT)
    return "slider"


def state(board: WebElement) -> tuple[str, str]:
    """What a board shows: its picture's address, which is new with each picture, and its line."""
    picture = board.find_element(By.CSS_SELECTOR, "img.widget-image").get_attribute("src")
    return picture, board.find_elements(By.CSS_SELECTOR, ".widget-html-content")[-1].text


def explore(browser: webdriver.Chrome, name: str, out: Path, limit: float) -> list[str]:
    """Move each control of each board; what went wrong."""
    wrong = []
    for k in range(len(boards(browser))):
        controls = boards(browser)[k].find_elements(By.CSS_SELECTOR, ":scope > .widget-hbox > *")
        for i in range(len(controls)):
            board = boards(browser)[k]
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", board)
            before = state(board)
            control = board.find_elements(By.CSS_SELECTOR, ":scope > .widget-hbox > *")[i]
            where = f"{name}, board {k + 1}, control {i + 1} ({control.text.split()[0] if control.text else ''})"
            try:
                kind = move(control)
                WebDriverWait(browser, 60).until(lambda b, old=before, of=board: state(of) != old)
            except (TimeoutException, JavascriptException) as error:
                wrong.append(f"{where}: nothing changed ({type(error).__name__})")
                continue
            time.sleep(0.3)  # the browser draws
            line = state(board)[1]
            seconds = re.search(r"([\d.]+) s$", line)
            print(f"{where}, {kind}: {line}", flush=True)
            if seconds is None or float(seconds[1]) > limit:
                wrong.append(f"{where}: took longer than {limit} s, or failed: {line}")
            board.screenshot(str(out / f"{name}-board{k + 1}-control{i + 1}.png"))
    return wrong


def upload(browser: webdriver.Chrome, folder: Path, out: Path, name: str) -> list[str]:
    """Give the chooser a picture of one's own; what went wrong."""
    buttons = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output button.widget-upload")
    if not buttons:
        return []
    # The button opens a dialog of the system by an input that is in no page: put it into the page instead.
    browser.execute_script("HTMLInputElement.prototype.click = function () { document.body.append(this); }")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", buttons[0])
    buttons[0].click()
    chosen = browser.find_element(By.CSS_SELECTOR, "body > input[type=file]")
    picture = folder / "own.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(picture)
    chosen.send_keys(str(picture))
    said = (By.CSS_SELECTOR, ".jp-OutputArea-output .widget-html-content")
    try:
        WebDriverWait(browser, 60).until(
            lambda b: any("own.png is the photograph" in line.text for line in b.find_elements(*said))
        )
    except TimeoutException:
        return [f"{name}: an uploaded picture was not taken"]
    time.sleep(3)
    boards(browser)[0].screenshot(str(out / f"{name}-own-photograph.png"))
    print(f"{name}: an uploaded picture is shown", flush=True)
    return []


def main() -> int:
    """1 if anything went wrong, after a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", help="names or beginnings of names (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "browser", help="where the screenshots go")
    parser.add_argument("--limit", type=float, default=1.0, help="seconds that a control may take (default: 1)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    chosen = [name for name in names if not args.notebooks or name.startswith(tuple(args.notebooks))]
    wrong = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in chosen:
            shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder)
        with jupyterlab(folder) as address, chromium() as browser:
            for name in chosen:
                start = time.monotonic()
                wrong += run(browser, address, name)
                print(f"{name}: run in {time.monotonic() - start:.0f} s", flush=True)
                browser.save_screenshot(str(args.out / f"{name}.png"))
                wrong += explore(browser, name, args.out, args.limit)
                wrong += upload(browser, folder, args.out, name)
    for sentence in wrong:
        print(f"browser: {sentence}", file=sys.stderr)
    print(f"browser: {len(chosen)} notebooks, {len(wrong)} faults; screenshots in {args.out}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
