# shell: /bin/sh
# needs: /usr/bin/python3.11=python3.11
# Python: threads, processes, asyncio, files, sockets in one program.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
cat > p.py <<'END'
import asyncio, concurrent.futures, hashlib, json, mmap, multiprocessing, os, pathlib, queue, signal, socket, sqlite3
import subprocess, sys, tempfile, threading, zlib
def square(x): return x * x
def main():
    print(sum(concurrent.futures.ThreadPoolExecutor(4).map(square, range(1000))))
    with concurrent.futures.ProcessPoolExecutor(2) as pool: print(sum(pool.map(square, range(100))))
    with multiprocessing.Pool(2) as pool: print(pool.map(square, range(10)))
    q = multiprocessing.Queue(); p = multiprocessing.Process(target=q.put, args=("queued",)); p.start(); print(q.get()); p.join(); print(p.exitcode)
    print(subprocess.run(["sh", "-c", "cat; exit 4"], input=b"stdin", capture_output=True))
    print(subprocess.check_output([sys.executable, "-c", "print(6*7)"]).decode().strip())
    async def talk():
        async def serve(r, w): w.write((await r.readline()).upper()); await w.drain(); w.close()
        s = await asyncio.start_server(serve, "127.0.0.1", 0); port = s.sockets[0].getsockname()[1]
        async def one(i):
            r, w = await asyncio.open_connection("127.0.0.1", port); w.write(b"hello %d\n" % i); d = await r.read(); w.close(); return d
        print(await asyncio.gather(*(one(i) for i in range(5))))
        pr = await asyncio.create_subprocess_exec("echo", "async", stdout=-1); print(await pr.communicate())
        s.close()
    asyncio.run(talk())
    a, b = socket.socketpair(); a.sendall(b"x" * 100000) if False else a.send(b"pair"); print(b.recv(10))
    signal.signal(signal.SIGUSR1, lambda s, f: print("signal", s)); os.kill(os.getpid(), signal.SIGUSR1)
    pathlib.Path("f").write_bytes(b"mapped file" * 1000)
    with open("f", "r+b") as f:
        m = mmap.mmap(f.fileno(), 0); m[0:6] = b"MAPPED"; m.flush(); print(hashlib.sha256(pathlib.Path("f").read_bytes()).hexdigest())
    c = sqlite3.connect("db"); c.execute("create table t(x)"); c.executemany("insert into t values(?)", [(i,) for i in range(1000)]); c.commit(); print(c.execute("select sum(x) from t").fetchone())
    t = [threading.Thread(target=lambda: None) for _ in range(50)]; [x.start() for x in t]; [x.join() for x in t]; print("threads", len(t))
    lock, n = threading.Lock(), [0]
    def add():
        for _ in range(2000):
            with lock: n[0] += 1
    t = [threading.Thread(target=add) for _ in range(4)]; [x.start() for x in t]; [x.join() for x in t]; print(n)
    print(zlib.crc32(json.dumps(sorted(os.listdir("/usr/lib/python3.11"))).encode()))
    pid = os.fork()
    if pid == 0: os._exit(9)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
main() if __name__ == "__main__" else None
END
/usr/bin/python3.11 p.py
