"""Drawn pictures of one or two things, and what is to be said of them.

    a small red circle
    a big blue square right of a small red circle

Of two things the bigger one is named first, of two of the same size the left or the upper one, so
that a picture has one right caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLOURS",
    "KINDS",
    "SHAPES",
    "SIZES",
    "WORDS",
    "Choice",
    "Scenes",
    "choices",
    "draw",
    "make_scenes",
]

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

SHAPES = ("circle", "square", "triangle", "diamond")
COLOURS = {
    "red": (0.9, 0.15, 0.1),
    "green": (0.1, 0.75, 0.2),
    "blue": (0.15, 0.3, 0.95),
    "yellow": (0.95, 0.85, 0.1),
    "purple": (0.65, 0.2, 0.8),
}
SIZES = {"small": (4.0, 5.0), "big": (7.5, 8.5)}  # radii in pixels
RELATIONS = ("left of", "right of", "above", "below", "around")

# Token 0 is the end of a caption.
WORDS = (
    *("</s>", "a", *SIZES, *COLOURS, *SHAPES),
    *("left", "right", "of", "above", "below", "around"),
)
KINDS = tuple(product(SIZES, COLOURS, SHAPES))
"""Size, colour and shape of a thing."""

_IS_BIG = np.array([size == "big" for size, _, _ in KINDS])
_COLOUR = np.array([COLOURS[colour] for _, colour, _ in KINDS])
_SHAPE = np.array([SHAPES.index(shape) for _, _, shape in KINDS])
_TRIANGLE = SHAPES.index("triangle")
_RADII = np.array([SIZES[size] for size, _, _ in KINDS])


@dataclass(frozen=True)
class Choice:
    """What may be in a picture.

    Attributes:
        singles: kinds that are drawn alone, (N,) numbers in KINDS.
        pairs: kinds that are drawn together, (P, 2).
    """

    singles: Numbers
    pairs: Numbers


@dataclass(frozen=True)
class Scenes:
    """Things of a batch of pictures, in the order in which they are named.

    Attributes:
        kinds: numbers in KINDS, (B, 2); -1 where there is no second thing.
        centres: in pixels from the upper left corner, x and y, (B, 2, 2).
        radii: in pixels, (B, 2).
    """

    kinds: Numbers
    centres: Array
    radii: Array

    def __len__(self) -> int:
        return len(self.kinds)

    def captions(self) -> list[str]:
        """Return what is to be said of each picture."""
        relations = _relations(self.centres, self.radii)
        captions = []
        for (first, second), relation in zip(self.kinds.tolist(), relations, strict=True):
            words = ["a", *KINDS[first]]
            if second >= 0:
                words += [RELATIONS[relation], "a", *KINDS[second]]
            captions.append(" ".join(words))
        return captions


def choices(
    held_out_fraction: float, held_out_things: Sequence[str], seed: int
) -> dict[str, Choice]:
    """Divide what may be in a picture into what training sees and what it does not.

    Args:
        held_out_fraction: of the pairs of kinds that training never sees together.
        held_out_things: a colour and a shape each, which training never sees together.
        seed: decides which pairs.

    Returns:
        "known": what training sees; "new pairs": of kinds that it sees, but never together;
        "new things": pairs of which one thing or both are held out, and those things alone.
    """
    is_held_out = np.array([f"{colour} {shape}" in held_out_things for _, colour, shape in KINDS])
    kinds = np.arange(len(KINDS))
    pairs = np.array([*combinations_with_replacement(kinds.tolist(), 2)])
    has_held_out = is_held_out[pairs].any(1)
    new, known = pairs[has_held_out], pairs[~has_held_out]
    order = np.random.default_rng(seed).permutation(len(known))
    n_held_out = round(held_out_fraction * len(known))
    none = kinds[:0]
    return {
        "known": Choice(kinds[~is_held_out], known[order[n_held_out:]]),
        "new pairs": Choice(none, known[order[:n_held_out]]),
        "new things": Choice(kinds[is_held_out], new),
    }


def make_scenes(
    choice: Choice,
    n_scenes: int,
    generator: np.random.Generator,
    *,
    picture_size: int,
    single_fraction: float,
    inside_fraction: float,
) -> Scenes:
    """Draw scenes at random.

    Args:
        choice: what may be in them.
        n_scenes: how many.
        generator: decides everything.
        picture_size: pixels of a side.
        single_fraction: part of the scenes with one thing, where single things are to choose.
        inside_fraction: part of the pairs that are drawn one inside the other, of those that fit.
    """
    kinds = np.full((n_scenes, 2), -1)
    n_singles = n_scenes if not len(choice.pairs) else round(single_fraction * n_scenes)
    n_singles *= len(choice.singles) > 0
    kinds[:n_singles, 0] = generator.choice(choice.singles, n_singles) if n_singles else -1
    if n_singles < n_scenes:
        kinds[n_singles:] = generator.choice(choice.pairs, n_scenes - n_singles)
        kinds[n_singles:] = generator.permuted(kinds[n_singles:], axis=1)
    radii = generator.uniform(*np.moveaxis(_RADII[kinds], -1, 0))
    centres = _place(kinds, radii, picture_size, inside_fraction, generator)
    swap = (kinds[:, 1] >= 0) & _is_named_later(kinds, centres)
    for part in (kinds, centres, radii):
        part[swap] = part[swap, ::-1]
    order = generator.permutation(n_scenes)
    return Scenes(kinds[order], centres[order], radii[order])


def _place(
    kinds: Numbers, radii: Array, size: int, inside_fraction: float, generator: np.random.Generator
) -> Array:
    """Return centres (B, 2, 2) at which things are whole, and beside or inside one another."""

    def anywhere(which: Numbers) -> Array:
        low = radii[which, :, None] + 0.5
        return generator.uniform(low, size - low, (len(which), 2, 2))

    is_big, colours = _IS_BIG[kinds], _COLOUR[kinds]
    # A thing that is inside another must be smaller, and of another colour to be seen; a triangle
    # has no room for it.
    may_be_inside = (is_big[:, 0] != is_big[:, 1]) & (colours[:, 0] != colours[:, 1]).any(1)
    may_be_inside &= (kinds[:, 1] >= 0) & ~(is_big & (_SHAPE[kinds] == _TRIANGLE)).any(1)
    inside = may_be_inside & (generator.random(len(kinds)) < inside_fraction)
    centres = anywhere(np.arange(len(kinds)))
    waiting = np.flatnonzero((kinds[:, 1] >= 0) & ~inside)
    while len(waiting):
        centres[waiting] = anywhere(waiting)
        apart = np.abs(centres[waiting, 0] - centres[waiting, 1])
        far, near = apart.max(1), apart.min(1)
        # No relation is in doubt.
        is_clear = (far > radii[waiting].sum(1) + 1) & (far > 1.5 * near)
        waiting = waiting[~is_clear]
    rows = np.flatnonzero(inside)
    big = is_big[rows, 1].astype(int)
    centres[rows, 1 - big] = centres[rows, big] + generator.uniform(-0.3, 0.3, (len(rows), 2))
    return centres


def _is_named_later(kinds: Numbers, centres: Array) -> NDArray[np.bool_]:
    """Whether the first thing of each scene is to be the second one."""
    is_big = _IS_BIG[kinds]
    dx, dy = np.moveaxis(centres[:, 1] - centres[:, 0], -1, 0)
    is_behind = np.where(np.abs(dx) > np.abs(dy), dx, dy) < 0
    return np.where(is_big[:, 0] == is_big[:, 1], is_behind, is_big[:, 1])


def _relations(centres: Array, radii: Array) -> list[int]:
    """Return in which of RELATIONS the first thing of each scene is to the second."""
    dx, dy = np.moveaxis(centres[:, 1] - centres[:, 0], -1, 0)
    beside = np.where(dx > 0, 0, 1)
    over = np.where(dy > 0, 2, 3)
    relations = np.where(np.abs(dx) > np.abs(dy), beside, over)
    is_around = np.hypot(dx, dy) < radii.max(1) - radii.min(1)
    return [int(relation) for relation in np.where(is_around, 4, relations)]


def draw(
    scenes: Scenes, generator: np.random.Generator, *, picture_size: int, noise: float
) -> NDArray[np.float32]:
    """Draw scenes with smooth edges before a grey background, with noise.

    Args:
        scenes: what to draw.
        generator: decides background, shades and noise.
        picture_size: pixels of a side, S.
        noise: standard deviation of what is added to each value.

    Returns:
        Red, green and blue of each picture, about 0 to 1, (B, 3, S, S).
    """
    n_scenes = len(scenes)
    n_scenes, float32 = len(scenes), np.float32
    pixels = np.arange(picture_size, dtype=float32) + float32(0.5)
    centres, radii = scenes.centres.astype(float32), scenes.radii.astype(float32)
    shape = n_scenes, 3, picture_size, picture_size
    background = generator.uniform(0, 0.35, (n_scenes, 1, 1, 1)).astype(float32)
    canvas: NDArray[np.float32] = np.broadcast_to(background, shape)
    for number in range(2):
        kinds = scenes.kinds[:, number]
        x = pixels[None, None, :] - centres[:, number, 0, None, None]
        y = pixels[None, :, None] - centres[:, number, 1, None, None]
        outside = _distance(_SHAPE[kinds], x, y, radii[:, number, None, None])
        cover = np.clip(0.5 - outside, 0, 1) * (kinds >= 0)[:, None, None]  # (B, S, S)
        colours = _COLOUR[kinds] + generator.uniform(-0.08, 0.08, (n_scenes, 3))
        canvas = canvas + cover[:, None] * (colours.astype(float32)[:, :, None, None] - canvas)
    return canvas + float32(noise) * generator.standard_normal(shape, dtype=float32)


def _distance(
    shapes: Numbers, x: NDArray[np.float32], y: NDArray[np.float32], radii: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return how far each pixel is outside the shape around (0, 0), (B, S, S).

    Args:
        shapes: numbers in SHAPES, (B,).
        x: (B, 1, S).
        y: down, (B, S, 1).
        radii: of the circle around a triangle; other shapes have a similar area, (B, 1, 1).
    """
    ax, ay = np.abs(x), np.abs(y)
    distances = (
        np.sqrt(x**2 + y**2) - 0.85 * radii,
        np.maximum(ax, ay) - 0.75 * radii,
        np.maximum(y, 0.75**0.5 * ax - 0.5 * y) - 0.5 * radii,
        (ax + ay) / 2**0.5 - 0.75 * radii,
    )
    return np.choose(shapes[:, None, None], distances)
