"""The page of ``vox2pix explore``: knobs on the left, images on the right.

NiceGUI serves it to this machine only, and to those who have the token of its address. No file of
the machine has an address.
"""

import asyncio
import secrets
import socket
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from io import BytesIO
from typing import Any

from nicegui import app, run, ui
from nicegui.events import ValueChangeEventArguments
from PIL import Image
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vox2pix.errors import UserError
from vox2pix.report.access import TokenRequired, private_link, show_in_browser
from vox2pix.report.labels import label, listed
from vox2pix.report.redraw import Knobs, Pixels, Redraw

_HOST = "127.0.0.1"
_LARGEST_SEED = 999
_LARGEST_GUIDANCE = 15
_NOTHING = "nothing"


def serve(
    redraw: Redraw, port: int | None, open_browser: bool, announce: Callable[[str], None]
) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C; announce its address with the token."""
    port = _free_port(port)
    token = secrets.token_urlsafe(32)
    origins = tuple(f"http://{host}:{port}" for host in (_HOST, "localhost"))
    app.add_middleware(TokenRequired, token=token, origins=origins, cookie=f"vox2pix-{port}")
    # A page elsewhere cannot reach this one under a name of its own. Added last, asked first.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[_HOST, "localhost"])
    address = f"{origins[0]}/?token={token}"
    announce(address)
    ui.page("/")(lambda: _Page(redraw).build())
    with private_link(address) as page:
        if open_browser:
            show_in_browser(page, address)
        _serve(port, redraw.title)


def _serve(port: int, title: str) -> None:
    """Serve until Ctrl-C."""
    try:
        ui.run(
            host=_HOST,
            port=port,
            title=f"vox2pix explore · {title}",
            dark=None,
            language="en-US",
            favicon="🧠",
            reload=False,
            show=False,  # it would start the browser with the token in its command line
            show_welcome_message=False,
            tailwind=False,
            timeout_graceful_shutdown=1,
        )
    except KeyboardInterrupt:
        return


def _free_port(port: int | None) -> int:
    """Return a port that nobody listens on."""
    try:
        with socket.create_server((_HOST, port or 0)) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        raise UserError(
            f"Port {port} cannot be used ({error.strerror}). Name another with --port, or none."
        ) from None


class _Superseded(Exception):  # noqa: N818  no error: the person went on
    """A knob was turned while an image was drawn."""


class _Page:
    """What one browser tab shows."""

    def __init__(self, redraw: Redraw) -> None:
        self._redraw = redraw
        self._knobs: Knobs | None = redraw.own  # to be shown; None once the tab is closed
        self._drawn: Knobs | None = None
        self._is_drawing = False

    def build(self) -> None:
        """Lay the page out and draw what the run drew."""
        ui.add_css((files("vox2pix.report") / "static" / "explore.css").read_text("utf-8"))
        ui.context.client.on_delete(self._leave)
        with ui.element("header").classes("intro"):
            ui.html("Draw it again", sanitize=False, tag="h1")
            ui.label(
                f"{self._redraw.title}. Change a setting, and the image is drawn again from what "
                "was decoded. Nothing is written to the run."
            )
        with ui.element("div").classes("board"):
            with ui.element("section").classes("knobs").props('aria-label="Settings"'):
                self._build_knobs()
            with ui.element("section").classes("images").props('aria-label="Images"'):
                self._build_images()
        self._show_knobs()
        ui.timer(0, self._draw_latest, once=True)

    # --- knobs ---------------------------------------------------------------------------------

    def _build_knobs(self) -> None:
        own, stimuli = self._redraw.own, dict(self._redraw.stimuli)
        self._image = self._choice("Image", stimuli, "stimulus_id", "")
        conditions = {name: ": ".join(label(name)[:2]) for name in self._redraw.conditions}
        self._condition = self._choice("Drawn from", conditions, "condition", "")
        self._strength = self._slider(
            "Strength",
            "strength",
            (self._redraw.least_strength, 1),
            f"How much noise covers {listed(self._redraw.start)}; at 1 hardly any of it is left.",
        )
        self._guidance = self._slider(
            "Guidance",
            "guidance",
            (1, max(_LARGEST_GUIDANCE, own.guidance)),
            f"How strongly {listed(self._redraw.guided)} steers.",
        )
        n = self._redraw.n_samples
        its = "0 is the run's own" if n == 1 else f"0 to {n - 1} are the run's own"
        self._seed = ui.number(
            "Seed", min=0, max=_LARGEST_SEED, step=1, precision=0, on_change=self._turned("seed")
        ).props(f'outlined dense hint="Which noise: {its}."')
        self._sources = {
            target: self._choice(
                f"{target} from", stimuli, target, f"Whose decoded {target} is taken."
            )
            for target in own.sources
        }
        self._left_out = self._choice(
            "Leave out",
            {_NOTHING: _NOTHING} | {name: name for name in self._redraw.regions},
            "left_out",
            "Its voxels are set to their mean over training; targets are predicted from the rest.",
        )
        ui.button("As the run drew it", on_click=self._reset).props("outline no-caps")

    def _choice(self, label: str, options: dict[str, str], field: str, hint: str) -> ui.select:
        choice = ui.select(
            options, label=label, with_input=len(options) > 10, on_change=self._turned(field)
        )
        choice.props["hint"] = hint
        return choice.props("outlined dense options-dense popup-content-class=options")

    def _slider(self, label: str, field: str, ends: tuple[float, float], hint: str) -> ui.slider:
        with ui.element("div").classes("knob"):
            with ui.element("div").classes("name"):
                ui.label(label)
                value = ui.label()
            step = 0.01 if ends[1] <= 1 else 0.5
            slider = ui.slider(min=ends[0], max=ends[1], step=step)
            slider.props(f'aria-label="{label}"')
            slider.on("change", lambda: self._turn(**{field: slider.value}))  # when it is let go
            value.bind_text_from(slider, "value", lambda number: f"{number or 0:g}")
            ui.label(hint).classes("hint")
        return slider

    def _turned(self, field: str) -> Callable[[ValueChangeEventArguments[Any]], Any]:
        """Return what answers when a field is changed."""
        return lambda event: self._turn(**{field: event.value})

    async def _turn(self, **changed: Any) -> None:
        """Apply a changed knob; another image comes with its own targets."""
        if self._knobs is None or any(value is None for value in changed.values()):
            return
        if "seed" in changed:
            changed["seed"] = min(max(int(changed["seed"]), 0), _LARGEST_SEED)
        if changed.get("left_out") == _NOTHING:
            changed["left_out"] = None
        sources = dict(self._knobs.sources)
        if changed.get("stimulus_id", self._knobs.stimulus_id) != self._knobs.stimulus_id:
            sources = dict.fromkeys(sources, changed["stimulus_id"])
        sources |= {name: changed.pop(name) for name in sources.keys() & changed.keys()}
        changed.setdefault("sources", sources)
        self._knobs = replace(self._knobs, **changed)
        self._show_knobs()
        await self._draw_latest()

    async def _reset(self) -> None:
        if self._knobs is not None:
            shown = self._knobs.stimulus_id
            sources = dict.fromkeys(self._redraw.own.sources, shown)
            own = replace(self._redraw.own, stimulus_id=shown, sources=sources)
            await self._turn(**vars(own) | {"left_out": _NOTHING})

    def _show_knobs(self) -> None:
        """Show the current knobs in every field."""
        knobs = self._knobs
        assert knobs is not None
        self._image.set_value(knobs.stimulus_id)
        self._condition.set_value(knobs.condition)
        self._strength.set_value(knobs.strength)
        self._guidance.set_value(knobs.guidance)
        self._seed.set_value(knobs.seed)
        for target, stimulus_id in knobs.sources.items():
            self._sources[target].set_value(stimulus_id)
        self._left_out.set_value(knobs.left_out or _NOTHING)
        used = set(self._redraw.conditions[knobs.condition])
        self._strength.set_enabled(not used.isdisjoint(self._redraw.start))
        self._guidance.set_enabled(not used.isdisjoint(self._redraw.guided))
        for target, choice in self._sources.items():
            choice.set_enabled(target in used)

    def _leave(self) -> None:
        self._knobs = None

    # --- images ------------------------------------------------------------------------------

    def _build_images(self) -> None:
        with ui.element("div").classes("three"):
            self._seen, _ = self._frame("Seen")
            self._in_run, self._in_run_note = self._frame("Drawn by the run")
            self._now, self._now_note = self._frame("Drawn now")
        ui.html("While noise is removed", sanitize=False, tag="h2")
        self._strip = ui.element("div").classes("strip")

    def _frame(self, title: str) -> tuple[ui.image, ui.label]:
        with ui.element("figure"):
            shown = self._blank(title)
            with ui.element("figcaption"):
                ui.label(title)
                note = ui.label().classes("hint")
        return shown, note

    def _blank(self, alt: str) -> ui.image:
        return ui.image().props(f'alt="{alt}" no-spinner no-transition ratio=1 fit=contain')

    async def _draw_latest(self) -> None:
        """Draw until the current knobs are shown; one drawing at a time."""
        if self._is_drawing:
            return
        self._is_drawing = True
        try:
            while self._knobs is not None and self._knobs != self._drawn:
                self._drawn = self._knobs
                await self._draw(self._knobs)
        finally:
            self._is_drawing = False

    async def _draw(self, knobs: Knobs) -> None:
        """Draw one image in a thread, its steps shown as they come, unless it is superseded."""
        loop = asyncio.get_running_loop()
        self._strip.clear()
        self._show(self._seen, self._redraw.seen(knobs.stimulus_id))
        stored = self._redraw.in_run(knobs)
        self._in_run.set_visibility(stored is not None)
        self._in_run_note.set_text("" if stored is not None else "It did not draw from this.")
        if stored is not None:
            sample = knobs.seed if knobs.seed < self._redraw.n_samples else 0
            self._in_run_note.set_text(f"{label(knobs.condition).heading}, sample {sample}")
            self._show(self._in_run, stored)
        self._now_note.set_text("reading responses …" if knobs.left_out else "")

        def show(step: int, n_steps: int, image: Pixels) -> None:
            if self._knobs != knobs:
                raise _Superseded
            loop.call_soon_threadsafe(self._show_step, step, n_steps, image)

        try:
            await run.io_bound(self._redraw.draw, knobs, show)
        except _Superseded:
            self._drawn = None
        except (UserError, ValueError) as error:
            self._now_note.set_text(f"Not drawn: {error}")

    def _show_step(self, step: int, n_steps: int, image: Pixels) -> None:
        if self._knobs is None:
            return
        self._show(self._now, image)
        self._now_note.set_text("done" if step == n_steps else f"step {step} of {n_steps} …")
        with self._strip, ui.element("figure"):
            self._show(self._blank(f"After step {step}"), image)
            with ui.element("figcaption"):
                ui.label(str(step))

    def _show(self, shown: ui.image, image: Pixels) -> None:
        # in the page itself: given an image, NiceGUI would leave a file for each
        data = BytesIO()
        Image.fromarray(image).save(data, "PNG")
        shown.set_source(f"data:image/png;base64,{b64encode(data.getvalue()).decode()}")
