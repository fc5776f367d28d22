import os
import time
import pytest
from tests.console.conftest import *
from tests.console.screens import *
from tests.console.reference import PROVIDER as REFERENCE
from voxplane import registry

@pytest.fixture
def reference(monkeypatch):
    monkeypatch.setattr(registry, "_installed", lambda: [REFERENCE])

@pytest.mark.timeout(550)
@pytest.mark.parametrize("width,theme", [(int(a.split(":")[0]), a.split(":")[1]) for a in os.environ.get("LOOK", "1280:light").split()])
def test_look(reference, open_console, service, watch, width, theme):
    furnished(service)
    watch.expected += EXPECTED
    page = open_console(viewport={"width": width, "height": 900 if width > 600 else 780}, color_scheme=theme, has_touch=width<600, is_mobile=False)
    only = os.environ.get("ONLY", "").split()
    for name in only or SCREENS:
        t = time.monotonic()
        try:
          with shown(page, name):
            dt = time.monotonic() - t
            page.screenshot(path=f"/tmp/shots/{name}-{width}-{theme}.png", full_page=os.environ.get("FULL") == "1" and "_overview" in SCREENS[name].__name__)
            print(name, round(dt, 2))
        except Exception as e:
            print("FAILED", name, str(e)[:300])
            page.screenshot(path=f"/tmp/shots/{name}-FAILED.png")
            page.unroute_all(behavior="ignoreErrors")
