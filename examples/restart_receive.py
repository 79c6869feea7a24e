# examples/restart_receive.py
import tachyon

with tachyon.Listener("/tmp/restart") as listener:
    for bus in listener:  # one sender after the other, until the listener is closed
        with bus:
            try:
                for message in bus:
                    print(message.data.decode())
                    if message.data == b"stop":
                        listener.close()
            except tachyon.PeerDeadError:
                print("that sender has died, all it had sent is above")
