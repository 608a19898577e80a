"""What heroes wear and carry; recoloured like their fur. Units as in `heroes`."""

from __future__ import annotations

import math

from storyland_atlas.brush import INK, LINE, MAIN, SECOND, Sheet, blob, box, hexa, mix, oval, polygon, shade


def draw_hat(kind: str) -> Sheet:
    """A hat; the anchor is the middle of the brim, where it meets the head."""
    s = Sheet(-100, -140, 100, 44)
    if kind == "cap":
        s.fill(blob([(-58, 2), (-52, -40), (0, -62), (52, -40), (58, 2)], tension=0.45), MAIN)
        s.line(blob([(-58, 2), (-52, -40), (0, -62), (52, -40), (58, 2)], tension=0.45), LINE, 4)
        s.line(blob([(0, -58), (10, -30), (12, 0)], closed=False), LINE, 3, alpha=0.7)
        peak = blob([(-4, 0), (44, -14), (96, 6), (90, 18), (40, 16)])
        s.fill(peak, SECOND, low=0.8)
        s.line(peak, LINE, 4)
        s.fill(oval(0, -60, 8, 6), SECOND)
    elif kind == "top hat":
        tall = polygon([(-44, 6), (-50, -96), (50, -96), (44, 6)])
        s.fill(tall, MAIN, round_corners=14)
        s.fill(polygon([(-45, -2), (-46.5, -26), (46.5, -26), (45, -2)]), SECOND)
        s.line(tall, LINE, 4, round_corners=14)
        brim = oval(0, 4, 80, 15)
        s.fill(brim, MAIN, low=0.8)
        s.line(brim, LINE, 4)
        with s.inside(box(-100, -40, 100, 1)):
            s.fill(polygon([(-45, 4), (-46.5, -26), (46.5, -26), (45, 4)]), SECOND)
    elif kind == "woolly hat":
        dome = blob([(-62, 2), (-56, -46), (0, -76), (56, -46), (62, 2)], tension=0.5)
        s.fill(dome, MAIN)
        with s.inside(dome):
            for i in range(-3, 4):
                s.line(blob([(i * 8, -76), (i * 17, -40), (i * 20, 0)], closed=False), LINE, 2.6, alpha=0.35)
        s.line(dome, LINE, 4)
        band = box(-68, -14, 68, 16, 15)
        s.fill(band, SECOND)
        for i in range(-5, 6):
            s.line(blob([(i * 12, -8), (i * 12, 10)], closed=False), LINE, 2, alpha=0.35)
        s.line(band, LINE, 3.6)
        puff = blob(
            [
                ((25 + 4 * (i % 2)) * math.cos(i * math.pi / 7), -88 + (25 + 4 * (i % 2)) * math.sin(i * math.pi / 7))
                for i in range(14)
            ]
        )
        s.fill(puff, SECOND)
        s.line(puff, LINE, 3)
    elif kind == "sun hat":
        brim = blob([(-98, 8), (-50, -14), (50, -14), (98, 8), (50, 26), (-50, 26)])
        s.fill(brim, MAIN, low=0.84)
        s.line(brim, LINE, 4)
        dome = blob([(-48, 4), (-46, -40), (0, -60), (46, -40), (48, 4), (0, 12)], tension=0.5)
        s.fill(dome, MAIN)
        with s.inside(dome):
            s.line(blob([(-52, -10), (0, 0), (52, -10)], closed=False), SECOND, 17)
        s.line(dome, LINE, 3.4)
    elif kind == "crown":
        shape = polygon([(-56, 10), (-64, -54), (-32, -26), (0, -74), (32, -26), (64, -54), (56, 10)])
        s.fill(shape, MAIN, round_corners=5)
        s.line(shape, LINE, 4, round_corners=5)
        s.fill(box(-57, -10, 57, 10, 4), SECOND)
        s.line(box(-57, -10, 57, 10, 4), LINE, 3)
        for x, y in ((-64, -56), (0, -76), (64, -56)):
            s.fill(oval(x, y, 9, 9), SECOND)
            s.line(oval(x, y, 9, 9), LINE, 3)
        for x in (-30, 0, 30):
            s.flat(oval(x, 0, 6, 6), MAIN)
    elif kind == "wizard hat":
        cone = blob([(-54, 4), (-26, -70), (10, -128), (34, -122), (26, -84), (54, 4), (0, 14)], tension=0.3)
        s.fill(cone, MAIN)
        with s.inside(cone):
            for x, y, r in ((-18, -36, 12), (20, -58, 10), (14, -14, 9), (4, -94, 8)):
                pts = [
                    (
                        x + (r if i % 2 == 0 else r * 0.45) * math.sin(i * math.pi / 5),
                        y - (r if i % 2 == 0 else r * 0.45) * math.cos(i * math.pi / 5),
                    )
                    for i in range(10)
                ]
                s.flat(polygon(pts), SECOND)
        s.line(cone, LINE, 4)
        brim = blob([(-90, 6), (-40, -8), (40, -8), (90, 6), (40, 24), (-40, 24)])
        s.fill(brim, MAIN, low=0.8)
        s.line(brim, LINE, 4)
    elif kind == "bow":
        for k in (-1, 1):
            wing = blob([(k * 4, -18), (k * 50, -54), (k * 66, -22), (k * 50, 12), (k * 4, -12)], tension=0.5)
            s.fill(wing, MAIN)
            s.line(wing, LINE, 4)
            s.line(blob([(k * 12, -18), (k * 36, -24)], closed=False), LINE, 3, alpha=0.6)
        s.fill(box(-13, -31, 13, -1, 10), SECOND)
        s.line(box(-13, -31, 13, -1, 10), LINE, 4)
    return s


def draw_neckwear(kind: str) -> Sheet:
    """A scarf, bow tie or cape; the anchor is the neck."""
    s = Sheet(-96, -40, 96, 170)
    if kind == "scarf":
        end = blob([(-34, 2), (-52, 70), (-24, 78), (-8, 10)], tension=0.3)
        s.fill(end, MAIN)
        with s.inside(end):
            s.line(blob([(-60, 52), (-10, 62)], closed=False), SECOND, 11)
        s.line(end, LINE, 4)
        ring = blob([(-66, -12), (-30, -2), (30, -2), (66, -12), (60, 14), (0, 26), (-60, 14)], tension=0.5)
        s.fill(ring, MAIN)
        with s.inside(ring):
            for x in (-38, 2, 42):
                s.line(blob([(x, -20), (x + 4, 40)], closed=False), SECOND, 11)
        s.line(ring, LINE, 4)
    elif kind == "bow tie":
        for k in (-1, 1):
            wing = blob([(k * 4, 6), (k * 40, -14), (k * 44, 10), (k * 40, 32), (k * 4, 14)], tension=0.4)
            s.fill(wing, MAIN)
            s.line(wing, LINE, 4)
        s.fill(box(-11, -2, 11, 22, 8), SECOND)
        s.line(box(-11, -2, 11, 22, 8), LINE, 4)
    elif kind == "cape":
        cloth = blob(
            [(-40, -4), (40, -4), (74, 60), (88, 136), (40, 128), (0, 140), (-44, 128), (-88, 136), (-74, 60)],
            tension=0.45,
        )
        s.fill(cloth, MAIN, low=0.78)
        with s.inside(cloth):
            for x in (-34, 0, 34):
                s.line(blob([(x * 0.6, 10), (x * 1.4, 140)], closed=False), LINE, 3, alpha=0.4)
        s.line(cloth, LINE, 4)
    return s


def draw_cape_collar() -> Sheet:
    """The front of a cape: its collar; the anchor is the neck."""
    s = Sheet(-76, -30, 76, 40)
    ring = blob([(-62, -12), (-30, 0), (30, 0), (62, -12), (56, 12), (0, 24), (-56, 12)], tension=0.5)
    s.fill(ring, MAIN)
    s.line(ring, LINE, 4)
    s.fill(oval(0, 16, 10, 10), SECOND)
    s.line(oval(0, 16, 10, 10), LINE, 3)
    return s


def draw_accessory(kind: str) -> Sheet:
    """Glasses sit on the head's middle; a bag hangs from the neck; the others are held, the anchor in the hand."""
    if kind == "glasses":
        s = Sheet(-84, -40, 84, 40)
        for k in (-1, 1):
            s.flat(oval(k * 35, 0, 26, 26), shade(SECOND, 1), alpha=0.16)
            s.line(oval(k * 35, 0, 28, 28), LINE, 15)
            s.line(oval(k * 35, 0, 28, 28), MAIN, 11)
        s.line(blob([(-9, -4), (0, -8), (9, -4)], closed=False), MAIN, 10)
        for k in (-1, 1):
            s.line(blob([(k * 62, -3), (k * 76, -8)], closed=False), MAIN, 9)
        return s
    if kind == "bag":
        s = Sheet(-84, -20, 84, 120)
        s.line(blob([(34, -6), (4, 34), (-40, 70)], closed=False), LINE, 12)
        s.line(blob([(34, -6), (4, 34), (-40, 70)], closed=False), MAIN, 7)
        pouch = box(-72, 58, -14, 108, 13)
        s.fill(pouch, MAIN)
        s.fill(blob([(-73, 60), (-43, 56), (-13, 60), (-18, 82), (-43, 88), (-68, 82)], tension=0.5), SECOND, low=0.9)
        s.line(pouch, LINE, 4)
        s.flat(oval(-43, 84, 5, 5), INK)
        return s
    if kind == "umbrella":
        s = Sheet(-128, -262, 128, 40)
        s.line(blob([(0, -240), (0, 18)], closed=False), mix(INK, MAIN, 0.1), 7)
        s.line(blob([(0, 12), (2, 28), (14, 30), (18, 20)], closed=False), mix(INK, MAIN, 0.1), 7)
        top = blob(
            [
                (-118, -140),
                (-86, -212),
                (0, -246),
                (86, -212),
                (118, -140),
                (78, -154),
                (40, -140),
                (0, -154),
                (-40, -140),
                (-78, -154),
            ],
            tension=0.42,
        )
        s.fill(top, MAIN, low=0.82)
        with s.inside(top):
            s.fill(
                blob([(0, -250), (40, -190), (42, -130), (0, -146), (-42, -130), (-40, -190)], tension=0.4),
                SECOND,
                low=0.88,
            )
        s.line(top, LINE, 4)
        s.fill(oval(0, -248, 6, 9), MAIN)
        return s
    if kind == "lantern":
        s = Sheet(-40, -14, 40, 96)
        s.line(blob([(-20, 26), (-10, 4), (0, 0), (10, 4), (20, 26)], closed=False), LINE, 4)
        s.fill(box(-26, 24, 26, 36, 5), MAIN)
        s.fill(box(-22, 36, 22, 76, 4), SECOND, low=0.95)
        for x in (-21, 0, 21):
            s.line(blob([(x, 36), (x, 76)], closed=False), MAIN, 5)
        s.fill(box(-27, 74, 27, 88, 5), MAIN)
        s.line(box(-27, 24, 27, 88, 6), LINE, 3.6)
        return s
    s = Sheet(-60, -230, 60, 20)  # balloon
    s.line(blob([(0, 8), (-8, -40), (6, -80), (0, -124)], closed=False), INK, 3, alpha=0.8)
    ball = blob([(0, -226), (44, -204), (52, -164), (26, -130), (0, -118), (-26, -130), (-52, -164), (-44, -204)])
    s.fill(ball, MAIN, low=0.82)
    s.flat(oval(-20, -190, 10, 17), SECOND, alpha=0.8)
    s.line(ball, LINE, 4)
    s.fill(polygon([(0, -122), (9, -108), (-9, -108)]), MAIN)
    return s


def draw_prop(kind: str) -> Sheet:
    """What an action needs, in its own colours: a book, an apple, a glow, a shadow."""
    if kind == "book":
        s = Sheet(-70, -52, 70, 44)
        for k in (-1, 1):
            cover = polygon([(0, -34), (k * 62, -44), (k * 62, 26), (0, 38)])
            s.fill(cover, hexa("#b8474d"), round_corners=6)
            page = blob([(0, -30), (k * 30, -42), (k * 57, -38), (k * 57, 20), (k * 30, 18), (0, 32)], tension=0.35)
            s.fill(page, hexa("#fffaf0"), low=0.93)
            for i in range(4):
                s.line(blob([(k * 12, -18 + i * 11), (k * 48, -25 + i * 11)], closed=False), hexa("#b9aa9a"), 2.6)
        s.line(blob([(0, -30), (0, 34)], closed=False), hexa("#8e5a50"), 3)
        return s
    if kind == "apple":
        s = Sheet(-32, -44, 32, 32)
        s.fill(
            blob([(0, -18), (20, -26), (29, -4), (16, 26), (0, 24), (-16, 26), (-29, -4), (-20, -26)]), hexa("#e5484d")
        )
        s.line(blob([(0, -18), (3, -36)], closed=False), hexa("#6b4a2f"), 4)
        s.fill(blob([(4, -30), (22, -42), (20, -26)], tension=0.4), hexa("#6cb35a"))
        s.flat(oval(-12, -8, 6, 9), (255, 255, 255), alpha=0.6)
        return s
    if kind == "glow":
        s = Sheet(-64, -64, 64, 64)
        s.radial(0, 0, 63, (255, 255, 255))
        return s
    s = Sheet(-64, -20, 64, 20)  # shadow
    for i in range(8):
        s.flat(oval(0, 0, 62 - i * 5, 18 - i * 1.5), (255, 255, 255), alpha=0.16)
    return s
