"""Programs that run on a node for a defect: `python3 -c TEXT ARGUMENT...` with Debian 12's own Python."""

LISTEN = """
import socket, sys, threading
def serve(port):
    server = socket.create_server(("", port))
    while True:
        server.accept()[0].close()
for port in sys.argv[1:]:
    threading.Thread(target=serve, args=(int(port),)).start()
"""
"""Listens on TCP ports of every address, and closes each connection."""

ANSWER = """
import socket, struct, sys, time
delay, address = float(sys.argv[2]), socket.inet_aton(sys.argv[3])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
while True:
    question, peer = server.recvfrom(4096)
    end = 12
    while question[end]:
        end += question[end] + 1
    asked = question[12:end + 5]
    time.sleep(delay)
    has = asked[-4:] == bytes((0, 1, 0, 1))
    head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, int(has), 0, 0)
    record = struct.pack("!HHHIH", 0xc00c, 1, 1, 60, 4) + address if has else b""
    server.sendto(head + asked + record, peer)
"""
"""A DNS server: the address it binds to, how many seconds it takes, and the address that it says every name has."""

STRANGER = """
import signal, socket, struct, sys, time
vrid = int(sys.argv[1])
if not vrid:
    signal.pause()
source, group = socket.inet_aton(sys.argv[2]), socket.inet_aton("224.0.0.18")
body = struct.pack("!BBBBBBH4s8s", 0x21, vrid, 1, 1, 0, 1, 0, socket.inet_aton(sys.argv[3]), bytes(8))
words = sum(struct.unpack(f"!{len(body) // 2}H", body))
words = (words >> 16) + (words & 0xffff)
body = body[:6] + struct.pack("!H", ~(words + (words >> 16)) & 0xffff) + body[8:]
while True:
    try:
        out = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, source)
        while True:
            out.sendto(body, ("224.0.0.18", 0))
            time.sleep(0.25)
    except OSError:
        time.sleep(0.1)
"""
"""Advertises a VRRP id four times a second (RFC 3768): the id, the address it speaks from, the address it claims.

With the id 0 it only is there.
"""
