import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;

/**
 * Another client of a measured ensemble: java -cp JARS Paced.java HOST:PORT WRITES_A_SECOND SECONDS
 *
 * Each write is due at a moment that was fixed beforehand and its latency counts from then, so that one slow answer
 * does not hide the ones that had to wait behind it. Prints how many there were, and p50, p99 and the longest in
 * milliseconds.
 */
public final class Paced {
    public static void main(String[] args) throws Exception {
        int rate = Integer.parseInt(args[1]);
        int count = rate * Integer.parseInt(args[2]);
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(args[0], 30_000, event -> connected.countDown());
        if (!connected.await(30, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no connection");
        }
        String path = "/bench-paced";
        if (zk.exists(path, false) == null) {
            zk.create(path, new byte[100], ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        // What the client itself compiles and loads is no latency of the server's.
        for (int i = 0; i < 200; i++) {
            zk.setData(path, new byte[100], -1);
        }
        long[] took = new long[count];
        CountDownLatch done = new CountDownLatch(count);
        long start = System.nanoTime();
        for (int i = 0; i < count; i++) {
            int number = i;
            long due = start + 1_000_000_000L * i / rate;
            while (System.nanoTime() < due) {
                LockSupport.parkNanos(due - System.nanoTime());
            }
            zk.setData(path, new byte[100], -1, (code, where, context, stat) -> {
                took[number] = System.nanoTime() - due;
                done.countDown();
            }, null);
        }
        done.await();
        zk.close();
        Arrays.sort(took);
        System.out.printf("%d writes, p50 %.1f p99 %.1f max %.1f ms%n", count, took[count / 2] / 1e6,
            took[count * 99 / 100] / 1e6, took[count - 1] / 1e6);
    }
}
