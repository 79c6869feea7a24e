"""An exhaustive checker of small concurrent programs, under two memory orders.

A program is lines of text, much like the C that they stand for:

    x = n + 1                    a register of this thread
    x <- word acquire            load (relaxed, acquire, seq_cst, plain)
    word[n % 3] <- x release     store (relaxed, release, seq_cst, plain)
    ok <- cas word old new order compare-and-swap: did it?
    x <- add word 1 order        fetch-and-add: the old value
    fence / fence weak           seq_cst fence; the weak one is left out on x86, after a swap
    membarrier                   a fence, one in each other thread at any moment, another fence
    put c / x <- take c / wait c bytes of a doorbell: send, receive all, sleep until there is one
    x <- hear c                  as take, but what the sender stored before a fence is seen after it
    goto label if condition
    check condition              must hold

What comes after # is a note; its first word names the line, for removals.

TSO, as x86: each thread's stores wait in a queue of its own; fences and locked instructions
drain it. WEAK, as C11 has it, with loads and stores in any order that acquire, release and
fences allow: every word keeps its old values, a thread may read any that is not older than what
it knows, and learns what a release store knew by reading it with acquire. A plain access that is
not ordered with another thread's is an error, as it is in C11.

Searched are all states. An error: a check that fails, a race, threads that sleep while nobody is
left to wake them, or that look for ever for what will not come.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Registers = tuple[int, ...]
State = tuple[Any, ...]


class Violation(Exception):
    """A state that must not be."""


class Instruction(NamedTuple):
    """One line."""

    kind: str
    target: int = -1  # register, label's place, channel or thread
    base: int = 0  # the first word of the array
    index: Callable[[Registers], int] | None = None
    value: Callable[[Registers], int] | None = None
    value2: Callable[[Registers], int] | None = None
    order: str = "relaxed"
    text: str = ""
    own: bool = False  # only this thread writes there


class Model(NamedTuple):
    """Threads, and the memory that they share."""

    name: str
    words: dict[str, list[int]]  # arrays, with what is in them at first
    channels: list[str]
    threads: dict[str, str]
    constants: Mapping[str, Any] = MappingProxyType({})
    final: tuple[str, int] | None = None  # of words, and what that is when all is over


ORDERS = ("relaxed", "acquire", "release", "acq_rel", "seq_cst", "plain")


class Program:
    """A thread's lines, translated."""

    def __init__(self, model: Model, thread: str) -> None:
        self.lines: list[tuple[str, str]] = []
        labels: dict[str, int] = {}
        for line in model.threads[thread].splitlines():
            text = line.split("#")[0].strip()
            if text.endswith(":"):
                labels[text[:-1]] = len(self.lines)
            elif text == "membarrier":
                others = [n for n, t in enumerate(model.threads) if t != thread]
                ipis = [(f"ipi {n}", line) for n in others]
                self.lines += [("fence", line), *ipis, ("fence", line)]
            elif text:
                self.lines.append((text, line))
        names = {m[1] for text, _ in self.lines if (m := re.match(r"(\w+) (?:=|<-) ", text))}
        self.registers = sorted(names - set(model.words))
        self.model, self.labels, self.thread = model, labels, thread
        places, self.size = {}, 0
        for name, values in model.words.items():
            places[name] = self.size
            self.size += len(values)
        self.places = places
        self.code = [self.translate(text, line) for text, line in self.lines]
        self.code.append(Instruction("end"))

    def expression(self, text: str) -> Callable[[Registers], int]:
        def place(match: re.Match[str]) -> str:
            name = match[0]
            return f"r[{self.registers.index(name)}]" if name in self.registers else name

        code = re.sub(r"[A-Za-z_]\w*", place, text)
        return eval(f"lambda r: {code}", dict(self.model.constants))  # type: ignore[no-any-return]

    def word(self, text: str) -> dict[str, Any]:
        match = re.fullmatch(r"(\w+)(?:\[(.+)\])?", text)
        assert match and match[1] in self.places, f"no such word: {text}"
        name = match[1]
        own = not any(
            re.search(rf"^\s*{name}\b(\[.*?\])? <- |(cas|add) {name}\b", other, re.MULTILINE)
            for thread, other in self.model.threads.items()
            if thread != self.thread
        )
        index = self.expression(match[2]) if match[2] else None
        return {"base": self.places[name], "index": index, "own": own}

    def translate(self, text: str, line: str) -> Instruction:
        note = line.strip()
        if match := re.fullmatch(r"goto (\w+)(?: if (.+))?", text):
            condition = self.expression(match[2] or "1")
            return Instruction("goto", self.labels[match[1]], value=condition, text=note)
        if text.startswith("check "):
            return Instruction("check", value=self.expression(text[6:]), text=note)
        if text.startswith("fence"):
            return Instruction(text.replace(" ", "-"), text=note)
        if match := re.fullmatch(r"(ipi) (\d+)", text):
            return Instruction("ipi", int(match[2]), text=note)
        if match := re.fullmatch(r"(put|wait) (\w+)", text):
            return Instruction(match[1], self.model.channels.index(match[2]), text=note)
        if match := re.fullmatch(r"(\w+) <- (take|hear) (\w+)", text):
            channel = self.model.channels.index(match[3])
            return Instruction(match[2], self.registers.index(match[1]), channel, text=note)
        if match := re.fullmatch(r"(\w+) <- (cas|add) (\S+) (\S+)(?: (\S+))? (\w+)", text):
            second = self.expression(match[5]) if match[5] else None
            return Instruction(
                match[2], self.registers.index(match[1]), **self.word(match[3]),
                value=self.expression(match[4]), value2=second, order=match[6], text=note,
            )  # fmt: skip
        if match := re.fullmatch(r"(\w+) = (.+)", text):
            register = self.registers.index(match[1])
            return Instruction("set", register, value=self.expression(match[2]), text=note)
        match = re.fullmatch(r"(\S+|\w+\[.+\]) <- (.+) (\w+)", text)
        assert match and match[3] in ORDERS, f"what is this: {text}"
        if match[1] in self.registers:
            register = self.registers.index(match[1])
            return Instruction("load", register, **self.word(match[2]), order=match[3], text=note)
        value = self.expression(match[2])
        return Instruction("store", **self.word(match[1]), value=value, order=match[3], text=note)


def changed(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


class Machine:
    """What both memory orders have in common: registers, jumps, doorbells, and the search."""

    def __init__(self, model: Model) -> None:
        self.programs = [Program(model, thread) for thread in model.threads]
        self.names = list(model.threads)
        self.initial = [v for values in model.words.values() for v in values]
        self.channels = len(model.channels)
        self.count = len(self.programs)
        self.final, self.constants = model.final, model.constants
        # A fence may come between any two lines of a thread: then none of them goes unnoticed.
        self.eager = not any(i.kind == "ipi" for p in self.programs for i in p.code)

    def local(
        self, code: list[Instruction], pc: int, registers: Registers
    ) -> tuple[int, Registers]:
        """Go on through what no other thread can notice."""
        while True:
            i = code[pc]
            if i.kind == "set":
                assert i.value
                registers = changed(registers, i.target, int(i.value(registers)))
            elif i.kind == "goto":
                assert i.value
                if i.value(registers):
                    pc = i.target
                    continue
            elif i.kind == "check":
                assert i.value
                if not i.value(registers):
                    raise Violation(i.text)
            else:
                return pc, registers
            pc += 1

    def start(self) -> State:
        raise NotImplementedError

    def steps(self, state: State, t: int) -> Iterator[State]:
        raise NotImplementedError

    def ended(self, state: State) -> bool:
        return all(
            p.code[thread[0]].kind == "end"
            for p, thread in zip(self.programs, state[-1], strict=True)
        )

    def check_final(self, state: State) -> None:
        if self.final:
            expression, value = self.final
            last = [v[-1][0] if isinstance(v, tuple) else v for v in state[0]]
            words = {name: last[place] for name, place in self.programs[0].places.items()}
            found = eval(expression, dict(self.constants), words)
            if found != value:
                raise Violation(f"in the end {expression} is {found}, not {value}")

    def search(self, most: int = 0) -> int:
        """Visit all states: how many. Violation where there is one."""
        first = self.start()
        seen, todo, ends = {first: 0}, [first], []
        before, after = array("L"), array("L")
        while todo:
            state = todo.pop()
            place, moved = seen[state], False
            for t in range(self.count):
                for following in self.steps(state, t):
                    moved = True
                    if following not in seen:
                        seen[following] = len(seen)
                        todo.append(following)
                    before.append(place)
                    after.append(seen[following])
            if not moved and self.ended(state):
                self.check_final(state)
                ends.append(place)
            elif not moved:
                raise Violation(f"for ever asleep: {self.where(state)}")
            if most and len(seen) > most:
                raise MemoryError(f"over {most} states")
        self.check_ends(list(seen), ends, before, after)
        return len(seen)

    def where(self, state: State) -> str:
        """What they are at who are not at their end."""
        lines = [
            f"{name}: {p.code[thread[0]].text}"
            for name, p, thread in zip(self.names, self.programs, state[-1], strict=True)
            if p.code[thread[0]].kind != "end"
        ]
        return "; ".join(lines)

    def check_ends(
        self, states: list[State], ends: list[int], before: array[int], after: array[int]
    ) -> None:
        """From each state, an end can be reached: nobody looks for ever for what will not come."""
        origins: list[list[int]] = [[] for _ in states]
        for a, b in zip(before, after, strict=True):
            origins[b].append(a)
        good, todo = set(ends), ends
        while todo:
            for place in origins[todo.pop()]:
                if place not in good:
                    good.add(place)
                    todo.append(place)
        if stuck := set(range(len(states))) - good:
            raise Violation(f"for ever: {self.where(states[max(stuck)])}")


class Tso(Machine):
    """State: memory, doorbells, threads of (place, registers, stores on their way)."""

    def start(self) -> State:
        memory = tuple(self.initial)
        threads = tuple(
            self.forward(p, memory, 0, (0,) * len(p.registers), ()) for p in self.programs
        )
        return memory, (0,) * self.channels, threads

    def forward(
        self, program: Program, memory: State, pc: int, registers: Registers, queue: State
    ) -> State:
        """Local work, and stores into the queue: nobody sees those yet."""
        while True:
            pc, registers = self.local(program.code, pc, registers)
            i = program.code[pc]
            word = i.base + (i.index(registers) if i.index else 0)
            if self.eager and i.kind == "store" and i.order != "seq_cst":
                assert i.value
                queue = (*queue, (word, int(i.value(registers))))
            elif i.kind == "load" and i.own:
                value = next((v for w, v in reversed(queue) if w == word), memory[word])
                registers = changed(registers, i.target, value)
            elif not (i.kind == "fence-weak" or (i.kind == "fence" and not queue)):
                return pc, registers, queue
            pc += 1

    def steps(self, state: State, t: int) -> Iterator[State]:
        memory, channels, threads = state
        pc, registers, queue = threads[t]
        program = self.programs[t]
        i = program.code[pc]

        def after(
            registers: Registers, memory: State = memory, channels: State = channels
        ) -> State:
            thread = self.forward(program, memory, pc + 1, registers, queue)
            return memory, channels, changed(threads, t, thread)

        if queue:
            word, value = queue[0]
            reached = changed(memory, word, value)
            drained = self.forward(program, reached, pc, registers, queue[1:])
            yield reached, channels, changed(threads, t, drained)
        word = i.base + (i.index(registers) if i.index else 0)
        if i.kind == "load":
            value = next((v for w, v in reversed(queue) if w == word), memory[word])
            yield after(changed(registers, i.target, value))
        elif i.kind == "store" and i.order != "seq_cst":
            assert i.value
            queue = (*queue, (word, int(i.value(registers))))
            yield after(registers)
        elif i.kind == "store" and not queue:
            assert i.value
            yield after(registers, changed(memory, word, int(i.value(registers))))
        elif i.kind in ("cas", "add") and not queue:
            assert i.value
            old, value = memory[word], int(i.value(registers))
            if i.kind == "add":
                yield after(changed(registers, i.target, old), changed(memory, word, old + value))
            elif old == value:
                assert i.value2
                new = int(i.value2(registers))
                yield after(changed(registers, i.target, 1), changed(memory, word, new))
            else:
                yield after(changed(registers, i.target, 0))
        elif i.kind == "ipi":
            other_pc, other_registers, other_queue = threads[i.target]
            for w, v in other_queue:
                memory = changed(memory, w, v)
            other = self.forward(self.programs[i.target], memory, other_pc, other_registers, ())
            ours = self.forward(program, memory, pc + 1, registers, queue)
            yield memory, channels, changed(changed(threads, i.target, other), t, ours)
        elif i.kind == "put":
            yield after(registers, channels=changed(channels, i.target, channels[i.target] + 1))
        elif i.kind == "wait" and channels[i.target]:
            yield after(registers)
        elif i.kind in ("take", "hear"):
            taken = changed(registers, i.target, channels[i.base])
            yield after(taken, channels=changed(channels, i.base, 0))


Stamps = tuple[int, ...]


def join(a: Stamps, b: Stamps) -> Stamps:
    return a if a == b else tuple(map(max, a, b))


class Weak(Machine):
    """State: values of each word, what fences know, doorbells, reads, threads.

    A word's values are (value, what its reader learns), the oldest that anyone may still read
    first. What a thread knows is, for each word, which of its values is the oldest that it may
    read, and for each thread, which part of its past (counted in releases) is over for sure.
    `reads` has, for each word and thread, in which part of its past it last read there: a plain
    store must come after that. A thread is (place, registers, what it knows, late stores): stores
    to words that others swap or store to may happen late, until something is to come after them.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.model = model
        self.size = len(self.initial)
        plain = {
            i.base + n
            for p in self.programs
            for i in p.code
            if i.order == "plain"
            for n in range(len(next(v for k, v in model.words.items() if p.places[k] == i.base)))
        }
        self.plain = sorted(plain)
        self.slots = {word: n for n, word in enumerate(self.plain)}
        self.contended = {i.base for p in self.programs for i in p.code if i.kind in ("cas", "add")}
        self.contended |= self.stored_by_several() - plain
        # What fences pass on: of atomic words only, and no thread's past.
        self.passed = [*(w not in plain for w in range(self.size)), *(False,) * self.count]

    def stored_by_several(self) -> set[int]:
        """Single words, not arrays: those of an array are each one thread's, at a time."""
        single = {self.programs[0].places[w] for w, v in self.model.words.items() if len(v) == 1}
        stored = [{i.base for i in p.code if i.kind == "store"} for p in self.programs]
        return {w for n, a in enumerate(stored) for b in stored[n + 1 :] for w in a & b} & single

    def fence(self, knows: Stamps, known: Stamps) -> tuple[Stamps, Stamps]:
        """A seq_cst fence of a thread: what it knows after it, and what all later fences know."""
        passed = tuple(s if p else 0 for s, p in zip(knows, self.passed, strict=True))
        known = join(known, passed)
        return join(knows, known), known

    def start(self) -> State:
        nothing = (0,) * (self.size + self.count)
        state: State = (
            tuple(((v, nothing),) for v in self.initial),
            nothing,
            (0,) * self.channels,
            ((-1,) * self.count,) * len(self.plain),
            tuple((0, (0,) * len(p.registers), nothing, ()) for p in self.programs),
        )
        for t in range(self.count):
            state = self.forward(state, t, state[-1][t])
        return self.tidy(state)

    def tidy(self, state: State) -> State:
        """Forget values that nobody can read any more, so that equal futures are equal states."""
        memory, known, channels, reads, threads = state
        live = [
            thread[2]
            for p, thread in zip(self.programs, threads, strict=True)
            if p.code[thread[0]].kind != "end"
        ]
        if not live:
            return state
        least = [min(words) for words in zip(*live, strict=True)][: self.size]
        if not any(least):
            return state
        shift = (*least, *(0,) * self.count)

        def less(stamps: Stamps) -> Stamps:
            return tuple(s - n if s > n else 0 for s, n in zip(stamps, shift, strict=False))

        memory = tuple(
            tuple((v, less(stamps)) for v, stamps in values[n:])
            for values, n in zip(memory, least, strict=True)
        )
        threads = tuple(
            (pc, registers, less(knows), tuple((w, v, less(stamps)) for w, v, stamps in late))
            for pc, registers, knows, late in threads
        )
        return memory, less(known), channels, reads, threads

    def write(self, state: State, t: int, word: int, value: int, knows: Stamps, order: str,
              learnt: Stamps | None = None) -> tuple[State, Stamps]:  # fmt: skip
        memory, known, channels, reads, threads = state
        if order == "plain":
            for other, part in enumerate(reads[self.slots[word]]):
                if other != t and part >= knows[self.size + other]:
                    raise Violation(f"race: {self.names[t]} writes what {self.names[other]} reads")
            if knows[word] != len(memory[word]) - 1:
                raise Violation(f"race: {self.names[t]} writes what is being written")
        values = memory[word]
        knows = changed(knows, word, len(values))
        release = order in ("release", "acq_rel", "seq_cst")
        if release:
            mine = self.size + t
            teaches = changed(knows, mine, knows[mine] + 1)
            knows = teaches
        else:
            teaches = changed((0,) * len(knows), word, len(values))
        if learnt:
            teaches = join(teaches, learnt)
        memory = changed(memory, word, (*values, (value, teaches)))
        return (memory, known, channels, reads, threads), knows

    def forward(self, state: State, t: int, thread: State) -> State:
        """Local work, and stores: who does not know of them may read older values all the same."""
        pc, registers, knows, late = thread
        program = self.programs[t]
        while True:
            pc, registers = self.local(program.code, pc, registers)
            i = program.code[pc]
            word = i.base + (i.index(registers) if i.index else 0)
            if self.eager and i.kind == "store" and i.order != "seq_cst":
                assert i.value
                state, knows, late = self.put(
                    state, t, i, int(i.value(registers)), word, knows, late
                )
            elif i.kind == "load" and i.own and i.order != "seq_cst":
                value = next((v for w, v, _ in reversed(late) if w == word), state[0][word][-1][0])
                registers = changed(registers, i.target, value)
            else:
                break
            pc += 1
        return *state[:-1], changed(state[-1], t, (pc, registers, knows, late))

    def put(self, state: State, t: int, i: Instruction, value: int, word: int, knows: Stamps,
            late: State) -> tuple[State, Stamps, State]:  # fmt: skip
        """A store, now or late; a release store comes after all that are late."""
        if i.order == "release":
            for one in late:
                state, knows = self.happen(state, one, knows)
            late = ()
        if word not in self.contended:
            state, knows = self.write(state, t, word, value, knows, i.order)
            return state, knows, late
        teaches = (0,) * len(knows)
        if i.order == "release":
            mine = self.size + t
            teaches = knows = changed(knows, mine, knows[mine] + 1)
        return state, knows, (*late, (word, value, teaches))

    def happen(self, state: State, one: State, knows: Stamps) -> tuple[State, Stamps]:
        """A late store, now."""
        word, value, teaches = one
        n = len(state[0][word])
        values = (*state[0][word], (value, changed(teaches, word, n)))
        return (changed(state[0], word, values), *state[1:]), changed(knows, word, n)

    def read(self, state: State, t: int, word: int, order: str) -> State:
        """Note that this was read here, for stores to come."""
        memory, known, channels, reads, threads = state
        if word not in self.slots:
            return state
        slot = self.slots[word]
        part = threads[t][2][self.size + t]
        if reads[slot][t] == part:
            return state
        return memory, known, channels, changed(reads, slot, changed(reads[slot], t, part)), threads

    def steps(self, state: State, t: int) -> Iterator[State]:
        memory, known, channels, _, threads = state
        pc, registers, knows, late = threads[t]
        i = self.programs[t].code[pc]

        def after(state: State, registers: Registers, knows: Stamps) -> State:
            return self.tidy(self.forward(state, t, (pc + 1, registers, knows, late)))

        if late:
            happened, learns = self.happen(state, late[0], knows)
            yield self.tidy(self.forward(happened, t, (pc, registers, learns, late[1:])))
            if i.kind in ("fence", "fence-weak", "cas", "add", "ipi") or i.order == "seq_cst":
                return
        word = i.base + (i.index(registers) if i.index else 0)
        pending = [value for w, value, _ in late if w == word]
        if i.kind == "load" and pending:
            yield after(state, changed(registers, i.target, pending[-1]), knows)
            return
        if i.kind == "load":
            values = memory[word]
            if i.order == "plain" and knows[word] != len(values) - 1:
                raise Violation(f"race: {self.names[t]} reads what is being written: {i.text}")
            noted = self.read(state, t, word, i.order)
            oldest = max(knows[word], known[word]) if i.order == "seq_cst" else knows[word]
            for n in range(oldest, len(values)):
                value, teaches = values[n]
                learns = changed(knows, word, n)
                if i.order in ("acquire", "seq_cst"):
                    learns = join(learns, teaches)
                yield after(noted, changed(registers, i.target, value), learns)
        elif i.kind == "store":
            assert i.value
            value = int(i.value(registers))
            if i.order == "seq_cst":
                written, knows = self.write(state, t, word, value, knows, i.order)
                written = (written[0], changed(known, word, knows[word]), *written[2:])
            else:
                written, knows, late = self.put(state, t, i, value, word, knows, late)
            yield after(written, registers, knows)
        elif i.kind in ("cas", "add"):
            yield from self.swap(state, t, i, word)
        elif i.kind in ("fence", "fence-weak"):
            knows, known = self.fence(knows, known)
            yield after((memory, known, *state[2:]), registers, knows)
        elif i.kind == "ipi":
            other_pc, other_registers, other_knows, other_late = threads[i.target]
            for one in other_late:
                state, other_knows = self.happen(state, one, other_knows)
            other_knows, known = self.fence(other_knows, known)
            other = (other_pc, other_registers, other_knows, ())
            interrupted = (*state[:-1], changed(threads, i.target, other))
            yield after((interrupted[0], known, *interrupted[2:]), registers, knows)
        elif i.kind == "put":
            rung = changed(channels, i.target, channels[i.target] + 1)
            yield after((memory, known, rung, *state[3:]), registers, knows)
        elif i.kind == "wait" and channels[i.target]:
            yield after(state, registers, knows)
        elif i.kind in ("take", "hear"):
            if i.kind == "hear":
                knows = join(knows, known)
            taken = changed(registers, i.target, channels[i.base])
            emptied = changed(channels, i.base, 0)
            yield after((memory, known, emptied, *state[3:]), taken, knows)

    def swap(self, state: State, t: int, i: Instruction, word: int) -> Iterator[State]:
        memory, known = state[:2]
        pc, registers, knows, _ = state[-1][t]
        assert i.value
        value, (old, teaches) = int(i.value(registers)), memory[word][-1]
        if i.kind == "add" or old == value:
            learns = join(knows, teaches) if i.order in ("acquire", "acq_rel", "seq_cst") else knows
            new = old + value if i.kind == "add" else int(i.value2(registers))  # type: ignore[misc]
            written, learns = self.write(state, t, word, new, learns, i.order, teaches)
            if i.order == "seq_cst":
                written = (written[0], changed(known, word, learns[word]), *written[2:])
            result = old if i.kind == "add" else 1
            thread = (pc + 1, changed(registers, i.target, result), learns, ())
            yield self.tidy(self.forward(written, t, thread))
        if i.kind == "cas":
            for n in range(knows[word], len(memory[word])):
                if memory[word][n][0] != value:
                    learns = changed(knows, word, n)
                    thread = (pc + 1, changed(registers, i.target, 0), learns, ())
                    yield self.tidy(self.forward(state, t, thread))


MACHINES: dict[str, type[Machine]] = {"TSO": Tso, "weak": Weak}


def explore(model: Model, order: str, most: int = 0) -> int:
    """Search all states of a model under one memory order: how many."""
    return MACHINES[order](model).search(most)
