"""A scan by kazoo, pipelined: `kazoo_scan.py HOST:PORT SECONDS`. Data, children and ACL of each node, 500 requests under
way; stops after so many seconds. Prints the nodes read and the milliseconds that took."""

import sys
import threading
import time

from kazoo.client import KazooClient

WINDOW = 500

client = KazooClient(sys.argv[1], timeout=60)
client.start()
client.add_auth("digest", "super:admin")
until = time.monotonic() + float(sys.argv[2])
slots = threading.Semaphore(WINDOW)
lock = threading.Lock()
todo = ["/"]
under_way = 0
nodes = 0


def ask(call, path, then=None):
    global under_way
    slots.acquire()
    with lock:
        under_way += 1

    def answered(result):
        global under_way
        if result.successful() and then is not None:
            then(result.get())
        with lock:
            under_way -= 1
        slots.release()

    call(path).rawlink(answered)


def children_of(path):
    def listed(names):
        prefix = path if path.endswith("/") else path + "/"
        with lock:
            todo.extend(prefix + name for name in names)

    return listed


start = time.monotonic()
while time.monotonic() < until:
    with lock:
        path = todo.pop() if todo else None
        idle = under_way == 0
    if path is None:
        if idle:
            break
        time.sleep(0.001)
        continue
    ask(client.get_async, path)
    ask(client.get_children_async, path, children_of(path))
    ask(client.get_acls_async, path)
    nodes += 1
print(nodes, int((time.monotonic() - start) * 1000))
client.stop()
