"""The aligner by definition: keeps every packet for ever and looks at all of them each time. The yardstick of the real one.

It knows nothing of overflow (bounds are set out of reach) and is fed no packet twice.
"""

from collections import deque

from operators.packet import Closed, Dropped, Packet, Tick, Watermark
from operators.window import AlignedWindow, Late, Skipped, Slot


def order(packet):
    return packet.start_ns, packet.seq


def overlaps(packet, start, end):
    return packet.start_ns < end and (packet.end_ns > start or packet.start_ns >= start)


class Known:
    """One stream's packets, promise and close."""

    def __init__(self, rule, config):
        self.rule, self.config = rule, config
        self.packets = []
        self.promise = float("-inf")
        self.closed_at = None
        self.centred = rule.take in ("nearest", "interpolate")
        self.reach = config.length_ns // 2 + rule.tolerance_ns + 1 if self.centred else config.length_ns
        self.horizon = min(self.reach, config.length_ns)

    def holds_until(self, packet):
        ttl = float("inf") if self.rule.ttl_ns is None else self.rule.ttl_ns
        if self.rule.take == "latest":
            return packet.end_ns + ttl
        own = packet.end_ns if packet.end_ns > packet.start_ns else float("inf")
        return min(own, packet.start_ns + ttl)

    def pick(self, start, packets=None):
        end, centre, tolerance = start + self.config.length_ns, start + self.config.length_ns // 2, self.rule.tolerance_ns
        packets = sorted(self.packets if packets is None else packets, key=order)
        match self.rule.take:
            case "window":
                return tuple(p for p in packets if overlaps(p, start, end))
            case "latest" | "state":
                newest = [p for p in packets if p.start_ns < end][-1:]
                return tuple(p for p in newest if end - 1 < self.holds_until(p))
            case "nearest":
                near = [p for p in packets if abs(p.start_ns - centre) <= tolerance]
                return tuple(sorted(near, key=lambda p: (abs(p.start_ns - centre), p.start_ns, -p.seq))[:1])
            case "interpolate":
                before = [p for p in packets if p.start_ns <= centre][-1:]
                after = sorted((p for p in packets if p.start_ns > centre), key=lambda p: (p.start_ns, -p.seq))[:1]
                if any(p.start_ns == centre for p in before):
                    return tuple(before)
                both = [p for p in before + after if abs(p.start_ns - centre) <= tolerance]
                return tuple(both) if len(both) == 2 else ()

    def settled(self, start):
        """What the window takes cannot change any more, whatever the promise still allows."""
        centre = start + self.config.length_ns // 2
        if self.promise >= start + self.reach:
            return True
        if not self.centred or self.promise < start + self.horizon:
            return False
        if self.rule.take == "interpolate":
            return any(centre <= p.start_ns < self.promise for p in self.packets)
        picked = self.pick(start)
        imagined = [
            Packet(stream=self.rule.stream, seq=10**6, start_ns=t, end_ns=t, payload=None) for t in range(self.promise, start + self.reach)
        ]
        return bool(picked) and all(self.pick(start, [*self.packets, p]) == picked for p in imagined)

    def slot(self, start):
        packets, end, settled = self.pick(start), start + self.config.length_ns, self.settled(start)
        missing = None
        if not packets:
            closed = self.closed_at is not None and self.closed_at < start + self.horizon
            missing = "closed" if closed else "empty" if settled else "timeout"
        heard = sorted((p for p in self.packets if p.start_ns < start + self.horizon), key=order)
        age = max(0, end - heard[-1].end_ns) if heard else None
        return Slot(packets=packets, missing=missing, age_ns=age, complete=settled)

    def touches(self, start):
        end, hop, tolerance = start + self.config.length_ns, self.config.hop_ns, self.rule.tolerance_ns
        low = min(start, start + self.reach - hop, start + self.config.length_ns // 2 - tolerance if self.centred else start)
        began = any(low <= p.start_ns < start + self.reach for p in self.packets)
        return began or (self.rule.take == "window" and any(overlaps(p, start, end) for p in self.packets))

    def can_use(self, packet, start):
        """The window at start, or a later one, could have the packet, or would have another one but for it."""
        end, centre, tolerance = start + self.config.length_ns, start + self.config.length_ns // 2, self.rule.tolerance_ns
        newer = [p.start_ns for p in self.packets if order(p) > order(packet)]
        match self.rule.take:
            case "window":
                return overlaps(packet, start, end)
            case "latest" | "state":
                matters = end <= self.holds_until(packet) or self.pick(start)
                return packet.start_ns < end and bool(matters) and not any(t < end for t in newer)
        if abs(packet.start_ns - centre) > tolerance or packet.start_ns in newer or any(t <= centre for t in newer):
            return False
        nearer = self.rule.take == "nearest" and any(abs(t - centre) < abs(packet.start_ns - centre) for t in newer)
        return packet.start_ns >= centre or not nearer


class Definition:
    """process(event) -> list of outputs, in the order the Aligner yields them."""

    def __init__(self, config):
        self.config = config
        self.streams = {rule.stream: Known(rule, config) for rule in config.streams}
        self.next, self.quiet, self.skipped_from = 0, 0, None
        self.pending = deque()

    def process(self, event):
        if isinstance(event, Tick):
            return [] if self.config.mode == "wait" else list(self.due(event.now_ns))
        known = self.streams[event.stream]
        if isinstance(event, Packet):
            return list(self.packet(known, event))
        if known.closed_at is not None:
            return [Dropped(stream=event.stream, reason="after_close", count=0)]
        if isinstance(event, Closed):
            known.closed_at = max(event.time_ns, known.promise)
            known.promise = float("inf")
        elif isinstance(event, Watermark):
            if event.time_ns < known.promise:
                return [Dropped(stream=event.stream, reason="watermark_backwards", count=0)]
            known.promise = event.time_ns
        return list(self.due(float("-inf")))

    def packet(self, known, packet):
        if known.closed_at is not None:
            yield Dropped(stream=packet.stream, reason="after_close", start_ns=packet.start_ns)
            return
        emitted = self.config.window_start_ns(self.next - 1) + known.horizon if self.next else float("-inf")
        frontier = max(known.promise, emitted)
        open_starts = [w.start_ns for w in self.pending] + [self.config.window_start_ns(self.next)]
        if packet.start_ns < known.promise:
            yield Late(packet=packet, by_ns=frontier - packet.start_ns, kept=False)
            return
        if packet.start_ns < frontier:
            kept = any(known.can_use(packet, start) for start in open_starts)
            yield Late(packet=packet, by_ns=frontier - packet.start_ns, kept=kept)
        known.packets.append(packet)

    def all_closed(self):
        return all(known.closed_at is not None for known in self.streams.values())

    def promised(self, index):
        return all(known.settled(self.config.window_start_ns(index)) for known in self.streams.values())

    def exists(self, index):
        latest = max(k.promise if k.closed_at is None else k.closed_at for k in self.streams.values())
        return self.config.window_end_ns(index) - self.config.hop_ns < latest + self.config.tail_ns

    def is_due(self, index, now):
        if self.promised(index) and self.exists(index):
            return True
        late = now >= self.config.window_end_ns(index) + self.config.deadline_ns
        return self.config.mode == "deadline" and not self.all_closed() and late

    def due(self, now):
        yield from self.revise(now)
        last = self.next
        while self.is_due(last, now):
            last += 1
        if self.config.mode == "deadline":
            yield from self.catch_up(last)
        while self.next < last:
            yield from self.make()
        if self.all_closed():
            yield from self.say_skipped()

    def catch_up(self, last):
        if last - self.next > self.config.catch_up:
            self.skipped_from = self.next
            self.next = last - self.config.catch_up
            yield from self.say_skipped()

    def make(self):
        index, start = self.next, self.config.window_start_ns(self.next)
        touched = any(known.touches(start) for known in self.streams.values())
        if self.config.mode == "wait" and not touched and self.quiet >= self.config.catch_up:
            self.skipped_from = index if self.skipped_from is None else self.skipped_from
            self.next += 1
            return
        yield from self.say_skipped()
        self.quiet = 0 if touched else self.quiet + 1
        slots = {name: known.slot(start) for name, known in self.streams.items()}
        window = AlignedWindow(index=index, start_ns=start, end_ns=start + self.config.length_ns, slots=slots)
        if self.config.mode == "deadline" and self.config.revise_ns and not window.complete:
            self.pending.append(window)
        self.next += 1
        yield window

    def say_skipped(self):
        if self.skipped_from is not None:
            first, count, at = self.skipped_from, self.next - self.skipped_from, self.config.window_start_ns
            self.skipped_from = None
            yield Skipped(index=first, count=count, start_ns=at(first), end_ns=at(first + count))

    def revise(self, now):
        while self.pending and (self.promised(self.pending[0].index) or now >= self.pending[0].end_ns + self.config.revise_ns):
            first = self.pending.popleft()
            slots = {n: s if s.complete else self.streams[n].slot(first.start_ns) for n, s in first.slots.items()}
            if any(slots[name].packets != slot.packets for name, slot in first.slots.items()):
                yield AlignedWindow(index=first.index, start_ns=first.start_ns, end_ns=first.end_ns, slots=slots, revision=1)
