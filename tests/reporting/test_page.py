"""The page, read as text and opened in a real browser."""

import contextlib
import http.server
import re
import shutil
import subprocess
import threading

import pytest
from PIL import Image

from transfuse.core.errors import UnknownName
from transfuse.core.nouns import Report, Section
from transfuse.reporting.page import render_page
from transfuse.reporting.values import best_row

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
]
PROBE = """<!doctype html><title>probe</title>
<iframe id=f src=report.html style="border:0;width:360px;height:800px"></iframe>
<script>
const said = document.documentElement.dataset;
document.getElementById("f").onload = (event) => {
  const page = event.target.contentDocument, root = page.documentElement;
  said.tables = root.dataset.tables; said.owned = root.dataset.owned || "no";
  page.querySelectorAll("details").forEach((d) => { d.open = true; });
  said.width = root.scrollWidth; said.inner = event.target.contentWindow.innerWidth;
  const last = Array.from(page.querySelectorAll("table.sortable")).find((t) => t.tHead.textContent.includes("recall"));
  const column = Array.from(last.tHead.rows[0].cells).findIndex((h) => h.textContent.includes("recall"));
  const values = () => Array.from(last.tBodies[0].rows, (r) => Number(r.cells[column].dataset.sort));
  const ordered = (v, sign) => v.every((x, i) => i === 0 || sign * (x - v[i - 1]) >= 0);
  const button = last.tHead.rows[0].cells[column].querySelector("button");
  button.click(); said.up = ordered(values(), 1) + " " + button.parentElement.getAttribute("aria-sort");
  button.click(); said.down = ordered(values(), -1) + " " + button.parentElement.getAttribute("aria-sort");
  const unlabelled = page.querySelectorAll("img:not([alt]), svg:not([aria-label]):not([aria-hidden])").length;
  said.unlabelled = unlabelled;
  const heat = page.querySelector("svg.heat"), frame = heat.querySelector(".frame").getBoundingClientRect();
  const at = { clientX: frame.left + heat.dataset.side / 2, clientY: frame.top + heat.dataset.side / 2 };
  heat.dispatchEvent(new PointerEvent("pointermove", at));
  said.reading = page.querySelector("output.reading")?.textContent ?? "written";
  page.querySelector("button.copy").click();
};
</script>"""


@pytest.fixture(scope="session")
def chromium():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.fail("No Chromium is on the PATH. Install it (`apt-get install chromium`; `.ci/run` does).")
    return found


@contextlib.contextmanager
def serving(files):
    """Serve texts by name on a free port; yields the address and the list of paths that were asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = files.get(self.path.lstrip("/"))
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *arguments):
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def opened(chromium, page, folder, *flags):
    """The page in a frame of 360 pixels: what the probe found, console lines, paths asked for."""
    with serving({"probe.html": PROBE, "report.html": page}) as (address, asked):
        command = [chromium, *FLAGS, *flags, f"--user-data-dir={folder}", "--dump-dom", f"{address}/probe.html"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    root = re.search(r"<html[^>]*>", done.stdout)[0]
    found = dict(re.findall(r'data-([a-z]+)="([^"]*)"', root))
    return found, [line for line in done.stderr.splitlines() if "CONSOLE" in line], asked


def test_the_page_works_in_a_browser(sized_report, chromium, tmp_path):
    found, console, asked = opened(chromium, render_page(sized_report), tmp_path)
    assert console == []
    assert int(found["tables"]) >= 3
    assert found["inner"] == "360" and int(found["width"]) <= 360
    assert found["up"] == "true ascending" and found["down"] == "true descending"
    assert found["unlabelled"] == "0"
    name = "class 0 with a longish name"
    dense = len(sized_report.sections[2].content["classes"]) > 25
    assert found["reading"] == (f"truth {name}, answer {name}: 9" if dense else "written")
    assert set(asked) <= {"/probe.html", "/report.html", "/favicon.ico"}


def test_names_from_strangers_do_not_run(hostile_report, chromium, tmp_path):
    page = render_page(hostile_report)
    found, console, asked = opened(chromium, page, tmp_path)
    assert found["owned"] == "no" and console == []
    assert set(asked) <= {"/probe.html", "/report.html", "/favicon.ico"}
    assert page.count("<script") == 1 and "{{7*7}}" in page and "<img src=http" not in page
    assert int(found["width"]) <= 360


def test_a_script_that_got_in_would_be_stopped(sized_report, chromium, tmp_path):
    """The policy is a second wall: a script and a picture from outside, put in on purpose, do nothing."""
    evil = "<script>document.documentElement.dataset.owned='yes'</script><img alt='' src='/stolen'></body>"
    found, console, asked = opened(chromium, render_page(sized_report).replace("</body>", evil), tmp_path)
    assert found["owned"] == "no" and "/stolen" not in asked
    assert any("Content Security Policy" in line for line in console)


def test_the_screen_is_dark_where_dark_is_preferred(hostile_report, chromium, tmp_path):
    (tmp_path / "report.html").write_text(render_page(hostile_report), encoding="utf-8")
    corners = []
    for scheme in (0, 1):  # 0 dark, 1 light
        shot = tmp_path / f"{scheme}.png"
        flags = [*FLAGS, f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={tmp_path / 'profile'}"]
        where = [f"--screenshot={shot}", "--window-size=800,600", (tmp_path / "report.html").as_uri()]
        subprocess.run([chromium, *flags, *where], capture_output=True, timeout=120, check=True)
        corners.append(sum(Image.open(shot).convert("RGB").getpixel((3, 3))))
    assert corners[0] < 120 < 600 < corners[1]


def test_the_page_is_small_and_loads_nothing(sized_report):
    page = render_page(sized_report)
    assert len(page.encode()) < 1_000_000
    for loading in (r"<link[^>]+href=\"(?!data:)", r"<script[^>]+src", r"@import", r"url\(", r"src=\"(?!data:image/)"):
        assert not re.search(loading, page), loading
    assert "default-src 'none'" in page


def test_everything_is_on_the_page(sized_report):
    page = render_page(sized_report)
    for words in (
        "Finetune is best.",
        "Leaderboard",
        "Per class",
        "Worst mistakes",
        "Data warnings",
        "Origin",
        "Repeat it",
    ):
        assert words in page
    assert "/999</li>" in page and "1000 places" in page
    assert "n=400" in page and "no picture" in page and "stranger.invalid" not in page
    assert '<tr role="row" class=best>' in page


def test_a_section_kind_that_cannot_be_drawn_is_named():
    with pytest.raises(UnknownName, match=r"No kind of report section is called 'tabel'\. Did you mean 'table'"):
        render_page(Report(title="t", columns=(), rows=(), sections=(Section(kind="tabel", title="t", content={}),)))


def test_a_legend_tells_the_last_known_value(sized_report):
    assert '<span class="quiet">0.950</span>' in render_page(sized_report)


def test_only_rivals_make_a_best_row(sized_report):
    alone = render_page(Report(title="t", columns=sized_report.columns, rows=sized_report.rows[:1]))
    assert "best row" not in alone and "class=best" not in alone and "best row" in render_page(sized_report)


def test_the_chosen_row_is_marked_and_names_are_for_people():
    rows = [{"log_loss": {"value": v, "low": v, "high": v, "n": 9}, "chosen": v == 0.5} for v in (0.3, 0.5)]
    page = render_page(Report(title="t", columns=("log_loss",), rows=tuple(rows)))
    assert "chosen row is bold" in page and page.index("class=best") > page.index("0.300") and ">log loss<" in page


def test_decisions_are_escaped():
    one = {"question": "Which <i>?", "decision": "<b>x", "evidence": "1 < 2"}
    page = render_page(
        Report(title="t", columns=(), rows=(), sections=(Section(kind="decisions", title="d", content=[one]),))
    )
    assert "Which &lt;i&gt;?" in page and "&lt;b&gt;x" in page and "1 &lt; 2" in page


def test_an_empty_report_is_a_page():
    page = render_page(Report(title="nothing", columns=(), rows=()))
    assert "<h1>nothing</h1>" in page and "<section" not in page


def colours(style, dark):
    """The palette's colours, dark ones replacing light ones."""
    light, night = style.split("@media (prefers-color-scheme: dark)")[:2]
    pairs = re.findall(r"--(\w+): (#[0-9a-f]{3,6});", light + (night.split("* {")[0] if dark else ""))
    return {name: value if len(value) == 7 else "#" + "".join(c * 2 for c in value[1:]) for name, value in pairs}


def luminance(colour):
    """Relative luminance (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(dark):
    palette = colours(render_page(Report(title="t", columns=(), rows=())), dark)
    assert luminance(palette["paper"]) < 0.05 if dark else luminance(palette["paper"]) > 0.9
    for text in ("ink", "soft", "accent", "miss", "warn"):
        for ground in ("paper", "raised"):
            bright, dim = sorted((luminance(palette[text]), luminance(palette[ground])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (text, ground)


def test_the_lowest_barrier_is_the_best() -> None:
    rows = [{"barrier": {"value": value, "low": value, "high": value, "n": 9}} for value in (3.0, 0.1)]
    assert best_row(("barrier",), rows) == 1
