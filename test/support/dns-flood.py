"""Sends mutated DNS packets from many addresses, by UDP and now and then by TCP. usage: SEED PACKETS SERVER FIRST LAST CORPUS"""
import random
import socket
import sys

seed, packets, server, first, last, corpus = sys.argv[1:]
draw = random.Random(int(seed))
lines = open(corpus).read().split()
base = [bytes.fromhex(line) for line in lines]
prefix = server.rsplit('.', 1)[0]
sockets = []
for host in range(int(first), int(last) + 1):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((f'{prefix}.{host}', 0))
    one.setblocking(False)
    one.connect((server, 53))
    sockets.append(one)


def mutated():
    data = bytearray(draw.choice(base))
    for _ in range(draw.randrange(6)):
        at = draw.randrange(len(data))
        kind = draw.randrange(4)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at] = draw.choice((0, 1, 0x3F, 0x7F, 0x80, 0xC0, 0xFF))
        elif kind == 2:
            del data[at:]
        else:
            data[at:at] = draw.randbytes(draw.randrange(40))
        if not data:
            data = bytearray(b'\0')
    return bytes(data)


def by_tcp():
    with socket.socket() as one:
        one.settimeout(1)
        one.bind((f'{prefix}.{draw.randrange(int(first), int(last) + 1)}', 0))
        try:
            one.connect((server, 53))
            for _ in range(draw.randrange(1, 20)):
                data = mutated()
                length = draw.choice((len(data), len(data), draw.randrange(65536)))
                one.send(length.to_bytes(2, 'big') + data)
        except OSError:
            pass


for index in range(int(packets)):
    one = draw.choice(sockets)
    try:
        one.send(mutated())
        one.recv(65536)
    except OSError:
        pass
    if index % 500 == 0:
        by_tcp()
print('sent', flush=True)
