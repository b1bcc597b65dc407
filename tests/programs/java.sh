# shell: /bin/sh
# needs: java=default-jre-headless javac=default-jdk-headless
# heavy: large packages
# Java: compiled and run; threads, garbage collection, files and mappings, sockets, processes, null pointers, deep recursion.
set -eu
d=$(mktemp -d); cd "$d"; trap 'rm -rf "$d"' EXIT
cat > Main.java <<'END'
import java.io.*; import java.net.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*;
import java.util.*; import java.util.concurrent.*; import java.util.concurrent.atomic.*;
public class Main {
  static int depth; static void deep() { depth++; deep(); }
  public static void main(String[] a) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(8); List<Future<Long>> all = new ArrayList<>();
    for (int t = 0; t < 16; t++) { final int n = t; all.add(pool.submit(() -> { long s = 0; for (int i = 0; i < 200000; i++) s += (i * 31L) ^ n; return s; })); }
    long sum = 0; for (var f : all) sum += f.get(); System.out.println("pool " + sum);
    List<byte[]> keep = new ArrayList<>(); for (int i = 0; i < 20000; i++) { byte[] b = new byte[10000]; if (i % 500 == 0) keep.add(b); }
    System.gc(); System.out.println("gc " + keep.size());
    try { deep(); } catch (StackOverflowError e) { System.out.println("overflow " + (depth > 1000)); }
    int nulls = 0; for (int i = 0; i < 50000; i++) try { ((Object) (i % 2 == 0 ? null : "x")).hashCode(); } catch (NullPointerException e) { nulls++; }
    System.out.println("nulls " + nulls);
    Path p = Paths.get("data"); try (FileChannel c = FileChannel.open(p, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      MappedByteBuffer m = c.map(FileChannel.MapMode.READ_WRITE, 0, 1 << 20); for (int i = 0; i < 1 << 18; i++) m.putInt(i); m.force(); }
    System.out.println("map " + Arrays.hashCode(Files.readAllBytes(p)));
    ServerSocket s = new ServerSocket(0, 50, InetAddress.getLoopbackAddress()); Thread t = new Thread(() -> { try { for (int i = 0; i < 8; i++) {
      Socket c = s.accept(); pool.submit(() -> { try (c) { c.getInputStream().transferTo(c.getOutputStream()); } return null; }); } } catch (IOException e) { throw new UncheckedIOException(e); } }); t.start();
    int total = 0; for (int i = 0; i < 8; i++) try (Socket c = new Socket(s.getInetAddress(), s.getLocalPort())) { c.getOutputStream().write(new byte[30000]); c.shutdownOutput(); total += c.getInputStream().readAllBytes().length; }
    t.join(); System.out.println("sockets " + total);
    Process q = new ProcessBuilder("sh", "-c", "read x; echo got $x; exit 3").start(); q.outputWriter().append("this\n").close();
    System.out.print(new String(q.getInputStream().readAllBytes())); System.out.println("child " + q.waitFor());
    try (WatchService w = FileSystems.getDefault().newWatchService()) { Paths.get(".").register(w, StandardWatchEventKinds.ENTRY_CREATE); Files.writeString(Paths.get("seen" + System.nanoTime()), "x");
      System.out.println("watch " + w.poll(20, TimeUnit.SECONDS).pollEvents().get(0).kind()); }
    Object lock = new Object(); AtomicInteger turns = new AtomicInteger(); Runnable r = () -> { for (int i = 0; i < 2000; i++) synchronized (lock) { turns.incrementAndGet(); lock.notify(); if (turns.get() < 4000) try { lock.wait(50); } catch (InterruptedException e) {} } };
    Thread x = new Thread(r), y = new Thread(r); x.start(); y.start(); x.join(); y.join(); System.out.println("turns " + turns);
    pool.shutdown(); Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook"))); System.exit(4);
  }
}
END
javac Main.java && echo compiled
for gc in UseSerialGC UseG1GC; do java -XX:+$gc -Xmx128m Main || echo "exit $?"; done
java -Xint -version 2>&1 | grep -c .
