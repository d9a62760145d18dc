"""Captioned scenes: an endless, indexed image set that nobody has to download.

A scene is a background with one to three shaded objects, drawn by signed distances at any size
and described by five paraphrases. Scene ``index`` is the same for ever; nothing is stored.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vox2pix.seeds import rng_for

Array = NDArray[np.floating]

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.10, 0.12),
    "orange": (1.00, 0.52, 0.05),
    "yellow": (0.98, 0.90, 0.15),
    "green": (0.10, 0.62, 0.22),
    "blue": (0.12, 0.28, 0.88),
    "purple": (0.52, 0.18, 0.68),
    "pink": (1.00, 0.58, 0.76),
    "white": (0.97, 0.97, 0.96),
}


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene."""

    kind: str  # a key of ``KINDS`` and of ``COLOURS``
    colour: str
    x: float  # centre, as a fraction of the image from its left and top edge
    y: float
    size: float  # half the extent, as a fraction of the image
    angle: float  # rotation in radians, clockwise as seen


@dataclass(frozen=True)
class Scene:
    """What an image shows; ``objects[0]`` is the main one, the largest and in front."""

    background: str  # a key of ``BACKGROUNDS``
    objects: tuple[SceneObject, ...]  # one to three
    light: float  # direction that the light comes from, in radians
    horizon: float  # height of the horizon, as a fraction of the image from its top
    texture: tuple[float, float, float, float]  # phases of the background's texture, in radians


# --- objects: signed distance, negative inside, in units of the object's half extent ----------


def _ball(u: Array, v: Array) -> Array:
    return np.hypot(u, v) - 0.95


def _box(u: Array, v: Array) -> Array:
    return np.maximum(abs(u), abs(v)) - 0.8


def _triangle(u: Array, v: Array) -> Array:
    return np.maximum(v - 0.75, (2 * abs(u) - v - 0.95) / np.sqrt(5))


def _star(u: Array, v: Array) -> Array:
    sector = 2 * np.pi / 5
    folded = abs((np.arctan2(u, -v) + sector / 2) % sector - sector / 2)
    radius = np.hypot(u, v)
    inner = 0.42 * np.array([np.cos(sector / 2), np.sin(sector / 2)])
    edge = inner - np.array([1.0, 0.0])
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    return (radius * np.cos(folded) - 1) * normal[0] + radius * np.sin(folded) * normal[1]


def _heart(u: Array, v: Array) -> Array:
    # A square on its corner under two half discs; exact distances, so that no seam is shaded.
    x, y = 0.62 * abs(u), 0.55 - 0.62 * v
    lobe = np.hypot(x - 0.25, y - 0.75) - np.sqrt(2) / 4
    along = 0.5 * np.maximum(x + y, 0)
    edge = np.hypot(x - along, y - along)
    flank = np.minimum(np.hypot(x, y - 1), edge) * np.sign(x - y)
    return np.where(x + y > 1, lobe, flank) / 0.62


def _ring(u: Array, v: Array) -> Array:
    return abs(np.hypot(u, v) - 0.7) - 0.26


def _cross(u: Array, v: Array) -> Array:
    u, v = abs(u), abs(v)
    return np.minimum(np.maximum(u - 0.3, v - 0.95), np.maximum(u - 0.95, v - 0.3))


def _moon(u: Array, v: Array) -> Array:
    return np.maximum(np.hypot(u, v) - 0.95, 0.8 - np.hypot(u - 0.5, v + 0.1))


KINDS: dict[str, Callable[[Array, Array], Array]] = {
    "ball": _ball,
    "box": _box,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
    "cross": _cross,
    "moon": _moon,
}


# --- backgrounds: (scene, x, y) -> colours -----------------------------------------------------


def _mix(a: tuple[float, ...], b: tuple[float, ...], weight: Array) -> Array:
    low, high = np.array(a, np.float32), np.array(b, np.float32)
    return low + np.clip(weight, 0, 1)[..., None] * (high - low)


def _step(x: Array, width: float) -> Array:
    """Go smoothly from 0 to 1 where ``x`` crosses 0."""
    return np.clip(x / width + 0.5, 0, 1)


def _sky(scene: Scene, x: Array, y: Array) -> Array:
    p = scene.texture
    clouds = np.sin(5 * x + 3 * y + p[0]) + np.sin(9 * y - 4 * x + p[1]) + np.sin(7 * x + p[2])
    return _mix((0.42, 0.62, 0.88), (0.80, 0.89, 0.96), 0.7 * y + 0.35 * _step(clouds - 1, 1.5))


def _land(
    scene: Scene, y: Array, above: tuple[float, ...], near: Array, sharpness: float = 0.02
) -> Array:
    """Lay ground below the horizon under a plain sky."""
    sky = _mix(above, (0.88, 0.90, 0.92), y / scene.horizon)
    ground = _step(y - scene.horizon, sharpness)[..., None]
    return sky + ground * (near - sky)


def _meadow(scene: Scene, x: Array, y: Array) -> Array:
    p = scene.texture
    blades = np.sin(60 * x + 9 * np.sin(7 * y + p[0]) + p[1]) * np.sin(31 * y + p[2])
    grass = _mix((0.47, 0.58, 0.30), (0.30, 0.46, 0.18), y + 0.15 * blades)
    return _land(scene, y, (0.66, 0.78, 0.88), grass)


def _desert(scene: Scene, x: Array, y: Array) -> Array:
    p = scene.texture
    ripples = np.sin(45 * y + 4 * np.sin(6 * x + p[0]) + p[1])
    sand = _mix((0.88, 0.76, 0.55), (0.76, 0.61, 0.40), y + 0.15 * ripples - 0.2)
    return _land(scene, y, (0.93, 0.84, 0.72), sand)


def _sea(scene: Scene, x: Array, y: Array) -> Array:
    p = scene.texture
    waves = np.sin(50 * y + 3 * np.sin(8 * x + p[0]) + p[1]) * np.sin(9 * x + p[2])
    water = _mix((0.16, 0.46, 0.56), (0.04, 0.24, 0.36), y + 0.2 * waves - 0.2)
    return _land(scene, y, (0.72, 0.82, 0.86), water)


def _night(scene: Scene, x: Array, y: Array) -> Array:
    p = scene.texture
    sky = _mix((0.03, 0.03, 0.10), (0.14, 0.11, 0.26), y)
    places = (np.outer(np.arange(1, 13), [0.754878, 0.569840]) + np.array(p[:2])) % 1
    for left, top in places:  # a low-discrepancy sprinkle of stars
        glow = np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * 0.008**2))
        sky = sky + 0.7 * glow[..., None].astype(np.float32)
    return sky


def _wall(scene: Scene, x: Array, y: Array) -> Array:
    p = scene.texture
    course = y * 8 + p[0]
    along = x * 4 + p[1] + 0.5 * (np.floor(course) % 2)
    mortar = np.minimum(abs(course % 1 - 0.5) * 2, 1)
    joint = np.minimum(abs(along % 1 - 0.5) * 2, 1)
    weight = np.maximum(_step(mortar - 0.86, 0.2), _step(joint - 0.93, 0.1))
    brick = 0.25 * np.sin(np.floor(along) * 12.9 + np.floor(course) * 7.8 + p[2])
    return _mix((0.52, 0.31, 0.26), (0.68, 0.63, 0.58), weight * 0.8 + 0.2 * (brick + 0.25))


BACKGROUNDS: dict[str, Callable[[Scene, Array, Array], Array]] = {
    "sky": _sky,
    "meadow": _meadow,
    "desert": _desert,
    "sea": _sea,
    "night": _night,
    "wall": _wall,
}


# --- drawing a scene at random -----------------------------------------------------------------


def scene(index: int, seed: int = 0) -> Scene:
    """Return scene ``index`` (0 or more) of the endless set that ``seed`` names."""
    if index < 0:
        raise ValueError(f"A scene's index is 0 or more, not {index}.")
    rng = rng_for(seed, "scene", index)
    n_objects = rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2])
    main = _draw_object(rng, (0.19, 0.29), margin=0.22)
    objects = [main]
    while len(objects) < n_objects:
        other = _draw_object(rng, (0.09, 0.14), margin=0.08)
        if all(_apart(other, placed) for placed in objects):
            objects.append(other)
    return Scene(
        background=str(rng.choice(list(BACKGROUNDS))),
        objects=tuple(objects),
        light=float(rng.uniform(-np.pi, 0)),
        horizon=float(rng.uniform(0.25, 0.55)),
        texture=tuple(rng.uniform(0, 2 * np.pi, 4).tolist()),
    )


def _draw_object(
    rng: np.random.Generator, sizes: tuple[float, float], margin: float
) -> SceneObject:
    """Draw an object whose centre keeps ``margin`` from every edge."""
    return SceneObject(
        kind=str(rng.choice(list(KINDS))),
        colour=str(rng.choice(list(COLOURS))),
        x=float(rng.uniform(margin, 1 - margin)),
        y=float(rng.uniform(margin, 1 - margin)),
        size=float(rng.uniform(*sizes)),
        angle=float(rng.uniform(-0.3, 0.3)),
    )


def _apart(a: SceneObject, b: SceneObject) -> bool:
    """Return whether the one behind shows at least in part."""
    return bool(np.hypot(a.x - b.x, a.y - b.y) > 0.8 * (a.size + b.size))


def render(scene: Scene, size: int = 64) -> Array:
    """Draw a scene as RGB in [0, 1], float32 (size, size, 3)."""
    ticks = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(ticks, ticks)
    image = BACKGROUNDS[scene.background](scene, x, y)
    for thing in reversed(scene.objects):
        alpha, colour = _paint(thing, scene.light, x, y, size)
        image = image + alpha[..., None] * (colour - image)
    return np.clip(image, 0, 1).astype(np.float32)


def cover(thing: SceneObject, x: Array, y: Array, size: int) -> Array:
    """Return how much of each pixel at (x, y) an object covers, in [0, 1]."""
    distance, *_ = _distance(thing, x, y)
    return np.clip(0.5 - distance * thing.size * size, 0, 1)


def _distance(thing: SceneObject, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return the signed distance from an object's edge, and both offsets from its centre."""
    cosine, sine = np.cos(thing.angle), np.sin(thing.angle)
    dx, dy = (x - thing.x) / thing.size, (y - thing.y) / thing.size
    return KINDS[thing.kind](cosine * dx + sine * dy, cosine * dy - sine * dx), dx, dy


def _paint(thing: SceneObject, light: float, x: Array, y: Array, size: int) -> tuple[Array, Array]:
    """Return an object's coverage (height, width) and its shaded colour (height, width, 3)."""
    distance, dx, dy = _distance(thing, x, y)
    coverage = np.clip(0.5 - distance * thing.size * size, 0, 1)
    # Brighter towards the light, darker along the rim: enough to tell a thing from its ground.
    slope = dx * np.cos(light) + dy * np.sin(light)
    rim = np.clip(1 + distance / 0.16, 0, 1)
    brightness = (1 + 0.16 * slope) * (1 - 0.35 * rim)
    return coverage, brightness[..., None] * np.array(COLOURS[thing.colour], np.float32)


# --- saying what it shows ----------------------------------------------------------------------

_WHERE = {
    "sky": ("in the sky", "against a blue sky", "high in the sky"),
    "meadow": ("on a meadow", "in the green grass of a meadow", "out on a meadow"),
    "desert": ("in the desert", "on the sand of a desert", "out in the desert"),
    "sea": ("over the sea", "above the waves of the sea", "out at sea"),
    "night": ("at night", "in the dark of the night", "under the night stars"),
    "wall": ("in front of a brick wall", "against a wall of bricks", "by a brick wall"),
}


def captions(scene: Scene) -> tuple[str, ...]:
    """Describe a scene in five paraphrases.

    Each names every object with its colour, and the background; some say where the main object
    is or how large. The main object always comes before the others.
    """
    main, others = scene.objects[0], scene.objects[1:]
    where = _WHERE[scene.background]
    what = f"{main.colour} {main.kind}"
    small = " and ".join(f"{_article(o.colour)} {o.colour} {o.kind}" for o in others)
    large = "large" if main.size > 0.24 else "medium-sized"
    place = _place(main)
    return (
        f"{_article(what)} {what} {where[0]}" + (f" with {small}" if small else ""),
        f"{_article(large)} {large} {what}" + (f" and {small}" if small else "") + f" {where[1]}",
        f"a picture of {_article(what)} {what} {place}"  # the words the model was trained on
        + (f" beside {small}," if small else "")
        + f" {where[2]}",
        f"{where[0]}, there is {_article(what)} {what} {place}"
        + (f" near {small}" if small else ""),
        f"{_count(len(scene.objects))} {where[0]}: {_article(what)} {what}"
        + (f", {small}" if small else ""),
    )


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _count(n: int) -> str:
    return ("one object", "two objects", "three objects")[n - 1]


def _place(thing: SceneObject) -> str:
    """Name the main object's place on a 3 x 3 grid of thirds between its margins."""
    column = ("on the left", "in the middle", "on the right")[_third(thing.x)]
    row = ("at the top", "", "at the bottom")[_third(thing.y)]
    if not row:
        return column
    return row if column == "in the middle" else f"{row}, {column}"


def _third(position: float) -> int:
    return int(np.digitize(position, (0.4, 0.6)))
