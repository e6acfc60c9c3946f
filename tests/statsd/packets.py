"""Datagrams of all dialects, good ones and bad ones, the same each time."""

import random


def packets():
    """Each datagram as bytes."""
    yield from (packet.encode() for packet in PLAIN)
    yield b"not\xff.utf8:1|c\nafter.it:1|c"
    numbers = random.Random(5)
    for n in range(400):
        page, method = numbers.choice(["home", "cart", "only"]), numbers.choice(["get", "post"])
        milliseconds = round(numbers.lognormvariate(4, 1.5), 3)
        yield f"web.{page}.{method}.time:{milliseconds}|ms\nsum.random:{milliseconds}|ms\nplain.timer:{n}|ms".encode()


PLAIN = [
    "hits:1|c",
    "hits:2|c|@0.1\nhits.more:1.5|c",
    "free:5|g\nfree:-2|g\nfree:+0.5|g\nnegative:-3|g\nexact:7|g\nexact:3|g",
    "multi:1|c:2|c:3|c",
    "timer:320|ms|@0.1\ntimer:15|ms\nhist:2|h\ndist:3|d\ndist:4|d",
    "packed:1:2:3:4|ms|#t:1\npacked.dist:1:x:3|d\npacked.count:1:2|c",
    "tags:1|c|#a:1,b.c:2,#d:3\ntags:1|c|#b.c:2,d:3,a:1\ntags:2|c|@0.5|#a:1",
    "tags.bad:1|c|#a,b:,:c,,d:1\ntags.none:1|c|#",
    "influx,a=1,b=2:1|c\nlibrato#a=1,b=2:1|c\nsignal[a=1,b=2].fx:1|c\nsignal.open[a=1:1|c",
    "mixed,a=1:1|c|#b:2\ninflux.two,a=1:1|c:2|c",
    "1digit:1|c\nwith-dash.and--two:1|c\nwith space:1|c\nü.ö:1|c\na:b:1|c",
    "nothing\n:1|c\nno.kind:1\nno.value:|c\nbad.value:x|c\nbad.kind:1|z\nempty.part:1|c||\nbad.rate:1|c|@x\nzero.rate:4|c|@0",
    "below.zero:-1|c\nbelow.zero:1|c",
    "clash:1|c\nclash:5|g\nclash:5|ms\nclash:1|c",
    "drop.this:1|c\ndrop.that:5|g",
    "both.a:1|c\nboth.a:2|g\nboth.a:3|ms",
    "re.one.two_x:1|c\nre.one.two_y:1|c",
    "kept.a:1|c|#aa:sent,c:sent\nover.a:1|c|#aa:sent,c:sent",
    "scaled.gauge:1500|g\nscaled.count:250|c\nscaled.time:250|ms",
    "a.b.stars:1|c\na.b.c.stars:1|c",
    "sum.few:10:20:30:40|ms\nsum.one:5|ms\nsum.weighted:1|ms|@0.25\nsum.weighted:9|ms",
    "spaces :1|c\nnan:nan|g\ninf:inf|g\nhuge:1e308|g\ntoo.huge:1e999|g",
    "four.parts:1|c|@1|#a:1\nseven.parts:1|c|@1|@1|@1|@1|@1",
]
