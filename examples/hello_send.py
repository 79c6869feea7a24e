# examples/hello_send.py
import tachyon

with tachyon.Bus.connect("/tmp/hello") as bus:
    for number in range(3):
        bus.send(f"hello {number}".encode(), type_id=number)
