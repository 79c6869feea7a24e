# examples/hello_receive.py
import tachyon

with tachyon.Bus.listen("/tmp/hello") as bus:
    for message in bus:
        print(message.type_id, message.data.decode())
