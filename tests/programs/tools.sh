# shell: /bin/bash
# needs: tini=tini python3=python3 /usr/share/python-wheels=python3-venv xz=xz-utils zstd=zstd bc=bc lua5.4=lua5.4 ruby=ruby 
# heavy: virtual environments take many seconds
# A small init, virtual environments of Python, interpreters and compressors.
set -u
d=$(mktemp -d); cd "$d"; trap 'cd /; rm -rf "$d"' EXIT
tini -s -- sh -c 'sh -c "sleep 0.05 & exit" ; exit 5'; echo "tini $?"
tini -s -- sh -c 'kill -TERM $$'; echo "tini $?"
tini -s -- sleep 20 & p=$!; until [ "$(cat /proc/$p/task/$p/children 2> /dev/null | wc -w)" = 1 ]; do :; done; kill -TERM $p; wait $p; echo "tini $?"
python3 -m venv --without-pip bare && bare/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'
python3 -m venv env; echo "venv $?"; mkdir -p pkg/thing; echo 'def main(): print("thing runs")' > pkg/thing/__init__.py
cat > wheel.py <<'END'
import zipfile, hashlib, base64, sys
def h(b): return 'sha256=' + base64.urlsafe_b64encode(hashlib.sha256(b).digest()).rstrip(b'=').decode()
f = {'thing/__init__.py': open('pkg/thing/__init__.py', 'rb').read(), 'thing-1.0.dist-info/METADATA': b'Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n',
     'thing-1.0.dist-info/WHEEL': b'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n', 'thing-1.0.dist-info/entry_points.txt': b'[console_scripts]\nthing = thing:main\n'}
f['thing-1.0.dist-info/RECORD'] = (''.join(f'{n},{h(b)},{len(b)}\n' for n, b in f.items()) + 'thing-1.0.dist-info/RECORD,,\n').encode()
with zipfile.ZipFile('thing-1.0-py3-none-any.whl', 'w') as z: [z.writestr(n, b) for n, b in f.items()]
END
python3 wheel.py; env/bin/pip install -q --no-index --disable-pip-version-check ./thing-1.0-py3-none-any.whl; echo "pip $?"; env/bin/thing; env/bin/pip list --disable-pip-version-check 2> /dev/null | grep thing
env/bin/pip uninstall -q -y thing; echo "pip $?"; env/bin/python -c 'import thing' 2>&1 | tail -1
seq 1 200000 > n; xz -T2 -k n; zstd -q -T2 n -o n.zst; gzip -k n; bzip2 -k n; for x in 'xz -dc n.xz' 'zstd -qdc n.zst' 'gzip -dc n.gz' 'bzip2 -dc n.bz2'; do $x | sha256sum; done; stat -c %s n.gz n.bz2
echo '2^200; scale=30; 4*a(1)' | bc -l; lua5.4 -e 'print(#arg, 2^53, string.rep("ab", 3), os.execute("exit 3")); local f = io.popen("seq 3"); print(f:read("a"))'
ruby -e 'r, w = IO.pipe; p fork { w.puts "from child"; exit! 3 } > 0; Process.wait; p $?.exitstatus, r.gets; t = 4.times.map { |i| Thread.new { Thread.pass; i * i } }; p t.map(&:value); trap("USR1") { puts "trapped" }; Process.kill("USR1", $$); sleep 0.05; p Dir.children(".").size > 5; begin; Process.kill(0, 2**22); rescue => e; p e.class; end; p `echo sub`.chomp'
