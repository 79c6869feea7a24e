# examples/fan_in_wait.py
import tachyon

counts = dict.fromkeys(range(1, 6), 0)

with tachyon.Listener("/tmp/fan-in-wait") as listener:
    buses = [listener.accept() for _ in counts]

while buses:
    for bus in tachyon.wait(buses):  # those that have something to receive
        try:
            counts[bus.recv().type_id] += 1
        except tachyon.ClosedError:
            buses.remove(bus)

print(counts)
