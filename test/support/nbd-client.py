"""An NBD client for tests: nbd-client.py ADDRESS PORT EXPORT [SOURCE [PORT]], then a command a line on stdin, an answer a line. It
connects from the first free port from PORT on: without it from one that only root may have.

write OFFSET WORD | read OFFSET LENGTH | flush | pairs LOW HIGH

`pairs` writes 1, 2, 3 ... until it is killed: each first at LOW, then at HIGH, each acknowledged before the next.
"""
import errno, socket, struct, sys

def closed():
    print("closed", flush=True)
    sys.exit(1)

def receive(length):
    data = b""
    while len(data) < length:
        try:
            part = connection.recv(length - len(data))
        except ConnectionError:
            closed()
        if not part:
            closed()
        data += part
    return data

def ask(kind, offset, length, data=b""):
    try:
        connection.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, offset, length) + data)
    except ConnectionError:
        closed()
    _, error, _ = struct.unpack(">IIQ", receive(16))
    if error:
        return "error %d" % error
    return receive(length).rstrip(b"\0").decode("latin1") if kind == 0 else "ok"

def connect(server, source, first):
    for port in range(first, first + 300):
        try:
            return socket.create_connection(server, source_address=(source, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise
    sys.exit("no port is free")

address, port, name, source, first = (sys.argv[1:] + ["", ""])[:5]
connection = connect((address, int(port)), source, int(first or 665))
receive(18)
name = name.encode()
connection.sendall(struct.pack(">I", 1) + struct.pack(">QII", 0x49484156454F5054, 7, 6 + len(name)) + struct.pack(">I", len(name)) + name + b"\0\0")
while True:
    _, _, kind, length = struct.unpack(">QIII", receive(20))
    receive(length)
    if kind == 1:
        break
    if kind & 0x80000000:
        print("refused", flush=True)
        sys.exit(1)
print("attached", flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "write":
        print(ask(1, int(words[1]), 512, words[2].encode().ljust(512, b"\0")), flush=True)
    elif words[0] == "read":
        print(ask(0, int(words[1]), int(words[2])), flush=True)
    elif words[0] == "flush":
        print(ask(3, 0, 0), flush=True)
    elif words[0] == "pairs":
        number = 0
        print("started", flush=True)
        while True:
            number += 1
            for offset in (int(words[1]), int(words[2])):
                ask(1, offset, 512, str(number).encode().ljust(512, b"\0"))
