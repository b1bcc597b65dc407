# shell: /bin/sh
# needs: node=nodejs
# heavy: a large package
# JavaScript: timers, worker threads, child processes, HTTP over loopback and Unix sockets, streams, crypto, file watching.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
cat > main.js <<'END'
const fs = require('fs'), http = require('http'), cp = require('child_process'), zlib = require('zlib');
const crypto = require('crypto'), { Worker } = require('worker_threads'), { once } = require('events'), net = require('net');
const { pipeline } = require('stream/promises');
(async () => {
  const big = Buffer.alloc(3 << 20, 'abcdefg');
  await fs.promises.writeFile('big', big);
  await pipeline(fs.createReadStream('big'), zlib.createGzip(), fs.createWriteStream('big.gz'));
  await pipeline(fs.createReadStream('big.gz'), zlib.createGunzip(), fs.createWriteStream('back'));
  console.log('gzip', fs.readFileSync('back').equals(big));
  console.log('pbkdf2', await new Promise(r => crypto.pbkdf2('p', 's', 1000, 16, 'sha256', (e, k) => r(k.toString('hex')))));
  const workers = [1, 2, 3].map(n => new Worker(`const { parentPort, workerData } = require('worker_threads');
    let s = 0; for (let i = 0; i < 3e6; i++) s = (s + i * workerData) % 1000003; parentPort.postMessage([workerData, s]);`,
    { eval: true, workerData: n }));
  console.log('workers', JSON.stringify((await Promise.all(workers.map(w => once(w, 'message')))).map(m => m[0])));
  const shared = new Int32Array(new SharedArrayBuffer(4));
  const w = new Worker(`const { workerData } = require('worker_threads'); Atomics.store(workerData, 0, 7); Atomics.notify(workerData, 0);`,
    { eval: true, workerData: shared });
  console.log('atomics', Atomics.wait(shared, 0, 0, 20000) !== 'timed-out', Atomics.load(shared, 0)); await once(w, 'exit');
  const server = http.createServer((q, s) => q.pipe(s)).on('clientError', e => console.log(e.code));
  for (const where of [{ port: 0, host: '127.0.0.1' }, { path: process.cwd() + '/s' }]) {
    server.listen(where); await once(server, 'listening');
    const at = where.path ? { socketPath: where.path } : { port: server.address().port };
    const sizes = await Promise.all([...Array(20).keys()].map(n => new Promise((ok, no) => {
      const q = http.request({ ...at, method: 'POST', agent: false, path: '/' + n }, s => { let l = 0; s.on('data', c => l += c.length).on('end', () => ok(l)); });
      q.on('error', no); q.end(big.subarray(0, n * 50000)); })));
    console.log('http', sizes.join()); server.close(); await once(server, 'close');
  }
  console.log('spawn', cp.execSync('seq 1 1000 | tail -1').toString().trim(), cp.spawnSync('sh', ['-c', 'kill -9 $$']).signal);
  const child = cp.fork("./child.js"); child.on("error", console.log); child.send({ n: 20 }); const [m] = await once(child, 'message');
  console.log('fork', m, (await once(child, 'exit'))[0]);
  const watcher = fs.watch('.'); const seen = once(watcher, 'change'); fs.writeFileSync('watched', 'x'); await seen; watcher.close();
  console.log('watch', true);
  process.once('SIGUSR2', () => console.log('signal')); process.kill(process.pid, 'SIGUSR2'); await new Promise(r => setTimeout(r, 50));
  console.log(fs.readdirSync('.').sort().join(), fs.statSync('big').size, Math.round(process.uptime()) < 100);
})();
END
echo 'process.once("message", m => { process.send(m.n + 1); process.disconnect(); process.exitCode = 5; });' > child.js
node main.js
echo 'console.log([3,1,2].toSorted?.() ?? [1,2,3])' | node -
node -e 'setTimeout(() => process.exit(9), 10)' || echo "exit $?"
